"""Word and character error rates of hypotheses against references, with Kaldi's output and intervals.

The interval and the comparison of two systems are those of ``compute-wer-bootci``: utterances are drawn
with replacement (Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance
evaluation").
"""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from speechrep.errors import InputError
from speechrep.io.table import read_table
from speechrep.score.edit import count_errors

MODES = ("strict", "present", "all")
_BETWEEN = {"char": " ", "nonblank": ""}  # the words of a text that is counted by character
UNITS = ("word", *_BETWEEN)


@dataclasses.dataclass(frozen=True)
class Scores:
    """Errors per utterance, in the order of the reference file."""

    utt_ids: list[str]
    ref_units: NDArray[np.int64]  # (N,) units of each reference
    errors: NDArray[np.int64]  # (N, 3) insertions, deletions, substitutions
    absent: int = 0  # references without a hypothesis
    mode: str = "strict"

    @property
    def totals(self) -> NDArray[np.int64]:
        """(N,) errors of each utterance."""
        totals: NDArray[np.int64] = self.errors.sum(axis=1)
        return totals

    @property
    def rate(self) -> float:
        """Errors per 100 reference units."""
        return 100.0 * float(self.totals.sum()) / float(self.ref_units.sum())

    @property
    def sentence_rate(self) -> float:
        """Utterances with an error, in percent."""
        return 100.0 * float((self.totals > 0).mean())


def read_text(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read a Kaldi text file, ``utterance word word ...``; an utterance may have no word.

    Raises:
        InputError: no such file, an empty line, an utterance twice, or bytes that are not UTF-8.
    """
    return {
        utt_id: re.findall("[^ \t]+", text) for utt_id, text in read_table(path, allow_empty=True).items()
    }


def characters(words: Sequence[str], unit: str) -> str:
    """What a text is counted in where ``unit`` is none of words."""
    return _BETWEEN[unit].join(words)


def score(
    refs: Mapping[str, Sequence[str]],
    hyps: Mapping[str, Sequence[str]],
    unit: str = "word",
    mode: str = "strict",
    where: object = "hypotheses",
) -> Scores:
    """Count the errors of ``hyps`` against ``refs``, words per utterance both.

    Args:
        refs, hyps: utterance to words.
        unit: ``word``, ``char``: the characters of the words joined by one space, spaces counted, or
            ``nonblank``: the characters alone, as of languages that are written without spaces.
        mode: what to do with a reference that has no hypothesis: ``strict`` refuse, ``present`` skip,
            ``all`` take it as empty. Hypotheses without a reference are ignored, as Kaldi does.
        where: the hypotheses' file, for messages.

    Raises:
        InputError: a hypothesis is absent in strict mode, or nothing is left to score.
    """
    missing = [utt_id for utt_id in refs if utt_id not in hyps]
    if missing and mode == "strict":
        raise InputError(
            f"no hypothesis for utterance {missing[0]}, {len(missing)} absent in all", where=where,
            mend="--mode present skips them, --mode all counts them as empty",
        )  # fmt: skip
    utt_ids = [utt_id for utt_id in refs if mode != "present" or utt_id in hyps]
    ref_texts = [refs[utt_id] for utt_id in utt_ids]
    hyp_texts = [hyps.get(utt_id, ()) for utt_id in utt_ids]
    if unit != "word":
        ref_texts = [characters(words, unit) for words in ref_texts]
        hyp_texts = [characters(words, unit) for words in hyp_texts]
    ref_units = np.array([len(units) for units in ref_texts], np.int64)
    if not ref_units.sum():
        raise InputError(f"the references hold no {unit} to score", where=where)
    return Scores(utt_ids, ref_units, count_errors(ref_texts, hyp_texts), len(missing), mode)


def kaldi_lines(scores: Scores) -> str:
    """The ``%WER``, ``%SER`` and ``Scored`` lines of ``compute-wer``."""
    ins, dels, subs = (int(count) for count in scores.errors.sum(axis=0))
    partial = " [PARTIAL]" if scores.mode != "strict" and scores.absent else ""
    total, wrong, count = int(scores.totals.sum()), int((scores.totals > 0).sum()), len(scores.utt_ids)
    split = f"{ins} ins, {dels} del, {subs} sub"
    return (
        f"%WER {scores.rate:.2f} [ {total} / {int(scores.ref_units.sum())}, {split} ]{partial}\n"
        f"%SER {scores.sentence_rate:.2f} [ {wrong} / {count} ]\n"
        f"Scored {count} sentences, {scores.absent} not present in hyp."
    )


def bootstrap(scores: Sequence[Scores], replications: int, seed: int) -> NDArray[np.float64]:
    """Error rates of systems on the same utterances, drawn again and again with replacement.

    Returns:
        (systems, replications) rates in percent.
    """
    totals = np.stack([system.totals for system in scores])  # (S, N)
    ref_units = scores[0].ref_units
    count = len(ref_units)
    generator = np.random.default_rng(seed)
    rates = np.empty((len(scores), replications))
    for index in range(replications):
        units = 0
        while not units:  # a draw of empty references only has no rate
            # How often each utterance is drawn; one product then sums errors and reference units.
            times = np.bincount(generator.integers(count, size=count), minlength=count)
            units = int(ref_units @ times)
        rates[:, index] = 100.0 * (totals @ times) / units
    return rates


def interval(rates: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval that ``compute-wer-bootci`` prints: mean and 1.96 standard deviations."""
    mean, half = float(rates.mean()), 1.96 * float(rates.std())
    return max(0.0, mean - half), mean + half


def probability_of_improvement(rates: NDArray[np.float64]) -> float:
    """Share, in percent, of the replications in which the second of two systems has fewer errors."""
    return 100.0 * float((rates[0] > rates[1]).mean())


def summary(scores: Scores, ci95: tuple[float, float]) -> dict[str, object]:
    """The plain values that ``score_wer --json`` writes."""
    ins, dels, subs = (int(count) for count in scores.errors.sum(axis=0))
    return {
        "wer": scores.rate, "errors": ins + dels + subs, "ref_units": int(scores.ref_units.sum()),
        "ins": ins, "del": dels, "sub": subs, "ser": scores.sentence_rate,
        "sentences": len(scores.utt_ids), "ci95": list(ci95),
    }  # fmt: skip
