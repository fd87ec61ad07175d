"""A disk that HDF5 believes never fills up: libhdf5 crashes at its end after a write that failed."""

import io
import os
from typing import Any

from speechrep.errors import InputError


class Disk(io.FileIO):
    """A new file for ``h5py.File(disk, "w")``. A failed write is kept for :meth:`check`, and said to be done.

    Args:
        path: the file; one that is there is replaced.
    """

    def __init__(self, path: str | os.PathLike[str]):
        super().__init__(path, "w+")
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of ``data``, or nothing more after a failure."""
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view) and not self.failure:
                done += super().write(view[done:]) or 0
        except OSError as error:
            self.failure = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the length, unless the disk failed."""
        try:
            return self.tell() if self.failure else super().truncate(size)
        except OSError as error:
            self.failure = error
            return self.tell()

    def check(self, where: object) -> None:
        """Tell of a write that failed.

        Raises:
            InputError: one did, naming ``where``.
        """
        if self.failure:
            raise InputError(f"cannot be written: {self.failure.strerror}", where=where) from self.failure
