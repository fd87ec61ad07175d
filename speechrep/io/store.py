"""The HDF5 feature store: one dataset of frames and an index, readable by plain h5py.

Layout (all datasets contiguous and uncompressed, so that an utterance is one read of the file)::

    /feats       (N, D) or, with several layers, (N, L, D)   float32 or float16; N frames of all utterances
    /utt_ids     (U,) variable-length UTF-8 strings
    /start       (U,) int64, the utterance's first row of /feats
    /num_frames  (U,) int64, its number of rows
    /crc32       (K,) uint32, zlib's CRC-32 of every R rows of an utterance, the last of each fewer, in the
                 order of the utterances; R is its attribute "rows". Readers compare; older stores lack it.
    attribute "meta" of /: JSON of FeatureMeta
    attribute "crc32" of /: CRC-32 of that and of all but /feats, as _index_parts has it

In five lines::

    with h5py.File("test_clean.h5") as store:
        utt_ids = [name.decode() for name in store["utt_ids"][:]]
        i = utt_ids.index("1089-134686-0000")
        start, num_frames = store["start"][i], store["num_frames"][i]
        feats = store["feats"][start : start + num_frames]

One dataset writes 1.5 to 2.4 times faster than one per utterance, and compression costs 13 to 50 times the
writing time to save 10 to 28 % (measured), hence neither.
"""

import dataclasses
import errno
import functools
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from speechrep.errors import InputError, telling_of
from speechrep.io.checks import BlockChecks
from speechrep.io.feature_meta import FeatureMeta, parse_meta, plain_meta
from speechrep.io.files import commit_file, identity, parse_json, temporary_name
from speechrep.io.hdf5 import read_attribute, reading, require_readable, require_sound_heaps
from speechrep.io.hdf5_disk import Disk

DTYPES = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}


