#!/usr/bin/env python3
"""Locks that live as long as any process that inherited them, so that two runs never mix.

exec 9<>exp/demo/.lock && utils/lock.py 9    # the calling shell and its children hold it from here on
"""

import contextlib
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from speechrep.errors import InputError
from speechrep.provenance import now


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold a lock file; commands started meanwhile hold it too, even if this process is killed.

    Raises:
        InputError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # a group may share it
    try:
        hold(descriptor, os.getpid(), path)
        os.set_inheritable(descriptor, True)
        yield
    finally:
        os.close(descriptor)


def hold(descriptor: int, holder: int, where: object) -> None:
    """Lock an open file and write into it who did.

    Args:
        descriptor: the file, open for reading and writing.
        holder: the process to name.
        where: the file's name, for the message.

    Raises:
        InputError: another process holds it, or the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        by = os.pread(descriptor, 1000, 0).decode(errors="replace").strip() or "unknown process"
        raise InputError(
            f"another run is at work on this ({by}, or a command of it)", where=where,
            mend="wait for it, end it, or use another --tag (for data and features: --datadir, --dumpdir)",
        ) from None  # fmt: skip
    except OSError as error:
        raise InputError(
            f"cannot be locked: {error.strerror}", where=where,
            mend="choose a folder on a file system with locks (Lustre: mounted with flock)",
        ) from None  # fmt: skip
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {holder} on {socket.gethostname()} since {now()}\n".encode(), 0)


def main() -> None:
    """Lock the descriptor that the calling shell opened and names."""
    descriptor = int(sys.argv[1])
    try:
        hold(descriptor, os.getppid(), os.readlink(f"/proc/self/fd/{descriptor}"))
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
