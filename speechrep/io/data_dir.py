"""Kaldi data directories, read file by file."""

import functools
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from speechrep.errors import InputError
from speechrep.io.table import read_rows, read_table

UTT_FILES = ("text", "utt2dur", "utt2num_frames", "utt2lang", "feats.scp", "vad.scp")  # keyed by utterance
SPK_FILES = ("spk2gender", "cmvn.scp")  # keyed by speaker
RECO_FILES = ("wav.scp", "reco2dur", "reco2file_and_channel")  # keyed by recording


class Segment(NamedTuple):
    """Where an utterance lies in its recording, in seconds; ``end_s`` None is the recording's end."""

    reco_id: str
    start_s: float
    end_s: float | None


class DataDir:
    """A data directory whose files are read when first asked for.

    Args:
        path: the directory.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        if not self.path.is_dir():
            raise InputError("no such data directory", where=self.path)

    def has(self, name: str) -> bool:
        """Whether the file ``name`` is there."""
        return (self.path / name).is_file()

    @functools.cached_property
    def wav_scp(self) -> dict[str, str]:
        """Recording id (the utterance's where there are no ``segments``) to the path of its audio."""
        return read_table(self.path / "wav.scp")

    @functools.cached_property
    def text(self) -> dict[str, str]:
        """Utterance to transcript; absent in a set of audio only."""
        return read_table(self.path / "text", allow_empty=True)

    @functools.cached_property
    def utt2spk(self) -> dict[str, str]:
        """Utterance to speaker."""
        return read_table(self.path / "utt2spk")

    @functools.cached_property
    def spk2utt(self) -> dict[str, list[str]]:
        """Speaker to utterances."""
        return {spk: utts.split() for spk, utts in read_table(self.path / "spk2utt").items()}

    @functools.cached_property
    def spk2gender(self) -> dict[str, str]:
        """Speaker to ``m`` or ``f``."""
        return read_table(self.path / "spk2gender")

    @functools.cached_property
    def utt2dur(self) -> dict[str, float]:
        """Utterance to its length in seconds."""
        return read_numbers(self.path / "utt2dur", float)

    @functools.cached_property
    def utt2num_frames(self) -> dict[str, int]:
        """Utterance to its length in frames."""
        return read_numbers(self.path / "utt2num_frames", int)

    @functools.cached_property
    def segments(self) -> dict[str, Segment]:
        """Utterance to its place in a recording; empty where the file is absent."""
        return read_segments(self.path / "segments") if self.has("segments") else {}

    @functools.cached_property
    def utt_ids(self) -> list[str]:
        """The utterances, in the order of ``utt2spk``."""
        return list(self.utt2spk)


def read_segments(path: str | os.PathLike[str]) -> dict[str, Segment]:
    """Read ``segments``: ``utterance recording start end`` in seconds; an end of -1 is the recording's.

    Raises:
        InputError: wrong number of fields, times that are no numbers, or an end not after the start.
    """
    segments: dict[str, Segment] = {}
    for number, utt_id, value in read_rows(path):
        where = f"{path}:{number}"
        if utt_id in segments:
            raise InputError(f"{utt_id!r} is given twice", where=where)
        words = value.split()
        try:
            reco_id, start_s, end_s = words[0], float(words[1]), float(words[2])
        except (IndexError, ValueError):
            words = []
        if len(words) != 3:
            raise InputError(f"utterance {utt_id!r}: want 'utterance recording start end'", where=where)
        if not (start_s >= 0 and (end_s > start_s or end_s == -1) and math.isfinite(end_s)):
            raise InputError(f"utterance {utt_id!r}: bad times {words[1]} to {words[2]}", where=where)
        segments[utt_id] = Segment(reco_id, start_s, None if end_s == -1 else end_s)
    return segments


def invert(utt2spk: Mapping[str, str]) -> dict[str, list[str]]:
    """Speaker to utterances, both in the order in which they come."""
    spk2utt: dict[str, list[str]] = {}
    for utt_id, spk in utt2spk.items():
        spk2utt.setdefault(spk, []).append(utt_id)
    return spk2utt


def read_numbers(path: Path, kind: Callable[[str], float]) -> dict:
    """A table of numbers above zero."""
    table = {}
    for key, value in read_table(path).items():
        try:
            table[key] = kind(value)
        except ValueError:
            raise InputError(f"{key!r} is {value!r}, want a number", where=path) from None
        if not 0 < table[key] < math.inf:
            raise InputError(f"{key!r} is {value}, want more than 0", where=path)
    return table
