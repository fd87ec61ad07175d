"""Kaldi's compressed matrices: one or two bytes per value, vectorised.

Three forms exist. ``CM`` keeps, per column, the 0th, 25th, 75th and 100th percentile and one byte per
value, linear between them: what ``--compress true`` means for speech. ``CM2`` and ``CM3`` are linear over the
range of the whole matrix, with two bytes or one. Layouts and rounding are those of ``compressed-matrix.cc``.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from speechrep.errors import InputError

Mapping = Callable[[np.ndarray], np.ndarray]
"""float32 (N, D) to float32 (N, D), each value by itself and its column."""
METHODS = (0, 1, 2, 3, 4, 5, 6, 7)
"""Kaldi's ``--compression-method``; 0 is not compressed, 1 chooses 2, or 3 for 8 rows and fewer."""

_HEADER = struct.Struct("<ffii")  # minimum, range, rows, columns
HEADER_BYTES = _HEADER.size
_FIXED = {4: (-32768.0, 65535.0), 6: (0.0, 255.0), 7: (0.0, 1.0)}  # method: (minimum, range)
_PIECES = np.array([64, 128, 63], np.float32)  # codes between the percentiles
_CODES = np.arange(256, dtype=np.float32)[:, None]
_UINT16_STEP = np.float32(1.52590218966964e-05)  # Kaldi's 1 / 65535
_BLOCK = 96  # columns worked on at a time: wide matrices need little more memory, and OpenCV takes up to 128


def parse_header(header: bytes, kind: str, where: object) -> tuple[np.float32, np.float32, int, int]:
    """Minimum, range, rows and columns out of the 16 bytes after the kind.

    Raises:
        InputError: sizes or values that no writer makes.
    """
    minimum, extent, rows, cols = _HEADER.unpack(header)
    if rows < 0 or cols < 0 or (rows == 0) != (cols == 0):
        raise InputError(f"a {kind} matrix of {rows} x {cols}", where=where)
    if not (np.isfinite(minimum) and np.isfinite(extent)):
        raise InputError(f"a {kind} matrix from {minimum} over {extent}", where=where)
    return np.float32(minimum), np.float32(extent), rows, cols


def payload_bytes(kind: str, rows: int, cols: int) -> int:
    """The number of bytes that follow the header."""
    return {"CM": cols * 8 + rows * cols, "CM2": 2 * rows * cols, "CM3": rows * cols}[kind]


def decode(
    kind: str,
    minimum: np.float32,
    extent: np.float32,
    shape: tuple[int, int],
    payload: np.ndarray,
    start: int = 0,
    stop: int | None = None,
    mapping: Mapping | None = None,
) -> np.ndarray:
    """The values of a compressed matrix.

    Args:
        kind: ``"CM"``, ``"CM2"`` or ``"CM3"``.
        minimum, extent, shape: of the header.
        payload: uint8, as many as :func:`payload_bytes` says.
        start, stop: the rows wanted.
        mapping: what to make of the values, or of what the codes of each column mean where these are fewer.

    Returns:
        float32 (stop - start, columns).
    """
    rows, cols = shape
    if kind != "CM":
        codes = payload.view("<u2") if kind == "CM2" else payload
        codes = codes.reshape(rows, cols)[start:stop]
        step = extent * (_UINT16_STEP if kind == "CM2" else np.float32(1 / 255))
        values = codes.astype(np.float32)
        values *= step
        values += minimum
        return values if mapping is None else mapping(values)
    percentiles = _percentiles(payload[: cols * 8].view("<u2").reshape(cols, 4), minimum, extent)
    codes = payload[cols * 8 :].reshape(cols, rows)[:, start:stop]
    meanings = None
    if mapping is not None and codes.shape[1] > len(_CODES):
        meanings, mapping = mapping(_meanings(percentiles)), None
    values = np.empty((codes.shape[1], cols), np.float32)
    # Bytes are transposed, then looked up in all columns together: of the ways tried the fastest.
    for first in range(0, cols, _BLOCK) if len(values) else ():
        block = slice(first, first + _BLOCK)
        # Of few rows the meanings of all columns would take more memory than the values.
        table = (
            _meanings(percentiles[block]) if meanings is None else np.ascontiguousarray(meanings[:, block])
        )
        looked_up = cv2.LUT(cv2.transpose(codes[block])[:, None], table[None])
        values[:, block] = looked_up.reshape(len(values), -1)
    return values if mapping is None else mapping(values)


class Encoded(NamedTuple):
    """A compressed matrix."""

    kind: str  # CM, CM2 or CM3
    minimum: np.float32
    extent: np.float32
    shape: tuple[int, int]
    payload: np.ndarray  # uint8

    def head(self) -> bytes:
        """The bytes between ``\\0B`` and the payload: kind and header."""
        return f"{self.kind} ".encode() + _HEADER.pack(self.minimum, self.extent, *self.shape)

    def decode(self) -> np.ndarray:
        """What a reader gets back, float32 (T, D)."""
        return decode(*self)


