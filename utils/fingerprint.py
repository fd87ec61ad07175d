"""What a step's inputs look like, so that a later run can tell whether they changed."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from stat import S_ISREG
from typing import Any

import yaml

from speechrep.config import YAML_ERRORS, PlainLoader, load_yaml, without_free
from speechrep.errors import InputError
from speechrep.io.files import read_json

CONTENT_BYTES = 64_000_000  # what is read of a file or folder, so that no step is kept waiting by a corpus
SUMS_BYTES = 1_000_000  # checksums stand for a file from this size on
FOLDER_FILES = 500_000  # beyond so many files of a folder only the names count
NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, None)  # None: no name of a file
MAKING = ("commit", "created", "machine")  # of our JSON: when and where it was made, not what it is


def fingerprint(path: str | os.PathLike[str]) -> str:
    """A short text that differs if the file or folder differs.

    A file is known by its content; from 1 MB on by its checksums if it has some (archives, models, stores);
    beyond 64 MB without any by size and time of change, as is what a folder has beyond its first 64 MB. Not
    counted are when and where our own files were made, comments of a YAML file, and options that change no
    result. ``wav.scp`` is known by the recordings that it names, too. A folder is known by the files in it,
    but for hidden ones and the logs of jobs.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        InputError: none of the recordings of a ``wav.scp`` is there.
    """
    path = Path(path)
    if path.is_dir():
        return _many((name, Path(entry.path)) for name, entry in _walk(path, ""))
    if path.suffix in (".yaml", ".yml"):
        return _digest(_values(_content(path)))
    if path.name == "wav.scp":
        data = _content(path)
        recordings = _recordings(data)
        if recordings and not any(map(os.path.exists, recordings)):
            raise InputError(
                f"its recordings are gone, such as {os.path.abspath(recordings[0])}", where=path,
                mend="put them back, or go on with what was made of them: begin with a later --stage",
            )  # fmt: skip
        return f"{_digest(data)} {_many((name, Path(name)) for name in recordings)}"
    return _file(path)[0]


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
        return json.dumps(without_free(load_yaml(data, "")), sort_keys=True).encode()
    except YAML_ERRORS:
        return data  # the command will say what is wrong with it


def _file(path: Path, may_read: int = CONTENT_BYTES) -> tuple[str, int]:
    """The fingerprint of a file, and how many bytes were read for it."""
    stat = path.stat()
    if not S_ISREG(stat.st_mode):  # nor read: a pipe would wait for its writer
        return "no file", 0
    if path.suffix == ".h5" and (known := _stored(path)):
        return known, 0
    if stat.st_size >= SUMS_BYTES and (sums := _checksums(path)):
        return f"{stat.st_size} bytes of {sums}", 0
    if stat.st_size > may_read:
        return f"{stat.st_size} bytes of {stat.st_mtime_ns}", 0
    data = _content(path)
    return _digest(_without_making(data) if path.suffix == ".json" else data), stat.st_size


def _stored(path: Path) -> str:
    """What tells the content of a store; empty if it is none of ours, or has no checksums."""
    from speechrep.io.store import Store  # here, because most steps have no such inputs

    try:
        return Store(path).content_sha256()[:16]
    except InputError:
        return ""


def _checksums(path: Path) -> str:
    """The checksums of a model or an archive, which who reads it compares; empty if there are none."""
    try:
        if path.name == "model.safetensors":
            return str(read_json(path.with_name("model.json"))["weights_sha256"])
        sums = path.with_name(path.name + ".crc32")
        return _digest(_content(sums)) if path.suffix == ".ark" and os.path.isfile(sums) else ""
    except (InputError, LookupError, TypeError):
        return ""


def _without_making(data: bytes) -> bytes:
    """JSON of ours without what tells when and where it was made; other files as they are."""
    if b'"format": "speechrep-' not in data[:100]:
        return data
    try:
        value = json.loads(data)
        if isinstance(value, dict) and isinstance(value.get("train"), dict):
            value["train"] = without_free(value["train"])
        return json.dumps(_unmade(value), sort_keys=True).encode()
    except (ValueError, RecursionError):
        return data  # the command will say what is wrong with it


def _unmade(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _unmade(part) for name, part in value.items() if name not in MAKING}
    return [_unmade(part) for part in value] if isinstance(value, list) else value


def _recordings(table: bytes) -> list[str]:
    """The files that a ``wav.scp`` names, and those among the words of its commands, each once."""
    found, words = [], {}
    for line in filter(bytes.strip, table.splitlines()):
        place = os.fsdecode(line.split(maxsplit=1)[-1].strip())
        archive, colon, offset = place.rpartition(":")
        if place.endswith("|"):
            words |= dict.fromkeys(_words(place))
        elif colon and offset.isdecimal() and not os.path.exists(place):
            found.append(archive)
        else:
            found.append(place)
    return list(dict.fromkeys([*found, *filter(os.path.isfile, words)]))


def _words(command: str) -> list[str]:
    """What may be names in a command: what blanks or a shell's signs part, and the content of quotes."""
    found = [*command.split(), *re.split(r"[\s|<>&;()=\"']+", command)]
    if '"' in command or "'" in command or "\\" in command:
        with contextlib.suppress(ValueError):  # a quote without its end
            found += shlex.split(command)
    return found


def _many(files: Iterable[tuple[str, Path]]) -> str:
    """The fingerprint of files under names."""
    whole = hashlib.sha256()
    budget = CONTENT_BYTES
    for count, (name, path) in enumerate(files):
        seen = ""
        if count < FOLDER_FILES:
            try:
                seen, read = _file(path, budget)
                budget -= read
            except (OSError, ValueError) as error:
                if getattr(error, "errno", None) not in NOWHERE:
                    raise
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
        if entry.is_dir() and entry.name != "log":
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