class StoreWriter:
    """Writes one store; the file appears under its name only when every utterance is in it.

    One process writes a file; jobs that dump in parallel each write their own.

    Args:
        path: the ``.h5`` file to make; an existing one is replaced at the end.
        meta: what the frames are; ``meta.dtype`` is how they are stored, ``meta.dim`` their D.
        utt_ids: all utterances, in the order of the file.
        num_frames: (U,) their lengths, each at least 1.
        num_layers: L of (T, L, D) utterances; 0 for (T, D).

    Use it in a ``with`` block: leaving it by an exception removes the unfinished file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        meta: FeatureMeta,
        utt_ids: Sequence[str],
        num_frames: Sequence[int],
        num_layers: int = 0,
    ):
        self.path, self.meta = Path(path), meta
        if meta.dtype not in DTYPES:
            raise InputError(f"dtype {meta.dtype!r}; known are {sorted(DTYPES)}", where=path)
        if not utt_ids:
            raise InputError("no utterances to store", where=path)
        if len(set(utt_ids)) != len(utt_ids):
            raise InputError("an utterance id occurs twice", where=path)
        for utt_id, length in zip(utt_ids, num_frames, strict=True):
            if length < 1:
                raise InputError("no frames", where=utt_id, mend="leave the utterance out")
        self._utt_ids = list(utt_ids)
        self._num_frames = np.asarray(num_frames, np.int64)
        self._start = np.cumsum(self._num_frames) - self._num_frames
        self._row = {utt_id: i for i, utt_id in enumerate(utt_ids)}
        self._missing = set(utt_ids)
        self._tail = (num_layers, meta.dim) if num_layers else (meta.dim,)
        self._temporary = temporary_name(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._disk = Disk(self._temporary)
        self._file: h5py.File | None = h5py.File(self._disk, "w")
        shape = (int(self._num_frames.sum()), *self._tail)
        self._feats = self._file.create_dataset("feats", shape, DTYPES[meta.dtype])
        self._checks = BlockChecks(self._num_frames, self._feats.dtype.itemsize * int(np.prod(self._tail)))

    def write(self, utt_id: str, feats: np.ndarray) -> None:
        """Store one utterance, in any order.

        Args:
            utt_id: one of those announced.
            feats: float (T, D) or (T, L, D), finite.
        """
        row = self._row[utt_id]
        want = (int(self._num_frames[row]), *self._tail)
        if feats.shape != want:
            raise InputError(f"shape {feats.shape}, want {want}", where=f"{self.path}: {utt_id}")
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(feats, DTYPES[self.meta.dtype])
        if not np.isfinite(stored).all():
            raise InputError(
                f"NaN or infinite values as {self.meta.dtype}", where=f"{self.path}: {utt_id}",
                mend="check the audio and the model" + ", or use float32" * (stored.itemsize == 2),
            )  # fmt: skip
        start = int(self._start[row])
        self._feats[start : start + want[0]] = stored
        self._checks.put(row, _bytes(stored))
        self._disk.check(self.path)
        self._missing.discard(utt_id)

    def commit(self) -> None:
        """Write index and metadata and give the file its name; called on leaving the ``with`` block."""
        if self._missing:
            raise InputError(f"{len(self._missing)} utterances never came, e.g. {min(self._missing)}",
                             where=self.path)  # fmt: skip
        assert self._file is not None
        self._file.create_dataset("utt_ids", data=self._utt_ids, dtype=h5py.string_dtype())
        self._file.create_dataset("start", data=self._start)
        self._file.create_dataset("num_frames", data=self._num_frames)
        checks = self._file.create_dataset("crc32", data=self._checks.sums)
        checks.attrs["rows"] = self._checks.rows
        about = json.dumps(plain_meta(self.meta))
        index = (self._start, self._num_frames, self._checks)
        self._file.attrs["crc32"] = np.uint32(_index_sum(about, self._utt_ids, *index))
        self._file.attrs["meta"] = about
        self._close()
        self._disk.check(self.path)
        commit_file(self._temporary, self.path)

    def abandon(self) -> None:
        """Remove what is not committed."""
        try:
            self._close()
        finally:
            self._temporary.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._disk.close()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.abandon()


class Store:
    """Reads a store. Cheap to pickle and safe to use after a fork: reads go past HDF5, by file offset.

    Attributes:
        path: the file.
        meta: what made it.
        utt_ids: the utterances, in the order of the file.
        num_frames: (U,) int64.
        num_layers: L, or 0 where an utterance is (T, D).

    Raises:
        InputError: absent, truncated, not a store, or one whose parts do not fit, naming the file.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError("no such file", where=path, mend="make it with the dump command")
        with (
            reading(path, "not a readable HDF5 file, perhaps cut short"),
            open(self.path, "rb") as stream,
            _opened(self.path) as store,
        ):
            self._identity = identity(stream.fileno())
            self._read_index(store)
        self._descriptor: int | None = None

    def read(self, utt_id: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Frames ``start`` to ``stop`` of an utterance, float32 (T, D) or (T, L, D)."""
        row = self._row.get(utt_id)
        if row is None:
            raise InputError(f"no utterance {utt_id}", where=self.path)
        length = int(self.num_frames[row])
        start, stop, _ = slice(start, stop).indices(length)
        if stop <= start:
            return np.empty((0, *self._tail), np.float32)
        first, end = self._checks.span(start, stop, length) if self._checks else (start, stop)
        frames = np.empty((end - first, *self._tail), self._dtype)
        self._read_into(_bytes(frames), self._offset + (int(self._start[row]) + first) * self._frame_bytes)
        bad = self._checks.first_damaged(row, first, _bytes(frames)) if self._checks else None
        if bad is not None:
            raise InputError(
                f"damaged: frame {bad} of {utt_id}, or one soon after, is not what was written",
                where=self.path, mend="put a good copy back, or dump it again",
            )  # fmt: skip
        return frames[start - first : stop - first].astype(np.float32, copy=False)

    def content_sha256(self) -> str:
        """SHA-256, in hex, of what is stored, whenever it was made; empty for a store without checksums."""
        if self._checks is None:
            return ""
        about = json.dumps(plain_meta(dataclasses.replace(self.meta, commit="", created="")))
        digest = hashlib.sha256()
        for part in _index_parts(about, self.utt_ids, self._start, self.num_frames, self._checks):
            digest.update(part)
        return digest.hexdigest()

    def _read_index(self, store: h5py.File) -> None:
        if "meta" not in store.attrs:
            raise InputError("an HDF5 file without our metadata; not a feature store", where=self.path)
        require_sound_heaps(self.path, _extent(store.get("feats")))
        about = read_attribute(store, "meta", self.path)
        for name in ("feats", "utt_ids", "start", "num_frames"):
            if not isinstance(store.get(name), h5py.Dataset):
                raise InputError(f"dataset /{name} is missing", where=self.path, mend="dump it again")
        if not isinstance(about, (str, bytes)):
            raise InputError("damaged metadata: no text", where=self.path)
        try:
            values: Any = parse_json(about, self.path)
        except InputError as error:
            raise error.told(f"damaged metadata: {error.what}") from error
        self.meta = parse_meta(values, self.path)
        feats = store["feats"]
        if feats.chunks is not None or feats.id.get_offset() is None:
            raise InputError("/feats is chunked or compressed", where=self.path, mend="h5repack -l CONTI")
        if feats.id.get_offset() + feats.nbytes > self.path.stat().st_size:
            raise InputError("/feats is cut short", where=self.path, mend="dump it again")
        if feats.dtype != DTYPES.get(self.meta.dtype) or feats.ndim not in (2, 3):
            raise InputError(f"/feats is {feats.dtype} {feats.shape}, not as described", where=self.path)
        for name in ("utt_ids", "start", "num_frames"):
            require_readable(store[name], self.path)
        self.utt_ids = [name.decode() for name in store["utt_ids"][:]]
        self.num_frames = store["num_frames"][:].astype(np.int64)
        self._start = store["start"][:].astype(np.int64)
        fits = len(self.utt_ids) == len(self.num_frames) == len(self._start) > 0
        if not fits or feats.shape[-1] != self.meta.dim or not self._inside(len(feats)):
            raise InputError("the index does not fit the frames", where=self.path, mend="dump it again")
        self._row = {utt_id: i for i, utt_id in enumerate(self.utt_ids)}
        self._offset = int(feats.id.get_offset())
        self._dtype, self._tail = feats.dtype, tuple(feats.shape[1:])
        self._frame_bytes = int(np.prod(self._tail)) * self._dtype.itemsize
        self._checks = self._read_checks(store, about)
        self.num_layers = self._tail[0] if len(self._tail) == 2 else 0

    def _read_checks(self, store: h5py.File, about: str | bytes) -> BlockChecks | None:
        """The checksums; None where there are none, as in a store of an earlier version."""
        sums, index_sum = store.get("crc32"), read_attribute(store, "crc32", self.path)
        if sums is None and index_sum is None:
            return None
        if not isinstance(sums, h5py.Dataset) or sums.dtype != np.uint32 or "rows" not in sums.attrs:
            raise InputError("checksums without their number of rows", where=self.path, mend="dump it again")
        require_readable(sums, self.path)
        rows = int(read_attribute(sums, "rows", self.path))
        checks = BlockChecks(self.num_frames, self._frame_bytes, rows, sums[:])
        text = about if isinstance(about, str) else about.decode("utf-8", "replace")
        if index_sum != _index_sum(text, self.utt_ids, self._start, self.num_frames, checks):
            raise InputError("the index is not what was written", where=self.path, mend="dump it again")
        return checks

    def _inside(self, num_rows: int) -> bool:
        """Whether every utterance lies within the frames."""
        lowest = min(self._start.min(), self.num_frames.min())
        return bool(lowest >= 0 and (self._start <= num_rows - self.num_frames).all())

    def _read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill ``buffer``; a positioned read shares no file position with other processes."""
        if self._descriptor is None:
            with telling_of(self.path):
                descriptor = os.open(self.path, os.O_RDONLY)
            if identity(descriptor) != self._identity:
                os.close(descriptor)
                raise InputError("was replaced while in use", where=self.path, mend="start again")
            self._descriptor = descriptor
        while buffer:
            count = os.preadv(self._descriptor, [buffer], offset)
            if count == 0:
                raise InputError("ends too early", where=self.path, mend="dump it again")
            buffer, offset = buffer[count:], offset + count

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_descriptor": None}

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            os.close(self._descriptor)


def _opened(path: Path) -> h5py.File:
    """A file for reading; without a lock where the file system has none, as on some clusters."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            raise
        return h5py.File(path, "r", locking=False)


def _bytes(frames: np.ndarray) -> memoryview:
    return memoryview(frames.reshape(-1)).cast("B")


def _index_sum(*index: Any) -> int:
    """CRC-32 of :func:`_index_parts`."""
    return functools.reduce(lambda total, part: zlib.crc32(part, total), _index_parts(*index), 0)


def _index_parts(
    about: str, utt_ids: Sequence[str], start: np.ndarray, num_frames: np.ndarray, checks: BlockChecks
) -> Iterator[bytes]:
    """Lines with the metadata, the ids and R, then /start, /num_frames and /crc32 as stored."""
    yield "".join(f"{line}\n" for line in (about, *utt_ids, checks.rows)).encode()
    for values, dtype in ((start, "<i8"), (num_frames, "<i8"), (checks.sums, "<u4")):
        yield values.astype(dtype, copy=False).tobytes()


def _extent(feats: Any) -> tuple[int, int]:
    """First byte and end of the frames in the file, if they lie in one piece."""
    start = feats.id.get_offset() if isinstance(feats, h5py.Dataset) else None
    return (0, 0) if start is None else (start, start + feats.nbytes)
