"""Data directories out of data directories, with Kaldi's habits: split, subset, combine, copy."""

import collections
import dataclasses
import logging
import os
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from speechrep.errors import InputError
from speechrep.io.data_content import Content, load, new_data_dir, restrict, store, tell_left_out
from speechrep.io.dirs import atomic_directory

_log = logging.getLogger(__name__)


def split_directory(path: str | os.PathLike[str], pieces: int, per_utt: bool) -> Path:
    """Where :func:`split` puts the pieces: ``splitN/`` or ``splitNutt/``, each in a folder named 1 to N."""
    return Path(path) / f"split{pieces}{'utt' if per_utt else ''}"


def split(path: str | os.PathLike[str], pieces: int, per_utt: bool = False) -> Path:
    """Split a data directory into contiguous pieces; does nothing where they are newer than it.

    Args:
        path: the directory.
        pieces: how many.
        per_utt: cut between any utterances (the first pieces get one more where it does not divide), not only
            between speakers.

    Returns:
        The folder of the pieces.

    Raises:
        InputError: more pieces than utterances or speakers.
    """
    target = split_directory(path, pieces, per_utt)
    content = load(path)
    inputs = [entry.stat().st_mtime_ns for entry in Path(path).iterdir() if entry.is_file()]
    # When the pieces were written: their files may have kept older times.
    outputs = [piece.stat().st_mtime_ns for piece in target.iterdir()] if target.is_dir() else []
    if outputs and min(outputs) > max(inputs):
        return target
    parts = split_evenly(content.utt_ids, pieces) if per_utt else split_by_speaker(content.spk2utt, pieces)
    if parts is None:
        kind, count = ("utterances", len(content.utt_ids)) if per_utt else ("speakers", len(content.spk2utt))
        raise InputError(f"cannot be split into {pieces}: it has {count} {kind}", where=path)
    tell_left_out(path)
    with atomic_directory(target) as folder:
        for number, utt_ids in enumerate(parts, start=1):
            (folder / str(number)).mkdir()
            store(restrict(content, utt_ids), folder / str(number))
    return target


def split_evenly(items: Sequence[str], pieces: int) -> list[Sequence[str]] | None:
    """Contiguous pieces, the first ones longer by one; None if one would be empty."""
    if not 0 < pieces <= len(items):
        return None
    size, more = divmod(len(items), pieces)
    bounds = [piece * size + min(piece, more) for piece in range(pieces + 1)]
    return [items[bounds[piece] : bounds[piece + 1]] for piece in range(pieces)]


def split_by_speaker(spk2utt: Mapping[str, Sequence[str]], pieces: int) -> list[Sequence[str]] | None:
    """Contiguous pieces of whole speakers, as even as that allows; None if one would be empty."""
    if not 0 < pieces <= len(spk2utt):
        return None
    left, parts = collections.deque(spk2utt.values()), []
    total = sum(map(len, left))
    for remaining in range(pieces, 0, -1):
        want = total / remaining
        part = list(left.popleft())
        # Another speaker where that comes nearer to an even share, and enough remain for the other pieces.
        while len(left) >= remaining and (
            remaining == 1 or abs(len(part) + len(left[0]) - want) < abs(len(part) - want)
        ):
            part += left.popleft()
        parts.append(part)
        total -= len(part)
    return parts


def first_utts(content: Content, count: int) -> Collection[str]:
    """The first ``count`` utterances."""
    return content.utt_ids[: _at_most(count, content)]


def last_utts(content: Content, count: int) -> Collection[str]:
    """The last ``count`` utterances."""
    return content.utt_ids[len(content.utt_ids) - _at_most(count, content) :]


