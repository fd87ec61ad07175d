"""Writing a feature directory: archives piece by piece, then what makes them one."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np

from speechrep.errors import InputError
from speechrep.frontend import cmvn
from speechrep.io.ark import ArkWriter, Source, iter_ark, open_ark
from speechrep.io.checked_file import checked_open
from speechrep.io.files import atomic_open
from speechrep.io.table import read_table, write_table

MIN_SUCCESS = 0.95
"""The share of utterances below which a set is not usable, as in Kaldi's make_fbank."""


class Piece(NamedTuple):
    """One archive, the statistics of its utterances, and (utterance, offset, frames) of each."""

    archive: Path
    stats: Path
    utts: Sequence[tuple[str, int, int]]


class PieceWriter:
    """Writes an archive and the statistics of its utterances; both appear when the block ends without error.

    Args:
        archive: of features.
        stats: of statistics, keyed by utterance.
        method: Kaldi's compression method, 0 for none.
    """

    def __init__(self, archive: Path, stats: Path, method: int):
        self.archive, self.stats, self.method = archive, stats, method
        self.utts: list[tuple[str, int, int]] = []

    def __enter__(self) -> "PieceWriter":
        for path in (self.archive, self.stats):  # what a killed process left
            for left in path.parent.glob(f".{path.name}.*.tmp"):
                left.unlink()
        self._files = [checked_open(self.archive), atomic_open(self.stats, "wb")]
        streams = [file.__enter__() for file in self._files]
        self._feats, self._stats = ArkWriter(streams[0], self.method), ArkWriter(streams[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.__exit__(kind, error, trace)

    def write(self, utt_id: str, feats: np.ndarray) -> None:
        """Add an utterance, float32 (T, D)."""
        # Statistics of what will be read: compression must not leave a mean behind.
        kept = self._feats.write(utt_id, feats, read_back=True)
        self._stats.write(utt_id, cmvn.statistics(kept))
        self.utts.append((utt_id, self._feats.offset, len(feats)))


def merge(
    out_dir: Path,
    pieces: Sequence[Piece],
    scope: str,
    utt2spk: Path | None,
    global_cmvn_from: Path | None = None,
) -> int:
    """Write everything but ``features.json`` of a feature directory.

    Args:
        out_dir: the directory, which holds the archives.
        pieces: in the order of their utterances.
        scope: of CMVN, one of :data:`speechrep.frontend.cmvn.SCOPES`.
        utt2spk: copied for those utterances that are here; may be none or absent, but for scope speaker.
        global_cmvn_from: a feature directory whose statistics are taken instead.

    Returns:
        The number of utterances.

    Raises:
        InputError: an utterance comes twice, or has no speaker.
    """
    positions: dict[str, str] = {}
    lengths: dict[str, str] = {}
    for piece in pieces:
        archive = piece.archive.absolute()
        for utt_id, offset, num_frames in piece.utts:
            if utt_id in positions:
                raise InputError(f"utterance {utt_id!r} comes twice", where=archive)
            positions[utt_id], lengths[utt_id] = f"{archive}:{offset}", str(num_frames)
    speakers = read_table(utt2spk) if utt2spk and utt2spk.is_file() else {}
    if speakers:
        missing = next((utt_id for utt_id in positions if utt_id not in speakers), None)
        if missing is not None:
            raise InputError(f"no speaker for utterance {missing!r}", where=utt2spk)
        write_table(out_dir / "utt2spk", {utt_id: speakers[utt_id] for utt_id in positions})
    elif scope == "speaker":
        raise InputError("no such file, which CMVN by speaker needs", where=utt2spk or "utt2spk")
    if global_cmvn_from:
        (out_dir / "cmvn.scp").unlink(missing_ok=True)
        with open_ark(global_cmvn_from / "cmvn.ark") as given, checked_open(out_dir / "cmvn.ark") as stream:
            stream.write(given.read())
    else:
        _write_cmvn(out_dir, _stats(pieces), scope, speakers)
    write_table(out_dir / "utt2num_frames", lengths)
    write_table(out_dir / "feats.scp", positions)
    return len(positions)


def report_lost(path: Path, lost: Iterable[Sequence[str]], total: int) -> None:
    """List lost utterances with their reasons; no list if none is lost.

    Raises:
        InputError: so many are lost that the set is not usable; the list is there.
    """
    rows = list(lost)
    path.unlink(missing_ok=True)
    if not rows:
        return
    with atomic_open(path) as stream:
        stream.writelines(f"{utt_id} {reason}\n" for utt_id, reason in rows)
    if total - len(rows) < MIN_SUCCESS * total:
        raise InputError(
            f"{len(rows)} of {total} utterances are lost, more than {100 * (1 - MIN_SUCCESS):.0f} %; "
            f"first: {rows[0][1]}",
            where=path,
        )


def _stats(pieces: Sequence[Piece]) -> Iterator[tuple[str, np.ndarray]]:
    for piece in pieces:
        with open_ark(piece.stats) as stream:
            yield from iter_ark(Source(stream, os.fspath(piece.stats)))


def _write_cmvn(
    out_dir: Path, stats: Iterable[tuple[str, np.ndarray]], scope: str, speakers: dict[str, str]
) -> None:
    """``cmvn.ark``: by utterance or speaker with ``cmvn.scp``, or one unkeyed matrix of the whole set."""
    path, scp = out_dir / "cmvn.ark", out_dir / "cmvn.scp"
    scp.unlink(missing_ok=True)
    sums: dict[str, np.ndarray] = {}
    lines = []
    with checked_open(path) as stream:
        writer = ArkWriter(stream)

        def write(key: str, value: np.ndarray) -> None:
            writer.write(key, value)
            lines.append(f"{key} {path.absolute()}:{writer.offset}\n")

        for utt_id, value in stats:
            if scope in ("global", "speaker"):
                key = speakers[utt_id] if scope == "speaker" else ""
                sums[key] = sums[key] + value if key in sums else value
            else:
                write(utt_id, value)
        if scope == "global":
            writer.write_alone(sums[""])
        else:
            for spk in sorted(sums):
                write(spk, sums[spk])
    if scope != "global":
        with atomic_open(scp) as stream:
            stream.writelines(lines)
