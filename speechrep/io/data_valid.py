"""Checking a Kaldi data directory, as Kaldi's own validator does."""

import logging
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from speechrep.errors import InputError
from speechrep.io.alignment import read_ctm
from speechrep.io.data_dir import (
    RECO_FILES,
    SPK_FILES,
    UTT_FILES,
    DataDir,
    invert,
    read_numbers,
    read_segments,
)
from speechrep.io.table import read_rows

_log = logging.getLogger(__name__)

FIX = "utils/fix_data_dir.sh may mend it"
RESERVED = {"<s>", "</s>", "#0"}  # symbols that decoding graphs use for themselves


def validate(
    path: str | os.PathLike[str],
    *,
    feats: bool = False,
    text: bool = True,
    wav: bool = True,
    spk_sort: bool = True,
    non_print: bool = False,
) -> None:
    """Check a data directory; every file that is there is checked, required or not.

    Args:
        path: the directory.
        feats: whether ``feats.scp`` is required.
        text: whether ``text`` is required.
        wav: whether ``wav.scp`` is required.
        spk_sort: whether ``utt2spk`` must be sorted by speaker as well as by utterance.
        non_print: whether ``text`` may hold characters that cannot be printed.

    Raises:
        InputError: the first fault, naming file, line and utterance.
    """
    path = Path(path)
    DataDir(path)
    utt2spk = _checked(path / "utt2spk")
    for number, (utt_id, spk) in enumerate(utt2spk.items(), start=1):
        if len(spk.split()) != 1:
            raise InputError(f"{utt_id!r}: want 'utterance speaker'", where=f"{path / 'utt2spk'}:{number}")
    if spk_sort:
        _require_speaker_order(path / "utt2spk", utt2spk)
    spk2utt = _checked(path / "spk2utt")
    _require_inverse(path / "spk2utt", spk2utt, utt2spk)
    if len(spk2utt) == 1:
        _log.warning("%s: only one speaker; speaker normalisation and speaker tasks need more", path)

    for name, wanted in (("text", text), ("feats.scp", feats), ("wav.scp", wav)):
        if wanted and not (path / name).is_file():
            raise InputError("no such file", where=path / name)
    if (path / "text").is_file():
        _check_text(path / "text", non_print)
    tables = {name: _checked(path / name) for name in UTT_FILES if (path / name).is_file()}
    for name, table in tables.items():
        _require_keys(path / name, table, utt2spk, "utterance")
    if "utt2dur" in tables:
        read_numbers(path / "utt2dur", float)
    if "utt2num_frames" in tables:
        read_numbers(path / "utt2num_frames", int)
    for name in SPK_FILES:
        if (path / name).is_file():
            _require_keys(path / name, _checked(path / name), spk2utt, "speaker")
    if (path / "spk2gender").is_file():
        for number, spk, gender in read_rows(path / "spk2gender"):
            if gender not in ("m", "f"):
                raise InputError(
                    f"{spk!r} is {gender!r}, want m or f", where=f"{path / 'spk2gender'}:{number}"
                )
    _check_recordings(path, utt2spk)
    if (path / "phones.ctm").is_file():
        _require_known(path / "phones.ctm", read_ctm(path / "phones.ctm"), utt2spk)


def _checked(path: Path) -> dict[str, str]:
    """A table that is not empty, sorted and unique by key and ends with a newline."""
    table: dict[str, str] = {}
    previous = ""
    for number, key, value in read_rows(path):
        where = f"{path}:{number}"
        if key in table:
            raise InputError(f"{key!r} is given twice", where=where, mend=FIX)
        if key < previous:
            raise InputError(
                f"{key!r} comes after {previous!r}: not sorted in C order", where=where, mend=FIX
            )
        if not value:
            raise InputError(f"{key!r} has no value", where=where)
        table[key] = value
        previous = key
    if not table:
        raise InputError("empty file", where=path)
    with open(path, "rb") as stream:
        stream.seek(-1, os.SEEK_END)
        if stream.read() != b"\n":
            raise InputError(f"no newline at the end, after {previous!r}", where=path, mend=FIX)
    return table


