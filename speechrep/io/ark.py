"""Kaldi archives of objects (:mod:`speechrep.io.kaldi_object`) with their keys, and positions in them.

Own code and not kaldiio's because compressed matrices are the common case and read and write several times
faster here, ranges of rows are read without decoding the rest, and a damaged file is an
:class:`~speechrep.errors.InputError`, not a crash (``docs/archives.md``).
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import numpy as np

from speechrep.errors import InputError, telling_of
from speechrep.io import compression, kaldi_object
from speechrep.io.checked_file import SummingWriter, checked_open, open_checked
from speechrep.io.files import atomic_open
from speechrep.io.kaldi_object import Source, read_object
from speechrep.io.table import read_table

_KEY_BYTES = 4096  # no key is longer
_BLANKS = (b" ", b"\t", b"\n")  # between entries
_RANGE = re.compile(r"^(?P<path>.*)\[(?P<range>[^\[\]]*)\]$", re.DOTALL)
_SPAN = re.compile(r"^\s*(?:(\d+)\s*:\s*(\d+)|:)?\s*$")
_OVERSHOOT = 3  # rows that a range may ask for beyond the end, as Kaldi tolerates


def read_matrix(
    spec: str,
    start: int = 0,
    stop: int | None = None,
    dtype: type[np.floating] = np.float32,
    opener: Callable[[str], AbstractContextManager[IO[bytes]]] | None = None,
    mapping: compression.Mapping | None = None,
) -> np.ndarray:
    """Read the matrix that an scp value names.

    Args:
        spec: ``path``, ``path:offset``, either with an inclusive range ``[r0:r1]`` or ``[r0:r1,c0:c1]``.
        start, stop: rows wanted of it, as in a slice.
        dtype: of the result; statistics want float64.
        opener: opens what ``path`` names, if that need not be a file; :func:`open_ark` if not given.
        mapping: what to make of the values; of a compressed matrix it may be done before there are so many.

    Returns:
        float (T, D).

    Raises:
        InputError: no such file, or damaged, naming file and offset.
    """
    path, offset, rows, cols = parse_spec(spec)
    with (opener or open_ark)(path) as stream:
        source = Source(stream, path)
        source.seek(offset)
        return np.ascontiguousarray(_read_part(source, rows, cols, start, stop, mapping), dtype)


def _read_part(
    source: Source,
    rows: tuple[int, int] | None = None,
    cols: tuple[int, int] | None = None,
    start: int = 0,
    stop: int | None = None,
    mapping: compression.Mapping | None = None,
) -> np.ndarray:
    """The matrix where ``source`` stands; ``rows`` and ``cols`` are inclusive."""
    where, text = source.where(), source.peek() != b"\0B"
    first, last = rows or (0, 0)
    inside = None if text or cols else mapping
    matrix = read_object(source, *((first, last + 1) if rows else (start, stop)), inside)
    if text and matrix.ndim == 1 and matrix.dtype.kind == "f":
        matrix = matrix[None][first:]  # a matrix of one row looks like a vector
    if matrix.ndim != 2 or matrix.dtype.kind != "f":
        raise InputError("not a matrix", where=where)
    if rows:
        if len(matrix) < max(1, last + 1 - first - _OVERSHOOT):
            raise InputError(f"rows {first} to {last} go beyond the end of the matrix", where=where)
        matrix = matrix[start:stop]
    if cols is not None:
        if cols[1] >= matrix.shape[1]:
            raise InputError(f"columns {cols[0]} to {cols[1]} of {matrix.shape[1]}", where=where)
        matrix = matrix[:, cols[0] : cols[1] + 1]
    return matrix if mapping is inside else mapping(matrix.astype(np.float32, copy=False))


def matrix_shape(spec: str) -> tuple[int, int]:
    """Rows and columns of the matrix that an scp value names, from its header where it is binary."""
    path, offset, rows, cols = parse_spec(spec)
    with open_ark(path) as stream:
        source = Source(stream, path)
        source.seek(offset)
        if rows is not None or cols is not None or source.peek() != b"\0B":
            return _read_part(source, rows, cols).shape
        return kaldi_object.read_shape(source)


def iter_ark(source: Source) -> Iterator[tuple[str, np.ndarray]]:
    """The entries of an archive, in order, in constant memory.

    Raises:
        InputError: a damaged entry, naming file and offset.
    """
    while (key := _read_key(source)) is not None:
        try:
            yield key, read_object(source)
        except InputError as error:
            raise error.told(f"utterance {key!r}: {error.what}") from error


def load_scp(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read ``feats.scp``: utterance to what :func:`read_matrix` takes.

    An archive that is not at the place written but beside the table is meant too: the directory was moved.

    Raises:
        InputError: a malformed line, naming file, line and utterance.
    """
    table = read_table(path, indented=True)
    beside: dict[str, str] = {}
    for number, (key, spec) in enumerate(table.items(), start=1):
        try:
            found = found_spec(path, spec, beside)
        except InputError as error:
            raise error.told(f"utterance {key!r}: {error.what}", where=f"{path}:{number}") from error
        if found != spec:
            table[key] = found
    return table


