"""Files that are either complete or absent: temporary name, fsync, rename."""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from speechrep.errors import InputError, telling_of


@contextlib.contextmanager
def atomic_open(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file for writing that appears under ``path`` only once it is whole and on disk.

    A device or a pipe is written to as it is.

    Args:
        path: the final name; its directory is made if need be.
        mode: ``"w"`` (UTF-8 text) or ``"wb"``.
    """
    path, encoding = Path(path), None if "b" in mode else "utf-8"
    if is_device(path):
        with open(path, mode, encoding=encoding) as stream:
            yield stream
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        with open(temporary, mode, encoding=encoding) as stream:
            yield stream
        commit_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def is_device(path: str | os.PathLike[str]) -> bool:
    """Whether a name is of a device, a pipe or the like, in whose place a rename must not put a file."""
    path = Path(path)
    if path.exists() and not path.is_file():
        return True
    home = path.parent.resolve()  # of /dev/stdout, say, which may lead to a file but is none itself
    return home == Path("/dev") or Path("/proc") in home.parents


def temporary_name(path: str | os.PathLike[str]) -> Path:
    """The hidden name beside ``path`` under which this process writes it."""
    path = Path(path)
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def commit_file(temporary: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Flush a finished temporary file to disk and give it its final name."""
    fsync(temporary)
    os.replace(temporary, path)
    fsync(Path(path).parent)


def identity(descriptor: int) -> tuple[int, int, int]:
    """What differs when another file comes in an open one's place, or it is written to."""
    stat = os.fstat(descriptor)
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def fsync(path: str | os.PathLike[str]) -> None:
    """Force a file or directory to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems know no such thing of directories; only in a crash is a name lost there.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not os.path.isdir(path):
            raise
    finally:
        os.close(descriptor)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NaN is refused."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_open(path) as stream:
        stream.write(text + "\n")


def read_utf8(path: str | os.PathLike[str]) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        InputError: it is absent, cannot be read, or is not UTF-8.
    """
    with telling_of(path):
        data = Path(path).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8: {error.reason}", where=path) from error


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is absent or not JSON.
    """
    with telling_of(path):
        return parse_json(Path(path).read_bytes(), path)


def write_marker(path: str | os.PathLike[str], value: dict[str, Any]) -> None:
    """Write what tells that something is done, atomically, with a checksum for :func:`read_marker`."""
    write_json(path, value | {"sha256": _values_sha256(value)})


def read_marker(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What :func:`write_marker` wrote, its checksum apart; None if it is absent, unreadable or damaged."""
    try:
        value = read_json(path)
    except InputError:
        return None
    whole = isinstance(value, dict) and value.pop("sha256", "") == _values_sha256(value)
    return value if whole else None


def _values_sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_train_log(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a training log, each an object with ``part``, ``step`` and ``loss``; none without a file.

    A last line without its end does not count: a kill may have left it.

    Raises:
        InputError: a line that is something else, naming it.
    """
    if not Path(path).exists():
        return []
    with telling_of(path):
        lines = Path(path).read_bytes().split(b"\n")[:-1]
    values = []
    for number, text in enumerate(lines, start=1):
        where = f"{path}:{number}"
        value = parse_json(text, where)
        known = isinstance(value, dict) and {"part", "step", "loss"} <= value.keys()
        if not known or not isinstance(value["step"], int) or not isinstance(value["loss"], (int, float)):
            raise InputError("not a line with part, step and loss", where=where, mend="remove it")
        values.append(value)
    return values


def parse_json(text: str | bytes, where: object) -> Any:
    """The value of a JSON text.

    Raises:
        InputError: it is none, is nested beyond reason, or has a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not valid JSON: {error}", where=where) from error


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
