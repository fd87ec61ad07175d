"""Parts of a set for tasks whose training, validation and test utterances share their speakers.

LibriSpeech's sets have different speakers, so a speaker classifier can be tested only on held-out utterances
of the set it is trained on.
"""

import hashlib
import logging
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from speechrep.errors import InputError
from speechrep.io.files import read_utf8

logger = logging.getLogger(__name__)

PARTS = ("train", "valid", "test")
HELD_OUT = 0.1  # share of valid and of test, each


def reader_of(speaker: str) -> str:
    """The person behind a speaker id: of LibriSpeech's ``<reader>-<chapter>`` the reader, else the id.

    Kaldi's recipe has put ``lbi-`` before it since 2021.
    """
    found = re.fullmatch(r"(?:lbi-)?(\d+)-\d+", speaker)
    return found[1] if found else speaker


def split_by_utterance(utt2spk: Mapping[str, str]) -> dict[str, list[str]]:
    """Divide each speaker's utterances into train, valid and test, always the same way.

    A speaker's utterances are ordered by a hash of their ids; the first ``HELD_OUT`` of them (rounded, at
    least one) are the test part, as many more the validation part. A speaker with fewer than three
    utterances goes to train alone.

    Args:
        utt2spk: utterance to speaker, every id as the task sees it.

    Returns:
        The utterances of every part, sorted.
    """
    by_speaker: dict[str, list[str]] = {}
    for utt_id, speaker in utt2spk.items():
        by_speaker.setdefault(speaker, []).append(utt_id)
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for utt_ids in by_speaker.values():
        utt_ids.sort(key=lambda utt_id: hashlib.sha256(utt_id.encode()).digest())
        count = max(1, round(HELD_OUT * len(utt_ids))) if len(utt_ids) >= 3 else 0
        parts["test"] += utt_ids[:count]
        parts["valid"] += utt_ids[count : 2 * count]
        parts["train"] += utt_ids[2 * count :]
    return {part: sorted(utt_ids) for part, utt_ids in parts.items()}


def draw(
    utt_ids: Sequence[str], proportion: float, seed: int, group: Mapping[str, int] | None = None
) -> list[str]:
    """A share of the utterances, at least one, in their order; always the same for a seed.

    Args:
        utt_ids: all of them.
        proportion: more than 0 and at most 1.
        seed: of the draw.
        group: utterance to group; if given, the share is drawn of each group, at least one of each.

    Raises:
        InputError: a proportion that is none.
    """
    if not 0 < proportion <= 1:
        raise InputError(f"train-proportion is {proportion}, want more than 0 and at most 1")
    if proportion == 1:
        return list(utt_ids)
    groups: dict[int, list[int]] = {}
    for row, utt_id in enumerate(utt_ids):
        groups.setdefault(0 if group is None else group[utt_id], []).append(row)
    rng, rows = np.random.default_rng(seed), []
    for members in groups.values():
        drawn = rng.choice(len(members), max(1, round(proportion * len(members))), replace=False)
        rows += [members[i] for i in drawn]
    logger.info("train-proportion %g: %d of %d utterances", proportion, len(rows), len(utt_ids))
    return [utt_ids[row] for row in sorted(rows)]


def file_of(split: str) -> tuple[str, str]:
    """The file that a ``--split`` option may name, and ``train``, ``valid`` or ``""`` for the part of it."""
    for part in ("train", "valid"):
        if split.endswith(f"@{part}"):
            return split.removesuffix(f"@{part}"), part
    return split, ""


def part_of(utt2spk: Mapping[str, str], split: str, where: object) -> list[str]:
    """The utterances that a ``--split`` option means.

    Args:
        utt2spk: utterance to speaker.
        split: ``""`` for all; ``train``, ``valid``, ``test`` or several joined by ``+`` (``train+valid`` is
            nine tenths) for parts of each speaker's utterances; or a file with an utterance id per line, such
            as CPC's ``train_split.txt``, of which ``FILE@train`` and ``FILE@valid`` are S3PRL's nine tenths
            and the rest.
        where: the data directory, for messages.

    Raises:
        InputError: none of these, or no utterances in it.
    """
    if not split:
        return sorted(utt2spk)
    parts = split.split("+")
    if all(part in PARTS for part in parts):
        divided = split_by_utterance(utt2spk)
        utt_ids = sorted({utt_id for part in parts for utt_id in divided[part]})
    else:
        utt_ids = [utt_id for utt_id in _listed(split, where) if utt_id in utt2spk]
    if not utt_ids:
        raise InputError(f"no utterances in split {split!r}", where=where,
                         mend="a speaker needs at least 3 utterances to be divided")  # fmt: skip
    return utt_ids


def _listed(split: str, where: object) -> list[str]:
    name, part = file_of(split)
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f"no split {split!r}; want {', '.join(PARTS)}, several joined by +, or a file of utterance ids",
            where=where,
        )
    lines = read_utf8(path).split()
    if not part:
        return sorted(lines)
    random.Random(1337).shuffle(lines)  # noqa: S311 - S3PRL's order, so that its 90 % are ours
    cut = int(0.9 * len(lines))
    return sorted(lines[:cut] if part == "train" else lines[cut:])
