"""Phone and word alignments: Kaldi's ctm, Praat's TextGrid as the Montreal Forced Aligner writes it."""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from speechrep.errors import InputError, telling_of
from speechrep.io.files import atomic_open

SILENCE, SPOKEN_NOISE = "SIL", "SPN"
UNALIGNED = "utts_without_alignment"  # file of a data directory: utterance and the reason
# CMUdict's 39 phones, without stress.
# fmt: off
ARPABET = [
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY",
    "F", "G", "HH", "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY",
    "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH",
]
# fmt: on
VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
PHONES = (SILENCE, SPOKEN_NOISE, *ARPABET)
_KNOWN = frozenset(PHONES)

_SILENT = {"", "sil", "sp", "<eps>", "<sil>"}
_POSITION = re.compile("(?<=.)_[BIES]$")  # begin, inside, end of a word, or a word by itself
_NOISY = {"spn", "<unk>", "<spn>"}
# A value in a TextGrid is a quoted text ("" is a quote in it), a flag or a number that stands free; all else
# ("xmin =", "intervals [3]:") is decoration, so that Praat's long and short text formats read alike.
_VALUE = re.compile(r'"(?:[^"]|"")*"|<exists>|<absent>|(?<!\S)[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?(?!\S)')
# Start and duration in whole ms may add up to one more; floats are not exact.
_OVERLAP_S = 1.001e-3


class Interval(NamedTuple):
    """A labelled stretch of an utterance, in seconds from its start."""

    start_s: float
    end_s: float
    label: str


def fold_phone(label: str) -> str:
    """A phone label as one of :data:`PHONES`: no stress digit; sil, sp and "" are SIL, spn is SPN.

    Raises:
        InputError: a label that is no ARPAbet phone.
    """
    name = without_position(label)
    if name.lower() in _SILENT:
        return SILENCE
    if name.lower() in _NOISY:
        return SPOKEN_NOISE
    phone = name.upper().rstrip("012")
    if phone not in _KNOWN:
        raise InputError(
            f"{label!r} is not an ARPAbet phone", mend="alignments must use CMUdict's 39 phones, sil, sp, spn"
        )
    return phone


def without_position(label: str) -> str:
    """A phone label without Kaldi's mark of its place in a word: ``AH0_B`` at the beginning is ``AH0``."""
    return _POSITION.sub("", label.strip())


def read_ctm(path: str | os.PathLike[str]) -> dict[str, list[Interval]]:
    """Read a ctm (``utterance channel start duration label``) into intervals by utterance.

    Raises:
        InputError: a malformed line, or intervals of an utterance that overlap or are out of order.
    """
    found: dict[str, list[Interval]] = {}
    for number, line in _lines(path):
        utt_id = line.split(maxsplit=1)[0] if line.strip() else ";;"
        if utt_id.startswith(";;"):  # a comment
            continue
        intervals = found.setdefault(utt_id, [])
        try:
            intervals.append(parse_ctm_row(line, intervals[-1] if intervals else None))
        except InputError as error:
            raise error.told(where=f"{path}:{number}") from None
    return found


def parse_ctm_row(line: str, previous: Interval | None) -> Interval:
    """The interval of a ctm's line.

    Args:
        line: ``utterance channel start duration label``; a confidence may follow.
        previous: the interval before it in its utterance.

    Raises:
        InputError: malformed, or overlapping ``previous``.
    """
    words = line.split()
    try:
        start_s, duration_s, label = float(words[2]), float(words[3]), words[4]
    except (IndexError, ValueError):
        raise InputError(f"want 'utterance channel start duration label', got {line.strip()!r}") from None
    earliest_s = previous.end_s if previous else 0.0
    if not (0 <= duration_s < math.inf and earliest_s - _OVERLAP_S <= start_s < math.inf):  # refuses NaN too
        raise InputError(
            f"utterance {words[0]!r}: {label!r} at {words[2]} s lasting {words[3]} s overlaps the one before"
        )
    return Interval(start_s, round(start_s + duration_s, 6), label)


def write_ctm(path: str | os.PathLike[str], alignments: Mapping[str, Sequence[Interval]]) -> None:
    """Write intervals as a ctm sorted by utterance, times to 0.1 ms, atomically."""
    with atomic_open(path) as stream:
        for utt_id in sorted(alignments):
            for start_s, end_s, label in alignments[utt_id]:
                # Rounding both ends, not the duration, keeps neighbours touching.
                duration_s = round(end_s, 4) - round(start_s, 4)
                stream.write(f"{utt_id} 1 {start_s:.4f} {duration_s:.4f} {label}\n")


