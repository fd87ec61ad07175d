"""A table of tens of millions of lines that stays on disk: 8 bytes of memory per line."""

import itertools
import mmap
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from speechrep.errors import InputError, telling_of
from speechrep.io.files import identity

_BLANKS = b" \t\n"  # as speechrep.io.table takes them


class ScpIndex(Mapping[str, str]):
    """``key value`` lines sorted by key, looked up in the file.

    Use :func:`open_index`. Cheap to give to other processes, which open the file for themselves.

    Args:
        path: the table.
        starts: of every line, and the end of the last.
        made_of: the :func:`~speechrep.io.files.identity` of the file that they are of.
    """

    def __init__(self, path: str | os.PathLike[str], starts: np.ndarray, made_of: tuple[int, int, int]):
        self.path, self._starts, self._made_of = os.fspath(path), starts, made_of
        self._bytes: mmap.mmap | None = None

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[str]:
        return (self.key(row) for row in range(len(self)))

    def __getitem__(self, key: str) -> str:
        row = self.row(key)
        if row is None:
            raise KeyError(key)
        return self._line(row).partition(b" ")[2].strip(_BLANKS).decode()

    def key(self, row: int) -> str:
        """The key of a line."""
        return self._line(row).partition(b" ")[0].decode()

    def row(self, key: str) -> int | None:
        """The line of a key, or None."""
        wanted, low, high = key.encode(), 0, len(self)
        while low < high:
            middle = (low + high) // 2
            found = self._line(middle).partition(b" ")[0]
            if found == wanted:
                return middle
            low, high = (middle + 1, high) if found < wanted else (low, middle)
        return None

    def _line(self, row: int) -> bytes:
        if self._bytes is None:
            with telling_of(self.path), open(self.path, "rb") as stream:
                if identity(stream.fileno()) != self._made_of:
                    raise InputError("was replaced while in use", where=self.path, mend="start again")
                self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        return self._bytes[self._starts[row] : self._starts[row + 1]]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_bytes": None}


class Keys(Sequence[str]):
    """The keys of an index, in its order, each read when asked for."""

    def __init__(self, index: ScpIndex):
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self._index.key(i) for i in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        return self._index.key(row % len(self))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._index.row(key) is not None


def open_index(path: str | os.PathLike[str]) -> ScpIndex | None:
    """Index a table, or None where a line is not plainly ``key value`` in UTF-8, or out of order."""
    starts, previous, offset = array("q", [0]), b"", 0
    with telling_of(path), open(path, "rb") as stream:
        made_of = identity(stream.fileno())
        for line in stream:
            key, _, value = line.partition(b" ")
            plain = value.strip(_BLANKS) and line.endswith(b"\n") and b"\t" not in key and b"\r" not in line
            if not plain or key <= previous or not _is_text(line):
                return None
            offset += len(line)
            starts.append(offset)
            previous = key
    return ScpIndex(path, np.frombuffer(starts, np.int64), made_of) if len(starts) > 1 else None


def _is_text(line: bytes) -> bool:
    try:
        return line.isascii() or bool(line.decode())
    except UnicodeDecodeError:
        return False


def numbers_beside(path: str | os.PathLike[str], index: ScpIndex) -> np.ndarray | None:
    """The numbers (N,) int64 of a table ``key number`` of the same keys; None where it is not just that."""
    numbers = array("q")
    with open(path, "rb") as stream, open(index.path, "rb") as keys:
        for line, other in itertools.zip_longest(stream, keys, fillvalue=b""):
            key, _, number = line.partition(b" ")
            number = number.rstrip()
            if not other.startswith(key + b" ") or not number.isdigit() or len(number) > 9:
                return None
            numbers.append(int(number))
    return np.frombuffer(numbers, np.int64)
