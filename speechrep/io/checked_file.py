"""Archives with checksums beside them, as Kaldi's format has none: ``feats.1.ark`` and ``feats.1.ark.crc32``.

The file of checksums is text: a line ``16384 SIZE`` (bytes of a block, and of the archive), then a line for
each block, the CRC-32 (zlib's) of its bytes in eight hexadecimal digits. Who reads a part of the archive
compares the blocks that it lies in. Archives without such a file are read as they are.
"""

import contextlib
import io
import os
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from speechrep.errors import InputError, telling_of
from speechrep.io.checks import BLOCK_BYTES, sums_of
from speechrep.io.files import atomic_open, commit_file, is_device, temporary_name

SUFFIX = ".crc32"
_HEAD_BYTES = 64  # more than the first line has
_LINE_BYTES = 9  # of each other line


def sums_path(path: str | os.PathLike[str]) -> Path:
    """Where the checksums of an archive lie."""
    return Path(f"{os.fspath(path)}{SUFFIX}")


@contextlib.contextmanager
def checked_open(path: str | os.PathLike[str]) -> Iterator["SummingWriter"]:
    """Open an archive for writing that appears, with its checksums, only once it is whole and on disk.

    A device or a pipe is written to as it is, and has no checksums beside it.
    """
    if is_device(path):
        with atomic_open(path, "wb") as stream:
            yield SummingWriter(stream)
        return
    sums = sums_path(path)
    temporary = temporary_name(sums)
    try:
        with atomic_open(path, "wb") as stream:
            writer = SummingWriter(stream)
            yield writer
            temporary.write_text(writer.text())
            sums.unlink(missing_ok=True)  # an archive never stands beside the checksums of another
        commit_file(temporary, sums)
    finally:
        temporary.unlink(missing_ok=True)


class SummingWriter:
    """What is written to a stream, with the CRC-32 of every block of it."""

    def __init__(self, stream: IO[bytes]):
        self._stream, self._sums = stream, array("I")
        self._sum, self._size = 0, 0  # of the last block; of all

    def write(self, data: Any) -> int:
        """Write all of ``data``, bytes or the like."""
        view = memoryview(data).cast("B")
        self._stream.write(view)
        count = len(view)
        while view:
            part = view[: BLOCK_BYTES - self._size % BLOCK_BYTES]
            self._sum = zlib.crc32(part, self._sum)
            self._size += len(part)
            if self._size % BLOCK_BYTES == 0:
                self._sums.append(self._sum)
                self._sum = 0
            view = view[len(part) :]
        return count

    def text(self) -> str:
        """What the file of checksums holds."""
        sums = [*self._sums, self._sum] if self._size % BLOCK_BYTES else self._sums
        return f"{BLOCK_BYTES} {self._size}\n" + "".join(f"{value:08x}\n" for value in sums)


def open_checked(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open an archive for reading; its blocks are compared with their checksums if it has some.

    Raises:
        OSError: there is no such file.
        InputError: the checksums are damaged, or not of this archive. Reading raises it for a damaged block.
    """
    try:  # by a string: this is done for every utterance
        sums = _Sums(f"{os.fspath(path)}{SUFFIX}")
    except (FileNotFoundError, NotADirectoryError):
        return io.BufferedReader(_Named(os.fspath(path)), BLOCK_BYTES)  # type: ignore[return-value]
    return io.BufferedReader(_Checked(path, sums), BLOCK_BYTES)  # type: ignore[return-value]


class _Sums:
    """The checksums of an archive, read where they are wanted: those of a large corpus fill memory.

    Attributes:
        size: bytes of the archive.
    """

    def __init__(self, path: str):
        self._path, self._descriptor = path, os.open(path, os.O_RDONLY)
        try:
            head, end, _ = self._read(_HEAD_BYTES, 0).partition(b"\n")
            block_bytes, self.size = map(int, head.split())
            self._begin, blocks = len(head + end), -(-self.size // BLOCK_BYTES)
            if block_bytes != BLOCK_BYTES or os.fstat(self._descriptor).st_size != self._place(blocks):
                raise ValueError
        except InputError:
            self.close()
            raise
        except ValueError:
            self.close()
            raise self._damaged() from None

    def of(self, first: int, count: int) -> list[int]:
        """Those of ``count`` blocks, from the one numbered ``first``."""
        text = self._read(count * _LINE_BYTES, self._place(first))
        if len(text) < count * _LINE_BYTES:
            raise self._damaged()
        try:
            return [int(text[place : place + _LINE_BYTES], 16) for place in range(0, len(text), _LINE_BYTES)]
        except ValueError:
            raise self._damaged() from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _place(self, block: int) -> int:
        return self._begin + block * _LINE_BYTES

    def _read(self, count: int, place: int) -> bytes:
        with telling_of(self._path):
            return os.pread(self._descriptor, count, place)

    def _damaged(self) -> InputError:
        mend = "put a good copy back, or remove the file"
        return InputError("damaged checksums", where=self._path, mend=mend)


class _Named(io.FileIO):
    """A file whose name is told when it cannot be read."""

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, or a part of it."""
        with telling_of(self.name):
            return super().readinto(buffer)

    def readall(self) -> bytes:
        """The rest."""
        with telling_of(self.name):
            return super().readall()


class _Checked(io.RawIOBase):
    """A file whose every block is compared with its checksum when it is read."""

    def __init__(self, path: str | os.PathLike[str], sums: _Sums):
        self._path, self._size, self._sums, self._place = path, sums.size, sums, 0
        self._descriptor = -1  # which closing finds if there is no such file
        self._descriptor = os.open(path, os.O_RDONLY)
        if os.fstat(self._descriptor).st_size != sums.size:
            self.close()
            raise InputError(
                f"is not the archive of {sums.size} bytes that its checksums are of", where=path,
                mend=f"put a good copy back; if it was changed on purpose, remove {sums_path(path).name}",
            )  # fmt: skip

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The place."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, begin + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with whole blocks, or with the rest of one."""
        view = memoryview(buffer).cast("B")[: max(0, self._size - self._place)]
        if not view:
            return 0
        skip = self._place % BLOCK_BYTES
        whole = len(view) if self._place + len(view) == self._size else len(view) // BLOCK_BYTES * BLOCK_BYTES
        if skip or not whole:
            begin = self._place - skip
            block = memoryview(bytearray(min(BLOCK_BYTES, self._size - begin)))
            self._read(block, begin)
            view = view[: len(block) - skip]
            view[:] = block[skip : skip + len(view)]
        else:
            view = view[:whole]
            self._read(view, self._place)
        self._place += len(view)
        return len(view)

    def _read(self, view: memoryview, place: int) -> None:
        done = 0
        while done < len(view):
            with telling_of(self._path):
                count = os.preadv(self._descriptor, [view[done:]], place + done)
            if count == 0:
                raise InputError("ends too early", where=self._path)
            done += count
        first = place // BLOCK_BYTES
        sums = sums_of(view, BLOCK_BYTES)
        wanted = self._sums.of(first, len(sums))
        if sums != wanted:
            begin = BLOCK_BYTES * (first + next(i for i, value in enumerate(sums) if value != wanted[i]))
            raise InputError(
                f"damaged: bytes {begin} to {begin + BLOCK_BYTES} are not what was written",
                where=self._path, mend="put a good copy back, or make it again",
            )  # fmt: skip

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._sums.close()
            if self._descriptor >= 0:
                os.close(self._descriptor)
        super().close()