def read_textgrid(path: str | os.PathLike[str]) -> dict[str, list[Interval]]:
    """Read the interval tiers of a TextGrid (text format, long or short), by tier name.

    Raises:
        InputError: no such file, not a TextGrid, cut short, or times out of order.
    """
    values = iter(_VALUE.findall(_textgrid_text(path)))
    try:
        if (_text(values), _text(values)) != ("ooTextFile", "TextGrid"):
            raise InputError("not a TextGrid in text format", where=path)
        float(next(values)), float(next(values))
        if next(values) != "<exists>":
            return {}
        tiers = {}
        for _ in range(int(next(values))):
            kind, name = _text(values), _text(values)
            float(next(values)), float(next(values))
            size = int(next(values))
            if kind == "IntervalTier":
                rows = (
                    Interval(float(next(values)), float(next(values)), _text(values)) for _ in range(size)
                )
                tiers[name] = _in_order(rows, name, path)
            else:  # a tier of points
                for _ in range(size):
                    float(next(values)), _text(values)
    except (StopIteration, RuntimeError):  # a generator turns StopIteration into RuntimeError
        raise InputError("TextGrid is cut short", where=path) from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"not a TextGrid: {error}", where=path) from error
    return tiers


def write_textgrid(path: str | os.PathLike[str], tiers: Mapping[str, Sequence[Interval]]) -> None:
    """Write interval tiers as a TextGrid in the long format, times to 0.1 ms, atomically."""
    end_s = max(intervals[-1].end_s for intervals in tiers.values())
    lines = [
        'File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end_s:.4f}",
        "tiers? <exists>", f"size = {len(tiers)}", "item []:",
    ]  # fmt: skip
    for number, (name, intervals) in enumerate(tiers.items(), start=1):
        lines += [
            f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quote(name)}",
            "        xmin = 0", f"        xmax = {end_s:.4f}", f"        intervals: size = {len(intervals)}",
        ]  # fmt: skip
        for row, interval in enumerate(intervals, start=1):
            lines += [
                f"        intervals [{row}]:",
                f"            xmin = {interval.start_s:.4f}",
                f"            xmax = {interval.end_s:.4f}",
                f"            text = {_quote(interval.label)}",
            ]
    with atomic_open(path) as stream:
        stream.write("\n".join(lines) + "\n")


def read_phone_textgrid(path: str | os.PathLike[str]) -> list[Interval]:
    """The tier ``phones`` of a TextGrid, labels as written, but SIL for an empty one, which no ctm can hold.

    Stress marks stay: who classifies 39 phones folds them, who classifies the Mockingjay paper's 72 does not.

    Raises:
        InputError: as :func:`read_textgrid`; no such tier, an empty one, or an unknown phone.
    """
    tiers = read_textgrid(path)
    if not tiers.get("phones"):
        raise InputError(f"no tier 'phones' with intervals; tiers are {sorted(tiers)}", where=path)
    try:
        for interval in tiers["phones"]:
            fold_phone(interval.label)
    except InputError as error:
        raise error.told(where=path) from None
    return [interval._replace(label=interval.label.strip() or SILENCE) for interval in tiers["phones"]]


def _in_order(rows: Iterator[Interval], tier: str, path: object) -> list[Interval]:
    intervals: list[Interval] = []
    for row in rows:
        previous = intervals[-1].end_s if intervals else 0.0
        if not (row.end_s >= row.start_s >= previous - _OVERLAP_S):
            raise InputError(f"tier {tier!r}: {row.label!r} at {row.start_s} s is out of order", where=path)
        if row.end_s > row.start_s:
            intervals.append(row)
    return intervals


def _textgrid_text(path: str | os.PathLike[str]) -> str:
    with telling_of(path):
        data = Path(path).read_bytes()
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")  # Praat's other encoding has a byte order mark
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"neither UTF-8 nor UTF-16: {error.reason}", where=path) from error


def _lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    try:
        with telling_of(path), open(path, encoding="utf-8") as stream:
            yield from enumerate(stream, start=1)
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8: {error.reason}", where=path) from error


def _text(values: Iterator[str]) -> str:
    value = next(values)
    if not value.startswith('"'):
        raise ValueError(f"want a text in quotes, got {value}")
    return value[1:-1].replace('""', '"')


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
