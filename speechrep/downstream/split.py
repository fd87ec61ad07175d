"""Parts of a set for tasks whose training, validation and test utterances share their speakers.

LibriSpeech's sets have different speakers, so a speaker classifier can be tested only on held-out utterances
of the set it is trained on.
"""

import hashlib
from collections.abc import Mapping

from speechrep.errors import InputError

PARTS = ("train", "valid", "test")


def reader_of(speaker: str) -> str:
    """The person behind a Kaldi speaker id ``<reader>-<chapter>``."""
    return speaker.split("-")[0]


def split_by_utterance(utt2spk: Mapping[str, str], held_out: float = 0.1) -> dict[str, list[str]]:
    """Divide each speaker's utterances into train, valid and test, always the same way.

    A speaker's utterances are ordered by a hash of their ids; the first ``held_out`` of them (rounded, at
    least one) are the test part, as many more the validation part. A speaker with fewer than three
    utterances goes to train alone.

    Args:
        utt2spk: utterance to speaker, every id as the task sees it.
        held_out: share of valid and of test, each.

    Returns:
        The utterances of every part, sorted.
    """
    by_speaker: dict[str, list[str]] = {}
    for utt_id, speaker in utt2spk.items():
        by_speaker.setdefault(speaker, []).append(utt_id)
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for utt_ids in by_speaker.values():
        utt_ids.sort(key=lambda utt_id: hashlib.sha256(utt_id.encode()).digest())
        count = max(1, round(held_out * len(utt_ids))) if len(utt_ids) >= 3 else 0
        parts["test"] += utt_ids[:count]
        parts["valid"] += utt_ids[count : 2 * count]
        parts["train"] += utt_ids[2 * count :]
    return {part: sorted(utt_ids) for part, utt_ids in parts.items()}


def part_of(utt2spk: Mapping[str, str], part: str, where: object) -> list[str]:
    """The utterances of one part, or all of them for ``""``.

    Raises:
        InputError: an unknown part, or one without utterances.
    """
    if not part:
        return sorted(utt2spk)
    if part not in PARTS:
        raise InputError(f"no part {part!r} of a set; parts are {list(PARTS)}", where=where)
    utt_ids = split_by_utterance(utt2spk)[part]
    if not utt_ids:
        raise InputError(f"no utterances in part {part!r}", where=where,
                         mend="a speaker needs at least 3 utterances")  # fmt: skip
    return utt_ids