def found_spec(path: str | os.PathLike[str], spec: str, beside: dict[str, str]) -> str:
    """An scp value whose archive is where it is, if need be beside the table ``path``.

    Args:
        path: the table.
        spec: the value.
        beside: what was found for other values of the table; added to.
    """
    archive = parse_spec(spec)[0]
    if archive not in beside:
        moved = Path(path).parent / Path(archive).name
        here = _is_file(archive) or not _is_file(moved)
        beside[archive] = archive if here else str(moved)
    return spec if beside[archive] == archive else beside[archive] + spec[len(archive) :]


def parse_spec(spec: str) -> tuple[str, int, tuple[int, int] | None, tuple[int, int] | None]:
    """Path, offset, inclusive rows and columns of an scp value; the last two None where not given."""
    rows = cols = None
    if match := _RANGE.match(spec):
        spans = match["range"].split(",")
        if len(spans) > 2:
            raise InputError(f"bad range in {spec!r}; want [r0:r1] or [r0:r1,c0:c1]")
        rows, cols = (_span(span, spec) for span in (*spans, "")[:2])
        spec = match["path"]
    path, colon, offset = spec.rpartition(":")
    if not (colon and offset.isascii() and offset.isdigit()):
        path, offset = spec, "0"
    if not path or len(offset) > 18:
        raise InputError(f"bad position {spec!r}; want path or path:offset")
    return path, int(offset), rows, cols


class ArkWriter:
    """Writes an archive to an open stream, in order.

    Args:
        stream: binary.
        method: Kaldi's compression method, 0 for none, for matrices.
        text: whether to write text.
    """

    def __init__(self, stream: IO[bytes] | SummingWriter, method: int = 0, text: bool = False):
        self.stream, self.method, self.text, self.offset = stream, method, text, 0
        self.size = 0  # bytes written so far

    def write_alone(self, value: np.ndarray) -> None:
        """Write one object without a key, as the file of a whole set's CMVN statistics holds it."""
        self.size += self.stream.write(kaldi_object.to_binary(value))

    def write(self, key: str, value: np.ndarray, *, read_back: bool = False) -> np.ndarray:
        """Write one entry; :attr:`offset` then tells where its object began.

        Args:
            key: no blanks.
            value: float (T, D) or (D,), or integers (N,).
            read_back: whether the result is what a reader will get, which compression changes.

        Returns:
            ``value``, or what a reader will get.
        """
        if not key or key.split() != [key]:
            raise InputError(f"{key!r} cannot be a key of an archive")
        kept = value
        if self.text:
            body = (kaldi_object.to_text(value),)
        elif value.ndim == 2 and self.method:
            encoded = compression.encode(value, self.method)
            body = (b"\0B" + encoded.head(), encoded.payload.data)
            kept = encoded.decode() if read_back else value
        else:
            body = (kaldi_object.to_binary(value),)
        head = key.encode() + b" "
        self.offset = self.size + len(head)
        self.stream.write(head)
        self.size = self.offset
        for part in body:
            self.stream.write(part)
            self.size += len(part)
        return kept


def open_ark(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open an archive for :class:`Source`; InputError where that fails, or where what is read is damaged."""
    try:
        with telling_of(path):
            return open_checked(path)
    except InputError:
        raise
    except ValueError as error:  # a NUL in the name
        raise InputError(str(error), where=repr(path)) from error


def _is_file(path: str | Path) -> bool:
    try:
        return os.path.isfile(path)
    except ValueError:  # a NUL in the name
        return False


def _read_key(source: Source) -> str | None:
    """The next key of an archive, up to its blank, or None at the end; blanks before it are skipped."""
    while (byte := source.byte()) in _BLANKS:
        pass
    here, key = source.offset - len(byte), bytearray()
    while byte and byte not in _BLANKS:
        key += byte
        byte = source.byte()
        if len(key) > _KEY_BYTES:
            raise InputError("no key of an archive here", where=source.where(here))
    if not key:
        return None
    try:
        text = key.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError("a key that is not UTF-8", where=source.where(here)) from None
    if not byte or byte == b"\n":
        raise InputError("no key of an archive here", where=source.where(here))
    return text


def _span(text: str, spec: str) -> tuple[int, int] | None:
    match = _SPAN.match(text)
    if not match or any(number and len(number) > 9 for number in match.groups()):
        raise InputError(f"bad range in {spec!r}; want [r0:r1] or [r0:r1,c0:c1], both ends included")
    if match[1] is None:
        return None
    first, last = int(match[1]), int(match[2])
    if last < first:
        raise InputError(f"bad range in {spec!r}: {last} comes before {first}")
    return first, last


def write_ark(
    path: str | os.PathLike[str],
    items: Iterable[tuple[str, np.ndarray]],
    scp: str | os.PathLike[str] = "",
    method: int = 0,
) -> None:
    """Write an archive, and its ``scp`` if a name is given; each appears only once it is whole.

    Args:
        path: the archive.
        items: key and value, in order.
        scp: the table of positions; it holds the archive's absolute path, as Kaldi's does.
        method: Kaldi's compression method for matrices, 0 for none.
    """
    lines = []
    with checked_open(path) as stream:
        writer = ArkWriter(stream, method)
        for key, value in items:
            writer.write(key, value)
            lines.append(f"{key} {Path(path).absolute()}:{writer.offset}\n")
    if scp:
        with atomic_open(scp) as stream:
            stream.writelines(lines)