def encode(matrix: np.ndarray, method: int) -> Encoded:
    """Compress a matrix.

    Args:
        matrix: float (T, D), finite.
        method: one of :data:`METHODS` but 0.

    Raises:
        InputError: NaN or infinity, which this format cannot hold.
    """
    matrix = np.ascontiguousarray(matrix, np.float32)
    rows, cols = matrix.shape
    if method == 1:
        method = 2 if rows > 8 else 3
    kind = {2: "CM", 3: "CM2", 4: "CM2", 5: "CM3", 6: "CM3", 7: "CM3"}[method]
    if not matrix.size:
        return Encoded(kind, np.float32(0), np.float32(0), (0, 0), np.zeros(0, np.uint8))
    minimum, extent = _range(matrix, method)
    if kind == "CM":
        percentiles, codes = _encode_columns(matrix, minimum, extent)
        payload = np.concatenate([percentiles.view(np.uint8).ravel(), codes.ravel()])
    elif kind == "CM2":
        payload = _linear(matrix, minimum, extent, 65535).astype("<u2").view(np.uint8).ravel()
    else:
        payload = _linear(matrix, minimum, extent, 255).astype(np.uint8).ravel()
    return Encoded(kind, minimum, extent, (rows, cols), payload)


def _range(matrix: np.ndarray, method: int) -> tuple[np.float32, np.float32]:
    low, high = matrix.min(), matrix.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError("NaN or infinity cannot be compressed", mend="write it uncompressed")
    if method in _FIXED:
        return np.float32(_FIXED[method][0]), np.float32(_FIXED[method][1])
    if low == high:
        high = low + (1 + abs(low))
    extent = np.float32(high) - low
    if not np.isfinite(extent):
        raise InputError("the range of values is too wide to be compressed", mend="write it uncompressed")
    return low, extent


def _linear(values: np.ndarray, minimum: np.float32, extent: np.float32, top: int) -> np.ndarray:
    """Codes 0 to ``top`` as float32, to be truncated; 0.499 is Kaldi's."""
    codes = values - minimum
    codes /= extent
    np.clip(codes, 0, 1, out=codes)
    codes *= np.float32(top)
    codes += np.float32(0.499)
    return codes


def _encode_columns(
    matrix: np.ndarray, minimum: np.float32, extent: np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles uint16 (D, 4) and codes uint8 (D, T)."""
    columns = np.ascontiguousarray(matrix.T)
    cols, rows = columns.shape
    headers = np.empty((cols, 4), "<u2")
    codes = np.empty((cols, rows), np.uint8)
    for first in range(0, cols, _BLOCK):
        block = columns[first : first + _BLOCK]
        header = _column_headers(block, minimum, extent)
        p = _percentiles(header, minimum, extent)
        slope = _PIECES / np.diff(p, axis=1)
        # The three pieces add up, each clipped to its own range: one branch-free sum for all values.
        total, part = np.empty_like(block), np.empty_like(block)
        for piece, width in enumerate(_PIECES):
            out = part if piece else total
            np.subtract(block, p[:, piece : piece + 1], out=out)
            out *= slope[:, piece : piece + 1]
            np.clip(out, 0, width, out=out)
            if piece:
                total += part
        total += np.float32(0.5)
        headers[first : first + _BLOCK] = header
        codes[first : first + _BLOCK] = total
    return headers, codes


def _column_headers(columns: np.ndarray, minimum: np.float32, extent: np.float32) -> np.ndarray:
    """Percentiles of each row of (D, T) as 16-bit levels, strictly rising."""
    rows = columns.shape[1]
    picked = np.full((len(columns), 4), -1, np.int64)
    if rows >= 5:
        # numpy finds one place of the order by vectors of values, several at once it does not.
        quarter = rows // 4
        upper = np.partition(columns, quarter, axis=1)[:, quarter:]
        p75 = np.partition(upper, 2 * quarter, axis=1)[:, 2 * quarter]
        places = [columns.min(axis=1), upper[:, 0], p75, columns.max(axis=1)]
        picked[:] = _linear(np.stack(places, axis=1), minimum, extent, 65535)
    else:
        picked[:, :rows] = _linear(np.sort(columns, axis=1), minimum, extent, 65535)
    header = np.empty((len(columns), 4), "<u2")
    header[:, 0] = below = np.minimum(picked[:, 0], 65532)
    for place, top in ((1, 65533), (2, 65534), (3, 65535)):
        header[:, place] = below = np.minimum(np.maximum(picked[:, place], below + 1), top)
    return header


def _percentiles(header: np.ndarray, minimum: np.float32, extent: np.float32) -> np.ndarray:
    return minimum + (extent * _UINT16_STEP) * header.astype(np.float32)


def _meanings(percentiles: np.ndarray) -> np.ndarray:
    """What each of the 256 codes means in each column, float32 (256, D)."""
    ends = np.ascontiguousarray(percentiles.T)
    meanings = np.empty((256, ends.shape[1]), np.float32)
    # Codes 64 and 192 belong to the piece below them.
    for piece, (begin, first, stop) in enumerate(((0, 0, 65), (64, 65, 193), (192, 193, 256))):
        rows = meanings[first:stop]
        np.multiply(ends[piece + 1] - ends[piece], _CODES[first - begin : stop - begin], out=rows)
        rows *= 1 / _PIECES[piece]
        rows += ends[piece]
    return meanings