def spread_utts(content: Content, count: int) -> Collection[str]:
    """``count`` utterances spread evenly over the directory."""
    _at_most(count, content)
    return [content.utt_ids[i * len(content.utt_ids) // count] for i in range(count)]


def shortest_utts(content: Content, count: int) -> Collection[str]:
    """The ``count`` shortest utterances, by ``utt2num_frames`` or ``utt2dur``."""
    _at_most(count, content)
    lengths = content.utts.get("utt2num_frames") or content.utts.get("utt2dur")
    if lengths is None:
        raise InputError("the shortest utterances cannot be told without utt2num_frames or utt2dur")
    return sorted(content.utt_ids, key=lambda utt_id: (float(lengths.get(utt_id, "inf")), utt_id))[:count]


def utts_per_speaker(content: Content, count: int) -> Collection[str]:
    """Up to ``count`` utterances of every speaker, spread evenly over the speaker's."""
    chosen: list[str] = []
    for utts in content.spk2utt.values():
        kept = min(count, len(utts))
        chosen += [utts[i * len(utts) // kept] for i in range(kept)]
    return chosen


def utts_of_speakers(content: Content, count: int) -> Collection[str]:
    """Whole speakers, drawn always alike, until they have at least ``count`` utterances."""
    _at_most(count, content)
    spk2utt, chosen = content.spk2utt, []
    speakers = random.Random("speakers").sample(sorted(spk2utt), len(spk2utt))  # noqa: S311 (must repeat)
    while len(chosen) < count:
        chosen += spk2utt[speakers.pop()]
    return chosen


CHOICES: dict[str, Callable[[Content, int], Collection[str]]] = {
    "spread": spread_utts,
    "first": first_utts,
    "last": last_utts,
    "shortest": shortest_utts,
    "per-spk": utts_per_speaker,
    "speakers": utts_of_speakers,
}


def subset(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    choose: Callable[[Content], Collection[str]],
) -> int:
    """Make a data directory of some of another's utterances.

    Args:
        source: the directory.
        target: the new one.
        choose: which utterances.

    Returns:
        How many.

    Raises:
        InputError: none is left, or ``target`` is not a data directory's place.
    """
    content = load(source)
    try:
        chosen = set(choose(content))
    except InputError as error:
        raise error.told(where=error.where or source) from None
    if not chosen & set(content.utt_ids):
        raise InputError("none of the utterances wanted is here", where=source)
    kept = restrict(content, chosen)
    tell_left_out(source)
    with new_data_dir(target, [source]) as folder:
        store(kept, folder)
    return len(kept.utt_ids)


def _at_most(count: int, content: Content) -> int:
    if not 0 < count <= len(content.utt_ids):
        raise InputError(f"cannot take {count} of {len(content.utt_ids)} utterances")
    return count


def combine(
    target: str | os.PathLike[str], sources: Sequence[str | os.PathLike[str]], extra: Sequence[str] = ()
) -> int:
    """Make one data directory of several; a file that some of them lack is left out, and told.

    Args:
        target: the new directory.
        sources: the others.
        extra: further files keyed by utterance.

    Returns:
        The number of utterances.

    Raises:
        InputError: an utterance in two of them, or a speaker or recording of two that differs.
    """
    contents = [load(source, utt_extra=extra) for source in sources]
    for source in sources:
        tell_left_out(source, extra)
    if any("segments" in content.utts for content in contents):
        for content in contents:
            _give_segments(content)
    merged = Content(
        utts=_merge([content.utts for content in contents], sources, shared=False),
        spks=_merge([content.spks for content in contents], sources, shared=True),
        recos=_merge([content.recos for content in contents], sources, shared=True),
        rows=_merge([content.rows for content in contents], sources, shared=False, required=False),
        whole=_same([content.whole for content in contents]),
    )
    with new_data_dir(target, sources) as folder:
        store(merged, folder)
    return len(merged.utt_ids)


def _give_segments(content: Content) -> None:
    """Make every recording, whole, a segment, so that it goes with directories that have segments."""
    if "segments" not in content.utts:
        ends = content.utts.get("utt2dur", {})
        content.utts["segments"] = {
            utt_id: f"{utt_id} 0 {ends.get(utt_id, '-1')}" for utt_id in content.utt_ids
        }


def _merge(parts: Sequence[dict], sources: Sequence[object], *, shared: bool, required: bool = True) -> dict:
    merged: dict = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        lacking = [str(source) for source, part in zip(sources, parts, strict=True) if name not in part]
        if lacking and required:
            _log.warning("leaving out %s, which %s has not", name, lacking[0])
            continue
        table = merged[name] = {}
        for source, part in zip(sources, parts, strict=True):
            for key, value in part.get(name, {}).items():
                if key in table and not (shared and table[key] == value):
                    differing = ", with another value" if shared else ""
                    raise InputError(
                        f"{key!r} is in another directory too{differing}", where=Path(str(source)) / name
                    )
                table[key] = value
        merged[name] = dict(sorted(table.items()))
    return merged


def _same(parts: Sequence[dict[str, str]]) -> dict[str, str]:
    """The files that are the same everywhere; of the others it is told that they are left out."""
    same = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        texts = {part.get(name) for part in parts}
        if len(texts) == 1:
            same[name] = parts[0][name]
        else:
            _log.warning("leaving out %s, which is not the same everywhere", name)
    return same


@dataclasses.dataclass(frozen=True)
class Rename:
    """What a copy's ids get before and after them."""

    utt_prefix: str = ""
    utt_suffix: str = ""
    spk_prefix: str = ""
    spk_suffix: str = ""

    def utt(self, utt_id: str) -> str:
        """An utterance's new name."""
        return f"{self.utt_prefix}{utt_id}{self.utt_suffix}"

    def spk(self, spk: str) -> str:
        """A speaker's new name."""
        return f"{self.spk_prefix}{spk}{self.spk_suffix}"


def copy(source: str | os.PathLike[str], target: str | os.PathLike[str], rename: Rename) -> None:
    """Copy a data directory, renaming utterances and speakers; recordings keep the names segments give them.

    Raises:
        InputError: the new names do not sort utterances by speaker.
    """
    content = load(source)
    tell_left_out(source)
    by_utt = "segments" not in content.utts
    utts = {
        name: {rename.utt(key): value for key, value in table.items()} for name, table in content.utts.items()
    }
    utts["utt2spk"] = {utt_id: rename.spk(spk) for utt_id, spk in utts["utt2spk"].items()}
    renamed = Content(
        utts=utts,
        spks={name: {rename.spk(key): v for key, v in table.items()} for name, table in content.spks.items()},
        recos={
            name: {rename.utt(key) if by_utt else key: v for key, v in table.items()}
            for name, table in content.recos.items()
        },
        rows={name: {rename.utt(key): v for key, v in rows.items()} for name, rows in content.rows.items()},
        whole=content.whole,
    )
    with new_data_dir(target, [source]) as folder:
        store(renamed, folder)
