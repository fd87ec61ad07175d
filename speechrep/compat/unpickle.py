"""Torch checkpoint files, zip and legacy, read as plain data with lazy tensors; nothing in them is run.

``torch.load(weights_only=True)`` refuses the published files (they hold a timer, a Namespace, a
schedule), and ``weights_only=False`` runs what they name. Here the pickles are interpreted
(:mod:`speechrep.compat.inert`) and the storages read by position, whatever device they were saved from.
"""

import dataclasses
import io
import math
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import torch

from speechrep.compat.inert import Name, keys, read_pickle
from speechrep.errors import InputError

_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}  # fmt: skip
#: classes that published checkpoints hold besides tensors; kept as records of plain values
STUBS = frozenset(
    [
        "argparse.Namespace", "utility.timer.Timer", "utils.timer.Timer", "pathlib.PosixPath",
        "mockingjay.optimization.*", "optimizers.*", "s3prl.optimizers.*", "optimization.*",
        "_codecs.encode",
        "numpy.dtype",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "torch.Size", "torch.device",
    ]
    + [f"{module}.{name}" for module in ("torch", "torch.cuda") for name in _DTYPES]
    + [f"torch.{dtype}" for dtype in ("float32", "float64", "float16", "bfloat16", "int64", "uint8", "bool")]
)  # fmt: skip


@dataclasses.dataclass
class _Storage:
    path: Path
    dtype: torch.dtype
    numel: int
    start: int = -1  # byte position in the file, once known


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor in a checkpoint file, read only by :meth:`load`."""

    storage: _Storage
    offset: int  # of its first element in the storage, in elements
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def load(self) -> torch.Tensor:
        """Its values, on the CPU, contiguous."""
        if math.prod(self.shape) == 0:
            return torch.empty(self.shape, dtype=self.storage.dtype)
        last = sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        itemsize = self.storage.dtype.itemsize
        with open(self.storage.path, "rb") as stream:
            stream.seek(self.storage.start + self.offset * itemsize)
            values = bytearray((last + 1) * itemsize)
            if stream.readinto(values) != len(values):
                raise InputError("the file ends inside a tensor", where=self.storage.path)
        return (
            torch.frombuffer(values, dtype=self.storage.dtype)
            .as_strided(self.shape, self.stride)
            .contiguous()
        )


def read_checkpoint(path: str | os.PathLike[str]) -> Any:
    """Read a file that ``torch.save`` wrote, of any torch version since 0.4, without running any of it.

    Returns:
        Dictionaries, lists, tuples, numbers and text, with :class:`StoredTensor` for tensors and
        :class:`~speechrep.compat.inert.Record` for objects of the classes in ``STUBS``.

    Raises:
        InputError: not such a file, a truncated one, or one that names any other class (named).
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with open(path, "rb") as stream:
            if stream.read(4) == b"PK\x03\x04":
                return _read_zip(path, size)
            stream.seek(0)
            return _read_legacy(stream, path, size)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"cannot read it: {error.strerror}", where=path) from None


def _read_zip(path: Path, size: int) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            roots = [name[: -len("data.pkl")] for name in members if name.endswith("/data.pkl")]
            if len(roots) != 1 or any(name.endswith("/constants.pkl") for name in members):
                kind = "a TorchScript program" if len(roots) == 1 else "a zip file"
                raise InputError(f"{kind}, no checkpoint of tensors", where=path)
            root = roots[0]
            for part in (f"{root}data.pkl", f"{root}byteorder"):
                if part in members and not _is_plain(members[part], size):
                    raise InputError(f"{part} is packed, or longer than the file", where=path)
            if f"{root}byteorder" in members and archive.read(f"{root}byteorder") != b"little":
                raise InputError("its numbers are big-endian", where=path, mend="save it on another machine")
            pickled = archive.read(f"{root}data.pkl")
    except InputError:
        raise
    except (
        zipfile.BadZipFile,
        ValueError,
        RuntimeError,
        OSError,
        EOFError,
        struct.error,
        zlib.error,
    ) as error:
        raise InputError(f"a damaged or truncated zip file: {error}", where=path) from error

    storages: dict[str, _Storage] = {}

    def storage(identity: Any) -> _Storage:
        _, kind, key, _, numel = _storage_id(identity, 5, path)
        if key not in storages:
            found = _Storage(path, _dtype(kind, path), _count(numel, path))
            info = members.get(f"{root}data/{key}")
            if info is None or not _is_plain(info, size):
                raise InputError(f"the values of storage {key} are missing or packed", where=path)
            found.start = _data_start(path, info)
            length = found.numel * found.dtype.itemsize
            if info.file_size < length or found.start + length > size:
                raise InputError(f"storage {key} is shorter than the {length} bytes it claims", where=path)
            storages[key] = found
        return storages[key]

    return read_pickle(io.BytesIO(pickled), path, STUBS, _makers(path), storage)


