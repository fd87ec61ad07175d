"""Mending a data directory: sorted, unique, and only what every file agrees on."""

import logging
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from speechrep.errors import InputError, telling_of
from speechrep.io.alignment import Interval, parse_ctm_row
from speechrep.io.data_content import ROW_FILES, Content, Table, restrict, store
from speechrep.io.data_dir import RECO_FILES, SPK_FILES, UTT_FILES, DataDir
from speechrep.io.data_valid import RESERVED, validate
from speechrep.io.dirs import atomic_directory

_log = logging.getLogger(__name__)

BACKUP = ".backup"


def fix(
    path: str | os.PathLike[str],
    utt_extra: Sequence[str] = (),
    spk_extra: Sequence[str] = (),
    spk_sort: bool = True,
) -> tuple[int, int, bool]:
    """Mend a data directory in place; what it was is in ``.backup`` if anything changed.

    Lines are sorted and made unique; blank lines go; an utterance stays only if every file that is keyed by
    utterance has a usable value for it and every file keyed by speaker has its speaker. An utterance with two
    different values in one file goes, because which of them is right cannot be known. A damaged alignment
    goes, its utterance stays.

    Args:
        path: the directory.
        utt_extra: further files keyed by utterance; filtered, but utterances they lack stay.
        spk_extra: further files keyed by speaker, likewise.
        spk_sort: whether utterances must sort by speaker.

    Returns:
        Utterances kept, utterances of ``utt2spk`` before, and whether anything changed.

    Raises:
        InputError: no utterance is left, or it cannot be mended.
    """
    data = DataDir(path)
    required = ["utt2spk", *UTT_FILES, "segments"]
    tables = {
        name: read_lenient(data.path / name, _USABLE.get(name, bool))
        for name in dict.fromkeys([*required, *SPK_FILES, *RECO_FILES, *utt_extra, *spk_extra])
        if data.has(name)
    }
    if "utt2spk" not in tables:
        raise InputError("no such file", where=data.path / "utt2spk")
    before = len({line.split()[0] for line in _lines(data.path / "utt2spk")})
    rows = {name: _read_rows(data.path / name) for name in ROW_FILES if data.has(name)}
    if "phones.ctm" in rows:
        rows["phones.ctm"] = _usable_alignments(data.path / "phones.ctm", rows["phones.ctm"])
    content = Content(
        utts={name: tables[name] for name in dict.fromkeys([*required, *utt_extra]) if name in tables},
        spks={name: tables[name] for name in dict.fromkeys([*SPK_FILES, *spk_extra]) if name in tables},
        recos={name: tables[name] for name in RECO_FILES if name in tables},
        rows=rows,
        whole={},
    )
    kept = _agreed(content, [name for name in required if name in tables])
    if not kept:
        raise InputError("no utterance is in all of its files", where=data.path)
    fixed = restrict(content, kept)
    with atomic_directory(data.path / ".fixed") as folder:
        store(fixed, folder)
    try:
        validate(data.path / ".fixed", text=False, wav=False, spk_sort=spk_sort)
        changed = _replace(data.path, data.path / ".fixed")
    except InputError as error:
        raise InputError(
            error.what, where=error.where.replace("/.fixed", ""), mend="cannot be mended"
        ) from None
    finally:
        shutil.rmtree(data.path / ".fixed", ignore_errors=True)
    return len(kept), before, changed


def read_lenient(path: Path, usable: Callable[[str], bool] = bool) -> Table:
    """A table as far as it can be read: sorted, without keys whose value is unusable or not the only one."""
    found: Table = {}
    dropped: set[str] = set()
    for line in _lines(path):
        key, _, value = line.replace("\t", " ").partition(" ")
        value = value.strip()
        if key.split() != [key] or not usable(value) or found.get(key, value) != value:
            dropped.add(key)
        found[key] = value
    if dropped:
        first = min(dropped)
        _log.warning("%s: %d entries without one usable value, first %r", path, len(dropped), first)
    return {key: found[key] for key in sorted(found) if key not in dropped}


def _lines(path: Path) -> list[str]:
    try:
        with telling_of(path):
            lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8: {error.reason}", where=path, mend="cannot be mended") from error
    return [line for line in map(str.strip, lines) if line]  # of any blank, as split() takes it


def _read_rows(path: Path) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = {}
    for line in _lines(path):
        utt_id, _, rest = line.replace("\t", " ").partition(" ")
        rows.setdefault(utt_id, []).append(rest.strip())
    return rows


def _usable_alignments(path: Path, rows: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Alignments in order of time, without those with lines that are no intervals or overlap."""
    usable, dropped = {}, {}
    for utt_id, lines in rows.items():
        try:
            ordered = sorted(set(lines), key=lambda line: float(line.split()[1]))
            previous: Interval | None = None
            for line in ordered:
                previous = parse_ctm_row(f"{utt_id} {line}", previous)
        except (IndexError, ValueError) as error:  # InputError is a ValueError
            dropped[utt_id] = error
            continue
        usable[utt_id] = ordered
    if dropped:
        first = min(dropped)
        _log.warning("%s: %d alignments dropped, first %r: %s", path, len(dropped), first, dropped[first])
    return usable


def _agreed(content: Content, required: Sequence[str]) -> set[str]:
    """The utterances that all files have, whose speaker and recording all files about those have."""
    kept = set.intersection(*(set(content.utts[name]) for name in required))
    segments = content.utts.get("segments")
    utt2spk = content.utts["utt2spk"]
    for name in SPK_FILES:
        if name in content.spks:
            kept = {utt_id for utt_id in kept if utt2spk[utt_id] in content.spks[name]}
    if "wav.scp" in content.recos:
        wavs = content.recos["wav.scp"]
        kept = {utt_id for utt_id in kept if (segments[utt_id].split()[0] if segments else utt_id) in wavs}
    return kept


def _replace(path: Path, fixed: Path) -> bool:
    """Put the mended files in place, the ones that were there into ``.backup``; whether any differs."""
    names = [file.name for file in sorted(fixed.iterdir())]
    changed = [name for name in names if not _same(path / name, fixed / name)]
    if not changed:
        return False
    with atomic_directory(path / BACKUP) as backup:
        for name in names:
            if (path / name).is_file():
                shutil.copyfile(path / name, backup / name)
    for name in changed:
        os.replace(fixed / name, path / name)
    return True


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()


def _is_word(value: str) -> bool:
    return len(value.split()) == 1


def _is_positive(value: str) -> bool:
    try:
        return 0 < float(value) < math.inf
    except ValueError:
        return False


def _is_positive_integer(value: str) -> bool:
    return value.isascii() and value.isdecimal() and int(value) > 0


def _is_segment(value: str) -> bool:
    words = value.split()
    try:
        start_s, end_s = float(words[1]), float(words[2])
    except (IndexError, ValueError):
        return False
    return len(words) == 3 and start_s >= 0 and (start_s < end_s < math.inf or end_s == -1)


def _is_text(value: str) -> bool:
    return bool(value) and value.isprintable() and not RESERVED & set(value.split())


_USABLE: Mapping[str, Callable[[str], bool]] = {
    "utt2spk": _is_word,
    "utt2dur": _is_positive,
    "utt2num_frames": _is_positive_integer,
    "segments": _is_segment,
    "text": _is_text,
    "spk2gender": lambda value: value in ("m", "f"),
    "wav.scp": lambda value: bool(value) and not value.startswith("~"),
}
