"""Directories that are either complete or absent."""

import contextlib
import filecmp
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from speechrep.errors import InputError
from speechrep.io.files import fsync, temporary_name

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike[str], keep: bool = False) -> Iterator[Path]:
    """Fill a directory that takes the name ``path``, and the place of what had it, only once it is whole.

    A file that is as it was in the place of old keeps its time of change: what was made of it is still that.

    Args:
        path: the final name; its parent is made if need be.
        keep: what was there becomes ``NAME.old``, in place of an earlier one, if any file of it is not in
            the new one as it was.

    Yields:
        The temporary directory to fill; removed if the block fails.

    Raises:
        InputError: ``path`` is a file.
    """
    path = Path(path).resolve()  # where a link leads: the link stays, and the folder behind it is replaced
    if path.is_file():
        raise InputError("there is a file where a folder is to be", where=path, mend="choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    old = temporary.with_suffix(".old")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        same = set()
        for folder, _, names in os.walk(temporary):
            for name in names:
                new = Path(folder, name)
                before = path / new.relative_to(temporary)
                if _keep_time(before, new):
                    same.add(before)
                fsync(new)
            fsync(folder)
        keep = keep and any(Path(folder, n) not in same for folder, _, names in os.walk(path) for n in names)
        kept = path.with_name(path.name + ".old")
        if keep and kept.exists():  # cleared while nothing has changed yet: an error loses nothing
            shutil.rmtree(kept)
        if path.exists():  # a directory that is not empty cannot be replaced in one step
            os.replace(path, old)
        try:
            os.replace(temporary, path)
        except BaseException:
            if old.exists() and not path.exists():
                os.replace(old, path)
            raise
        if keep:
            os.replace(old, kept)
            _log.info("%s: what was there is in %s", path, kept)
        fsync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _keep_time(old: Path, new: Path) -> bool:
    """Give a file that is as it was its old time; whether it is."""
    with contextlib.suppress(OSError):  # there was none, or it cannot be read any more
        if filecmp.cmp(old, new, shallow=False):
            stat = old.stat()
            os.utime(new, ns=(stat.st_atime_ns, stat.st_mtime_ns), follow_symlinks=False)
            return True
    return False
