"""Where a task goes wrong: phones taken for others, utterances with the most word errors."""

import os
from collections import Counter
from typing import NamedTuple

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from speechrep.errors import InputError
from speechrep.io.table import read_table
from speechrep.report import style
from speechrep.score.classification import IGNORED
from speechrep.score.details import Pairs
from speechrep.score.edit import align
from speechrep.score.wer import read_text, score

# Similar sounds together, so that what is commonly confused lies near the diagonal.
_ORDER = (
    "IY IH EY EH AE AH ER AA AO OW UH UW AY AW OY W Y R L M N NG B D G P T K DH V Z ZH TH F S SH HH JH CH SIL"
)
PHONE_ORDER = tuple(_ORDER.split())
MOST_DRAWN = 72  # the Mockingjay paper's phones; more could not be read


class Confusion(NamedTuple):
    """How often each label was taken for each other."""

    labels: list[str]
    counts: NDArray[np.int64]
    """(C, C): reference down, hypothesis across."""


class WrongUtterance(NamedTuple):
    """An utterance and its errors."""

    utt_id: str
    errors: int
    ref_units: int
    pairs: Pairs


def confusion(ref: str | os.PathLike[str], hyp: str | os.PathLike[str]) -> Confusion:
    """Count label against label in two files as ``decode`` writes them.

    Raises:
        InputError: other utterances or other numbers of labels in one than in the other.
    """
    refs, hyps = read_table(ref), read_table(hyp)
    counts: Counter[tuple[str, str]] = Counter()
    for utt_id, line in refs.items():
        said, heard = line.split(), hyps.get(utt_id, "").split()
        if len(said) != len(heard):
            raise InputError(f"{utt_id}: {len(heard)} labels, but {len(said)} in {ref}", where=hyp)
        counts.update(pair for pair in zip(said, heard, strict=True) if pair[0] != IGNORED)
    found = {label for pair in counts for label in pair}
    labels = [label for label in PHONE_ORDER if label in found] + sorted(found - set(PHONE_ORDER))
    place = {label: i for i, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)), np.int64)
    for (said_label, heard_label), count in counts.items():
        table[place[said_label], place[heard_label]] = count
    return Confusion(labels, table)


def most_confused(of: Confusion, count: int) -> list[tuple[str, str, int, float]]:
    """The commonest mistakes: said, heard, frames, and percent of the frames of what was said."""
    wrong = of.counts - np.diag(np.diag(of.counts))
    rows = []
    for place in np.argsort(-wrong, axis=None, kind="stable")[:count]:
        said, heard = np.unravel_index(place, wrong.shape)
        if wrong[said, heard]:
            share = 100 * float(wrong[said, heard]) / float(of.counts[said].sum())
            rows.append((of.labels[said], of.labels[heard], int(wrong[said, heard]), share))
    return rows


def draw_confusion(of: Confusion, title: str) -> Figure:
    """Each row in percent of what was said; of many labels the :data:`MOST_DRAWN` that were said most."""
    if len(of.labels) > MOST_DRAWN:
        kept = np.sort(np.argsort(-of.counts.sum(1), kind="stable")[:MOST_DRAWN])
        title += f": the {MOST_DRAWN} most frequent of {len(of.labels)}"
        of = Confusion([of.labels[i] for i in kept], of.counts[np.ix_(kept, kept)])
    totals = of.counts.sum(1, keepdims=True)
    percent = np.where(totals > 0, 100 * of.counts / np.maximum(totals, 1), np.nan)
    drawn, axes = style.figure(1, heights=[style.WIDTH - 0.6], title=title)
    axis = axes[0, 0]
    norm = PowerNorm(0.5, 0, 100)  # the mistakes are rare beside what is right, and are what is looked for
    image = axis.imshow(percent, cmap=style.SEQUENTIAL, norm=norm, interpolation="nearest")
    places, size = np.arange(len(of.labels)), style.FONT - (4 if len(of.labels) > 20 else 1)
    names = [style.literal(name) for name in of.labels]
    axis.set_xticks(places, names, rotation=90, fontsize=size)
    axis.set_yticks(places, names, fontsize=size)
    style.label(axis, x="heard", y="said")
    bar = drawn.colorbar(image, ax=axis, fraction=0.045, pad=0.02)
    bar.ax.tick_params(labelsize=style.FONT - 1)
    bar.set_label("% of the frames of what was said", fontsize=style.FONT)
    return drawn


def worst_utterances(
    ref: str | os.PathLike[str], hyp: str | os.PathLike[str], count: int
) -> list[WrongUtterance]:
    """The utterances with the most errors per word, longer ones first among equals; none without error."""
    refs, hyps = read_text(ref), read_text(hyp)
    scores = score(refs, hyps, where=hyp)
    rates = scores.totals / np.maximum(scores.ref_units, 1)
    order = sorted(range(len(rates)), key=lambda i: (-rates[i], -scores.ref_units[i], scores.utt_ids[i]))
    return [
        WrongUtterance(
            scores.utt_ids[i],
            int(scores.totals[i]),
            int(scores.ref_units[i]),
            align(refs[scores.utt_ids[i]], hyps[scores.utt_ids[i]]),
        )
        for i in order[:count]
        if scores.totals[i]
    ]
