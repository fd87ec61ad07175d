"""Other people's frame and interval labels of LibriSpeech: ids per frame, TextGrids, word alignments."""

import math
import os
import re
import shlex
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechrep.errors import InputError
from speechrep.io.alignment import Interval, read_textgrid
from speechrep.io.table import read_rows

# The ids of converted_aligned_phones.txt (CPC_audio), in order. The map was never published; 1 (SPN), 17 (OY)
# and 20 (ZH) are inferred.
CPC_PHONES = tuple(
    "SIL SPN S UW T N K Y Z AO AY SH W NG EY B CH OY JH D ZH G UH F V ER "  # noqa: SIM905 - a long list
    "AA IH M DH L AH P OW AW HH AE R TH IY EH".split()
)


_ID = re.compile("[0-9]{1,9}")


def read_frame_ids(path: str | os.PathLike[str]) -> dict[str, NDArray[np.int64]]:
    """Read ``utterance id id ...``, one id per frame, as ``converted_aligned_phones.txt`` has it.

    Raises:
        InputError: a line without ids, an id that is no number from 0, or an utterance given twice.
    """
    found: dict[str, NDArray[np.int64]] = {}
    for number, utt_id, text in read_rows(path):
        where = f"{path}:{number}"
        if utt_id in found:
            raise InputError(f"utterance {utt_id!r} is given twice", where=where)
        words = text.split()
        wrong = next((word for word in words if not _ID.fullmatch(word)), None)
        if wrong is not None or not words:
            got = f"got {wrong!r}" if words else "got none"
            raise InputError(f"utterance {utt_id!r}: want a number from 0 per frame, {got}", where=where)
        found[utt_id] = np.array(words, np.int64)
    return found


def read_textgrids(folder: str | os.PathLike[str], tier: str) -> dict[str, list[Interval]]:
    """The tier of every ``<utterance>.TextGrid`` below a folder, labels as written.

    Raises:
        InputError: no TextGrid there, a damaged one, or one without the tier.
    """
    found: dict[str, list[Interval]] = {}
    for path in sorted(Path(folder).rglob("*.TextGrid")):
        tiers = read_textgrid(path)
        if tier not in tiers:
            raise InputError(f"no tier {tier!r}; tiers are {sorted(tiers)}", where=path)
        if path.stem in found:
            raise InputError(f"utterance {path.stem!r} is there twice", where=path)
        found[path.stem] = tiers[tier]
    if not found:
        raise InputError("no TextGrids below here", where=folder)
    return found


def read_word_alignments(folder: str | os.PathLike[str]) -> dict[str, list[Interval]]:
    """The words of every ``*.alignment.txt`` below a folder (CorentinJ/librispeech-alignments).

    A line is ``utterance ",GO,,DO" "0.49,0.89,1.27,1.38"``: words, empty for silence, and their end times in
    seconds. Silence gets the label ``""``.

    Raises:
        InputError: no such file there, or a malformed line.
    """
    found: dict[str, list[Interval]] = {}
    paths = sorted(Path(folder).rglob("*.alignment.txt"))
    if not paths:
        raise InputError("no *.alignment.txt below here", where=folder)
    for path in paths:
        for number, utt_id, text in read_rows(path):
            where = f"{path}:{number}"
            if utt_id in found:
                raise InputError(f"utterance {utt_id!r} is given twice", where=where)
            try:
                words, ends = (field.split(",") for field in shlex.split(text))
                times = [float(end) for end in ends]
                starts = [0.0, *times[:-1]]
                in_order = all(start <= end < math.inf for start, end in zip(starts, times, strict=True))
                if len(words) != len(times) or not in_order:  # NaN is in no order
                    raise ValueError
            except ValueError:
                raise InputError(
                    f'utterance {utt_id!r}: want "WORD,WORD" "end,end", as many and in order', where=where
                ) from None
            rows = zip(starts, times, words, strict=True)
            found[utt_id] = [Interval(start, end, word) for start, end, word in rows if end > start]
    return found
