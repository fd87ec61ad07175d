"""HDF5 files that others made: whatever the library says about a damaged one is an InputError."""

import contextlib
import errno
import math
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from speechrep.errors import InputError

# What h5py raises depends on which byte is damaged.
_DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, NotImplementedError)
_HEAP = b"GCOL\1\0\0\0"  # and version 1
_MOST_PACKED = 1100  # times smaller than its content is what gzip can make of zeros


@contextlib.contextmanager
def reading(path: object, what: str = "not a whole HDF5 file", mend: str = "") -> Iterator[None]:
    """What h5py raises in the block as InputError naming ``path``."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError("no such file", where=path) from None
    except _DAMAGE as error:
        system = getattr(error, "errno", None) == errno.EIO  # of which the library tells in ten lines
        why = os.strerror(errno.EIO) if system else " ".join(str(error).split())
        raise InputError(f"{what}: {why}", where=path, mend=mend) from error


def require_readable(dataset: h5py.Dataset, where: object) -> None:
    """Refuse a data set that is no plain one or claims more than its file can hold, before it is read."""
    _require_plain(dataset.id.get_type(), dataset.name, where)
    # Chunks of another rank than the data's lead the library to memory that it does not own.
    chunks = dataset.chunks or (1,) * dataset.ndim
    if len(chunks) != dataset.ndim:
        raise InputError(f"{dataset.name} of shape {dataset.shape} has chunks {chunks}", where=where)
    file_bytes = Path(dataset.file.filename).stat().st_size
    stored = min(dataset.id.get_storage_size(), file_bytes)
    claimed = max(dataset.nbytes, math.prod(chunks) * dataset.dtype.itemsize) if dataset.size else 0
    if claimed > _MOST_PACKED * stored:
        raise InputError(f"{dataset.name} claims {claimed} bytes and holds {stored}", where=where)


def read_attribute(node: h5py.HLObject, name: str, where: object) -> Any:
    """The value of a plain attribute; None if there is none of the name."""
    if name not in node.attrs:
        return None
    _require_plain(node.attrs.get_id(name).get_type(), f"attribute {name!r}", where)
    return node.attrs[name]


def _require_plain(kind: h5py.h5t.TypeID, what: str, where: object) -> None:
    """Refuse other types than we use: one that damage has made kills the library when it converts."""
    if not isinstance(kind, (h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID, h5py.h5t.TypeStringID)):
        raise InputError(f"{what} holds neither numbers nor text", where=where)


def require_sound_heaps(path: str | os.PathLike[str], skip: tuple[int, int] = (0, 0)) -> None:
    """Refuse a file whose heaps of strings are damaged: the library reads some such for ever.

    A heap ("global heap collection", III.E of the HDF5 file format) is a chain of objects, each with its
    size; one of size 0 leads to itself. To be called before any string of the file is read.

    Args:
        path: the file.
        skip: first byte and end of what is known to hold no heap, such as a large data set.

    Raises:
        InputError: naming the byte.
    """
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # Not by one search that passes over the frames: it would read all of them, to open a store.
        for begin, end in ((0, skip[0]), (skip[1], len(content))):
            place = begin - 1
            while (place := content.find(_HEAP, place + 1, end)) >= 0:
                if place % 8 == 0 and not _is_chain(content, place):
                    raise InputError(f"a damaged heap of strings at byte {place}", where=path)


def _is_chain(content: mmap.mmap, place: int) -> bool:
    (size,) = struct.unpack_from("<Q", content, place + 8) if place + 16 <= len(content) else (0,)
    end, place = place + size, place + 16
    if size < 16 or end > len(content):
        return False
    while place + 16 <= end:
        number, _, _, size = struct.unpack_from("<HHIQ", content, place)
        step = 16 + -(-size // 8) * 8 if number else size  # what is free, number 0, counts its header
        if not 16 <= step <= end - place:
            return False
        place += step
    return True
