"""One Kaldi object: a matrix, vector or integer vector as bytes, plain, compressed or text.

An object that lies about its size is refused before any memory is taken for it: what its header claims is
compared with what the file still holds. Every error names the file and the byte offset.
"""

import io
import struct
from typing import IO

import numpy as np

from speechrep.errors import InputError
from speechrep.io import compression

_CHUNK = 1 << 20  # bytes asked for at a time where the size of the input is unknown
_DTYPES = {"FM": "<f4", "DM": "<f8", "FV": "<f4", "DV": "<f8"}


class Source:
    """Bytes read in order from a file or pipe, which knows how many are left if that can be known.

    Args:
        stream: binary; a read gives all that was asked for but at the end.
        name: for messages.
    """

    def __init__(self, stream: IO[bytes], name: str):
        self.stream, self.name, self.offset = stream, name, 0
        self._ahead = b""  # bytes looked at and not yet taken
        self.size: int | None = None
        if stream.seekable():
            self.offset = stream.tell()
            self.size = stream.seek(0, io.SEEK_END)
            stream.seek(self.offset)

    def where(self, offset: int | None = None) -> str:
        """File and offset, for messages."""
        return f"{self.name}:{self.offset if offset is None else offset}"

    def seek(self, offset: int) -> None:
        """Go to a byte of the file.

        Raises:
            InputError: beyond the end.
        """
        if offset == self.offset:
            return
        if self.size is not None and offset > self.size:
            raise InputError(f"there is no byte {offset}; the file has {self.size}", where=self.where(offset))
        if self.size is None:
            raise InputError("a pipe cannot be read from the middle", where=self.where(offset))
        self.stream.seek(offset)
        self.offset, self._ahead = offset, b""

    def take(self, count: int, what: str) -> np.ndarray:
        """Exactly ``count`` bytes, as uint8; ``what`` they are is for the message.

        Raises:
            InputError: fewer are there.
        """
        if self.size is not None:
            left = self.size - self.offset
            if count > left:
                raise InputError(f"{what} need {count} bytes, {left} are left", where=self.where())
            block, got = np.empty(count, np.uint8), min(len(self._ahead), count)
            block[:got] = np.frombuffer(self._ahead[:got], np.uint8)
            self._ahead = self._ahead[got:]
            if got < count:
                got += self.stream.readinto(memoryview(block)[got:])  # type: ignore[attr-defined]
        else:  # a pipe: take only as much memory as bytes really come
            parts = bytearray(self._ahead[:count])
            self._ahead = self._ahead[count:]
            while len(parts) < count and (part := self.stream.read(min(_CHUNK, count - len(parts)))):
                parts += part
            block, got = np.frombuffer(parts, np.uint8), len(parts)
        if got != count:
            raise InputError(f"{what} need {count} bytes, {got} are left", where=self.where())
        self.offset += count
        return block

    def line(self) -> bytes:
        """The rest of the line, with its end; empty at the end of the input."""
        text, self._ahead = self._ahead, b""
        place = text.find(b"\n") + 1
        if place:
            text, self._ahead = text[:place], text[place:]
        else:
            text += self.stream.readline()
        self.offset += len(text)
        return text

    def byte(self) -> bytes:
        """The next byte; empty at the end of the input."""
        byte, self._ahead = self._ahead[:1], self._ahead[1:]
        byte = byte or self.stream.read(1)
        self.offset += len(byte)
        return byte

    def peek(self) -> bytes:
        """The next two bytes, without moving; fewer at the end of the input."""
        # Not the stream's own peek, which gives what happens to be in its buffer.
        if len(self._ahead) < 2:
            self._ahead += self.stream.read(2 - len(self._ahead))
        return self._ahead


def read_object(
    source: Source, start: int = 0, stop: int | None = None, mapping: compression.Mapping | None = None
) -> np.ndarray:
    """Read the object where ``source`` stands, binary or text.

    Args:
        source: stands at ``\\0B`` or, of a text object, at the blank after the key or at its ``[``.
        start, stop: rows wanted of a matrix; others are not kept.
        mapping: what to make of the values of a matrix that is not text.

    Returns:
        float32 or float64 (T, D) or (D,), or int32 (N,).
    """
    where = source.where()
    if source.peek() != b"\0B":
        value = _read_text(source)
        return value[start:stop] if value.ndim == 2 else value
    source.take(2, "a binary mark")
    if source.peek()[:1] == b"\4":
        return _read_integers(source)
    token = _read_token(source)
    if token in ("CM", "CM2", "CM3"):
        header = _bytes(source, compression.HEADER_BYTES)
        minimum, extent, rows, cols = compression.parse_header(header, token, where)
        payload = source.take(compression.payload_bytes(token, rows, cols), f"{rows} x {cols} values")
        return compression.decode(token, minimum, extent, (rows, cols), payload, start, stop, mapping)
    if token not in _DTYPES:
        raise InputError(f"unknown kind of object {token!r}", where=where)
    dtype = np.dtype(_DTYPES[token])
    if token in ("FV", "DV"):
        (size,) = _read_sizes(source, 1)
        return source.take(size * dtype.itemsize, f"{size} values").view(dtype)
    rows, cols = _read_matrix_sizes(source, token, where)
    first, last, _ = slice(start, stop).indices(rows)
    last = max(first, last)
    row_bytes = cols * dtype.itemsize
    if source.size is not None and (first, last) != (0, rows):  # skip what is not wanted
        here = source.offset
        if rows * row_bytes > source.size - here:
            raise InputError(f"{rows} x {cols} values are more than is left", where=where)
        source.seek(here + first * row_bytes)
        block = source.take((last - first) * row_bytes, f"{rows} x {cols} values")
        source.seek(here + rows * row_bytes)
        matrix = block.view(dtype).reshape(last - first, cols)
    else:
        block = source.take(rows * row_bytes, f"{rows} x {cols} values")
        matrix = block.view(dtype).reshape(rows, cols)[first:last]
    return matrix if mapping is None else mapping(matrix.astype(np.float32, copy=False))