def _require_speaker_order(path: Path, utt2spk: Mapping[str, str]) -> None:
    previous = ""
    for number, (utt_id, spk) in enumerate(utt2spk.items(), start=1):
        if spk < previous:
            raise InputError(
                f"utterance {utt_id!r}: speaker {spk!r} comes after {previous!r}, so sorting by utterance "
                "does not sort by speaker",
                where=f"{path}:{number}",
                mend="make the speaker a prefix of the utterance, joined by '-'",
            )
        previous = spk


def _require_inverse(path: Path, spk2utt: Mapping[str, str], utt2spk: Mapping[str, str]) -> None:
    inverse = invert(utt2spk)
    _require_keys(path, spk2utt, inverse, "speaker")
    for number, (spk, utts) in enumerate(spk2utt.items(), start=1):
        if utts.split() != inverse[spk]:
            differing = sorted(set(utts.split()) ^ set(inverse[spk])) or utts.split()
            raise InputError(
                f"speaker {spk!r} has other utterances than in utt2spk, first {differing[0]!r}",
                where=f"{path}:{number}", mend=FIX,
            )  # fmt: skip


def _require_keys(path: Path, table: Mapping[str, object], wanted: Mapping[str, object], kind: str) -> None:
    _require_known(path, table, wanted, kind)
    missing = next((key for key in wanted if key not in table), None)
    if missing is not None:
        raise InputError(f"{kind} {missing!r} of utt2spk is missing", where=path, mend=FIX)


def _require_known(
    path: Path,
    table: Iterable[str],
    wanted: Collection[str],
    kind: str = "utterance",
    source: str = "utt2spk",
) -> None:
    unknown = next((key for key in table if key not in wanted), None)
    if unknown is not None:
        raise InputError(f"{kind} {unknown!r} is not in {source}", where=path, mend=FIX)


def _check_text(path: Path, non_print: bool) -> None:
    for number, utt_id, value in read_rows(path):
        where, reserved = f"{path}:{number}", RESERVED.intersection(value.split(" "))
        if not value:
            raise InputError(f"utterance {utt_id!r} has an empty transcript", where=where)
        if reserved:
            raise InputError(f"utterance {utt_id!r} holds the symbol {min(reserved)!r}", where=where)
        if value.isprintable():
            continue
        odd = next((c for c in value if not c.isprintable() and not (non_print and not c.isspace())), None)
        if odd is not None:
            raise InputError(f"utterance {utt_id!r} holds the character {odd!r}", where=where)


def _check_recordings(path: Path, utt2spk: Mapping[str, str]) -> None:
    wavs = _checked(path / "wav.scp") if (path / "wav.scp").is_file() else None
    recos: Collection[str] = utt2spk
    if (path / "segments").is_file():
        _checked(path / "segments")
        segments = read_segments(path / "segments")
        _require_keys(path / "segments", segments, utt2spk, "utterance")
        recos = {segment.reco_id for segment in segments.values()}
        for utt_id, segment in segments.items():
            if wavs is not None and segment.reco_id not in wavs:
                raise InputError(
                    f"utterance {utt_id!r}: recording {segment.reco_id!r} is not in wav.scp",
                    where=path / "segments",
                )
        if unused := set(wavs or ()) - recos:
            raise InputError(
                f"recording {min(unused)!r} has no utterance in segments", where=path / "wav.scp", mend=FIX
            )
    elif wavs is not None:
        _require_keys(path / "wav.scp", wavs, utt2spk, "utterance")
    for key, value in (wavs or {}).items():
        if value.startswith("~"):
            raise InputError(f"{key!r}: '~' in {value!r} is not expanded", where=path / "wav.scp")
    source = "utt2spk" if recos is utt2spk else "segments"
    for name in RECO_FILES[1:]:
        if (path / name).is_file() and (path / name).stat().st_size:  # none is left where a subset has none
            _require_known(path / name, _checked(path / name), recos, "recording", source)
