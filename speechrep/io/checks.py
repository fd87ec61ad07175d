"""CRC-32 of blocks of data, so that what a disk or a copy changed is noticed when it is read."""

import zlib

import numpy as np

from speechrep.errors import InputError

BLOCK_BYTES = 16384  # about so many have one checksum: who reads a part of an utterance reads whole blocks


def sums_of(data: memoryview, block_bytes: int) -> list[int]:
    """CRC-32 (zlib's) of every ``block_bytes`` of ``data``, the last one perhaps shorter."""
    starts = range(0, len(data), block_bytes)
    return [zlib.crc32(data[start : start + block_bytes]) for start in starts]


class BlockChecks:
    """CRC-32 of the rows of a store: of every ``rows`` frames of an utterance, the last of each fewer.

    Args:
        num_frames: (U,) of the utterances, in the order of the store.
        frame_bytes: of one.
        rows: frames of a block; by default so many as are about 16 KB.
        sums: those of a store; by default zeros, to be filled.

    Raises:
        InputError: ``sums`` of another number of blocks than the utterances have.
    """

    def __init__(
        self, num_frames: np.ndarray, frame_bytes: int, rows: int = 0, sums: np.ndarray | None = None
    ):
        if rows < 0:
            raise InputError(f"checksums of {rows} rows")
        self.rows, self.frame_bytes = rows or max(1, BLOCK_BYTES // frame_bytes), frame_bytes
        ends = np.cumsum(-(-num_frames // self.rows))
        self._first = np.concatenate([[0], ends])
        self.sums = np.zeros(ends[-1], np.uint32) if sums is None else sums
        if self.sums.shape != (ends[-1],):
            raise InputError(f"{len(self.sums)} checksums, want {ends[-1]}")

    def put(self, row: int, data: memoryview) -> None:
        """Note the whole utterance ``row``."""
        self.sums[self._first[row] : self._first[row + 1]] = sums_of(data, self.rows * self.frame_bytes)

    def span(self, start: int, stop: int, length: int) -> tuple[int, int]:
        """The frames of the blocks that hold frames ``start`` to ``stop`` of an utterance of ``length``."""
        return start // self.rows * self.rows, min(length, -(-stop // self.rows) * self.rows)

    def first_damaged(self, row: int, start: int, data: memoryview) -> int | None:
        """The first frame of the first block of ``data`` that is not what was written, or None.

        Args:
            row: the utterance.
            start: its frame that ``data`` begins with, the first of a block.
            data: whole blocks.
        """
        sums = sums_of(data, self.rows * self.frame_bytes)
        first = self._first[row] + start // self.rows
        wanted = self.sums[first : first + len(sums)].tolist()
        if sums == wanted:
            return None
        return start + self.rows * next(i for i, sum_ in enumerate(sums) if sum_ != wanted[i])