def _bytes(source: Source, count: int) -> bytes:
    return source.take(count, "a header").tobytes()


def _read_token(source: Source) -> str:
    """The name of a kind of object, such as ``FM``, and the blank after it."""
    where, token = source.where(), b""
    while len(token) < 5 and (byte := _bytes(source, 1)) != b" ":
        token += byte
    if len(token) >= 5 or not token.isalnum():
        raise InputError(f"unknown kind of object {token!r}", where=where)
    return token.decode("ascii", "replace")


def _read_sizes(source: Source, count: int) -> list[int]:
    """The sizes that begin an object that is not compressed."""
    sizes = []
    for _ in range(count):
        mark, size = struct.unpack("<bi", _bytes(source, 5))
        if mark != 4 or size < 0:
            raise InputError(f"a size of {size} in {mark} bytes", where=source.where(source.offset - 5))
        sizes.append(size)
    return sizes


def _read_matrix_sizes(source: Source, token: str, where: str) -> tuple[int, int]:
    """Rows and columns of a matrix that is not compressed.

    Two billion rows of nothing need no bytes, so that the file cannot contradict them.
    """
    rows, cols = _read_sizes(source, 2)
    if (rows == 0) != (cols == 0):
        raise InputError(f"a {token} matrix of {rows} x {cols}", where=where)
    return rows, cols


def read_shape(source: Source) -> tuple[int, int]:
    """Rows and columns of the binary matrix where ``source`` stands; its values are not read."""
    where = source.where()
    source.take(2, "a binary mark")
    token = _read_token(source)
    if token in ("FM", "DM"):
        return _read_matrix_sizes(source, token, where)
    if token in ("CM", "CM2", "CM3"):
        return compression.parse_header(_bytes(source, compression.HEADER_BYTES), token, where)[2:]
    raise InputError(f"not a matrix but {token!r}", where=where)


def _read_integers(source: Source) -> np.ndarray:
    where = source.where()
    (size,) = _read_sizes(source, 1)
    entries = source.take(size * 5, f"{size} integers").view([("mark", "u1"), ("value", "<i4")])
    if np.any(entries["mark"] != 4):
        raise InputError("an integer vector without its size marks", where=where)
    return entries["value"].astype(np.int32)


def _read_text(source: Source) -> np.ndarray:
    """``[ 1 2 ]``, ``[\\n 1 2\\n 3 4 ]``, ``[ 1 2 ; 3 4 ]``, or integers to the end of the line."""
    where = source.where()
    line = source.line()
    words = line.split()
    if not words:
        raise InputError("nothing here" if not line else "an empty entry", where=where)
    if words[0] != b"[":
        return _values([words], np.int32, where)[0]
    rows = [row.split() for row in line.partition(b"[")[2].split(b";")]
    while not rows[-1] or rows[-1][-1] != b"]":
        if not (line := source.line()):
            raise InputError("a text object without its ']'", where=where)
        rows += [row.split() for row in line.split(b";")]
    rows[-1].pop()
    vector = len(rows) == 1
    values = _values([row for row in rows if row], np.float32, where)
    return values[0] if vector and values.size else values


def _values(rows: list[list[bytes]], dtype: type, where: str) -> np.ndarray:
    if len({len(row) for row in rows}) > 1:
        raise InputError("rows of different lengths", where=where)
    if not rows:
        return np.zeros((0, 0), dtype)
    number = int if dtype is np.int32 else float
    try:
        return np.array([[number(word) for word in row] for row in rows], dtype)
    except (ValueError, OverflowError) as error:
        raise InputError(f"not a number: {error}", where=where) from error


def to_binary(value: np.ndarray) -> bytes:
    """The bytes of an object, uncompressed: float (T, D) or (D,), or integers (N,)."""
    if not value.size:
        value = value.reshape((0,) * value.ndim)  # Kaldi knows no 0 x D matrix
    sizes = b"".join(struct.pack("<bi", 4, size) for size in value.shape)
    if value.dtype.kind in "iu" and value.ndim == 1:
        entries = np.empty(len(value), [("mark", "u1"), ("value", "<i4")])
        entries["mark"], entries["value"] = 4, value
        return b"\0B" + sizes + entries.tobytes()
    if value.dtype.kind != "f" or value.ndim not in (1, 2):
        raise InputError(f"an array {value.shape} of {value.dtype} cannot go into an archive")
    double = value.dtype == np.float64
    token = ("D" if double else "F") + ("M" if value.ndim == 2 else "V")
    return b"\0B" + f"{token} ".encode() + sizes + np.ascontiguousarray(value, _DTYPES[token]).tobytes()


def to_text(value: np.ndarray) -> bytes:
    """The text of an object, up to the end of its last line."""
    if value.dtype.kind in "iu":
        return (" ".join(map(str, value.tolist())) + "\n").encode()
    if value.ndim == 1:
        return (" [ " + " ".join(map(_short, value)) + " ]\n").encode()
    rows = "\n".join("  " + " ".join(map(_short, row)) + " " for row in value)
    return (" [\n" + rows + "]\n" if value.size else " [ ]\n").encode()


def _short(value: np.floating) -> str:
    """The shortest text that reads back as the same float32 (Kaldi prints 7 digits, which loses bits)."""
    return np.format_float_positional(value, trim="-") if 1e-5 < abs(value) < 1e16 else str(value)
