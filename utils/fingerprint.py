"""What a step's inputs look like, so that a later run can tell whether they changed."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG

import yaml

from speechrep.config import YAML_ERRORS, PlainLoader, load_yaml

CONTENT_BYTES = 1_000_000  # a smaller file is known by its content, a larger one by size and time
FOLDER_BYTES = 64_000_000  # what is read of one folder, so that a corpus of small files costs no minute
FOLDER_FILES = 500_000  # beyond so many files of a folder only the names count


def fingerprint(path: str | os.PathLike[str]) -> str:
    """A short text that differs if the file or folder differs.

    A YAML file is known by its values: a comment in it changes nothing. A file of less than 1 MB is known
    by its content, a larger one by size and time of change. A folder is known by the files below it;
    hidden ones do not count.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if path.suffix in (".yaml", ".yml"):
        return _digest(_values(_content(path)))
    return _file(path, path.stat())[0]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        error.filename = error.filename or os.fspath(path)  # a failed read does not tell of which file
        raise


def _values(data: bytes) -> bytes:
    """The values of a YAML file, always written alike; the file as it is if JSON has no such values."""
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(data, PlainLoader)):
            return data  # aliases of aliases may stand for more than memory holds
        return json.dumps(load_yaml(data, ""), sort_keys=True).encode()
    except YAML_ERRORS:
        return data  # the command will say what is wrong with it


def _file(path: Path, stat: os.stat_result, may_read: int = CONTENT_BYTES) -> tuple[str, int]:
    """The fingerprint of a file, and how many bytes were read for it."""
    if not S_ISREG(stat.st_mode):  # nor read: a pipe would wait for its writer
        return "no file", 0
    if stat.st_size < min(CONTENT_BYTES, may_read + 1):
        return _digest(_content(path)), stat.st_size
    return f"{stat.st_size} bytes of {stat.st_mtime_ns}", 0


def _folder(path: Path) -> str:
    whole = hashlib.sha256()
    budget = FOLDER_BYTES
    for count, (name, entry) in enumerate(_walk(path, "")):
        if count < FOLDER_FILES:
            try:
                seen, read = _file(Path(entry.path), entry.stat(), budget)
            except FileNotFoundError:  # a link that leads nowhere
                seen, read = "", 0
            budget -= read
        else:
            seen = ""
        whole.update(f"{name}\0{seen}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()[:16]


def _walk(path: Path, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Files below a folder, those of the folder itself first, in the order of their names."""
    with os.scandir(path) as entries:
        seen = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
    for entry in seen:
        if not entry.is_dir():
            yield prefix + entry.name, entry
    for entry in seen:
        if entry.is_dir():
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