def _is_plain(info: zipfile.ZipInfo, size: int) -> bool:
    """Whether a member lies in the file as it is, as torch stores all: it then is no longer than the file."""
    return info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size <= size


def _data_start(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a stored member's bytes begin: behind its local header, whose name and extra field vary."""
    with open(path, "rb") as stream:
        stream.seek(info.header_offset)
        header = stream.read(30)
    if len(header) != 30 or header[:4] != b"PK\x03\x04":
        raise InputError("a damaged zip file: a member has no header", where=path)
    name, extra = struct.unpack("<HH", header[26:30])
    return info.header_offset + 30 + name + extra


def _read_legacy(stream: IO[bytes], path: Path, size: int) -> Any:
    """Four pickles (magic number, protocol, system, the object), the storages' keys, then their values."""
    try:
        magic = read_pickle(stream, path)
    except InputError:
        magic = None
    if magic != _LEGACY_MAGIC:
        raise InputError("no torch checkpoint (neither its zip nor its older format)", where=path)
    if read_pickle(stream, path) != _LEGACY_PROTOCOL:
        raise InputError(f"a torch format other than {_LEGACY_PROTOCOL}", where=path)
    system = read_pickle(stream, path)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise InputError("its numbers are big-endian", where=path, mend="save it on another machine")

    storages: dict[str, _Storage] = {}

    def storage(identity: Any) -> tuple[_Storage, int]:
        _, kind, key, _, numel, view = _storage_id(identity, 6, path)
        if key not in storages:
            storages[key] = _Storage(path, _dtype(kind, path), _count(numel, path))
        # torch < 1.0 let a storage be a window (key, offset, size) into another
        return storages[key], 0 if view is None else _count(view[1], path)

    tree = read_pickle(stream, path, STUBS, _makers(path), storage)
    order = read_pickle(stream, path)
    if not isinstance(order, list) or not all(isinstance(key, str) for key in order):
        raise InputError("the list of its storages is damaged", where=path)
    if set(order) != set(storages):
        raise InputError("the list of its storages does not fit its tensors", where=path)
    for key in order:
        found = storages[key]
        count = stream.read(8)
        if len(count) != 8 or struct.unpack("<q", count)[0] != found.numel:
            raise InputError("truncated, or a storage's length does not fit", where=path)
        found.start = stream.tell()
        end = found.start + found.numel * found.dtype.itemsize
        if end > size:
            raise InputError(f"truncated: {size} bytes, at least {end} expected", where=path)
        stream.seek(end)
    return tree


def _makers(path: Path) -> dict[str, Any]:
    """What stands in for the few functions that torch's own files name."""

    def tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> StoredTensor:
        base, start = storage if isinstance(storage, tuple) else (storage, 0)
        if not isinstance(base, _Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
            raise TypeError("a tensor without a storage")
        sizes, steps = [_count(n, path) for n in shape], [_count(n, path) for n in stride]
        first = start + _count(offset, path)
        extent = sum((size - 1) * step for size, step in zip(sizes, steps, strict=True)) + 1
        numel = math.prod(sizes)
        if numel and (first + extent > base.numel or numel > base.numel):
            raise InputError(f"a tensor of shape {sizes} reaches past its storage", where=path)
        return StoredTensor(base, first, tuple(sizes), tuple(steps))

    def parameter(data: Any, *_: Any) -> Any:
        return data

    def ordered(items: Any = ()) -> dict[Any, Any]:
        names, values = zip(*items, strict=True) if items else ((), ())
        return dict(zip(keys(list(names)), values, strict=True))

    return {
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_parameter": parameter,
        "torch._utils._rebuild_parameter_with_state": parameter,
        "collections.OrderedDict": ordered,
    }


def _storage_id(identity: Any, length: int, path: Path) -> tuple[Any, ...]:
    if not isinstance(identity, tuple) or not identity:
        raise InputError("a stored part that is no storage", where=path)
    if identity[0] == "module":
        raise InputError("it holds a whole pickled module, not its weights", where=path)
    if identity[0] != "storage" or len(identity) != length:
        raise InputError(f"a stored part of unknown kind {str(identity[0])[:40]!r}", where=path)
    if not isinstance(identity[2], str):
        raise InputError("a storage without a name", where=path)
    return identity


def _dtype(kind: Any, path: Path) -> torch.dtype:
    name = kind.name.rpartition(".")[2] if isinstance(kind, Name) else ""
    if name not in _DTYPES:
        raise InputError(f"values of kind {name or kind!r} are not supported", where=path)
    return _DTYPES[name]


def _count(value: Any, path: Path) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise InputError("something else where a size belongs", where=path)
    return value
