"""What finished steps vouch for: checksums of their products, so that no later step reads a damaged one."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from speechrep.errors import InputError, telling_of
from speechrep.io.files import read_json, sha256

# What is read for the checksums of a step, the smallest files first; of a larger rest only the size counts.
# Weights of any size carry a checksum of their own.
SEAL_BYTES = 64_000_000


def seal(paths: Iterable[Path], marker: Path) -> dict[str, str]:
    """Checksums of files, and of all files below folders, by the path from where ``marker`` lies."""
    files = {str(file): file.stat().st_size for path in paths for file in _files(path)}
    budget = SEAL_BYTES
    sums = {}
    for name, size in sorted(files.items(), key=lambda item: item[1]):
        budget -= size
        # Who reads it may be another recipe, in another folder.
        place = os.path.relpath(os.path.realpath(name), os.path.realpath(marker.parent))
        sums[place] = _checksum(Path(name), content=budget >= 0)
    return sums


def sealed_files(done: Mapping[str, Any], marker: Path) -> list[Path]:
    """The files that a marker's content vouches for."""
    folder = os.path.realpath(marker.parent)
    return [_shown(os.path.normpath(os.path.join(folder, name))) for name in _sealed(done)]


def refuse_damaged(paths: Iterable[Path]) -> None:
    """See that what earlier steps made is still what they made.

    Args:
        paths: files and folders about to be read. Seals are found in the ``.done`` folders beside and above.

    Raises:
        InputError: a sealed file has changed, naming it and the step; one that is gone is no concern here.
    """
    real = [Path(os.path.realpath(path)) for path in paths]
    folders = {parent / ".done" for path in real for parent in (path, *path.parents)}
    for marker in sorted(marker for folder in folders if folder.is_dir() for marker in folder.iterdir()):
        for name, checksum in _sums(marker).items():
            file = Path(os.path.realpath(marker.parent / name))
            wanted = any(file == path or path in file.parents for path in real)
            if wanted and file.is_file() and _checksum(file, content=" " not in checksum) != checksum:
                raise InputError(
                    f"is not what step {marker.name} made: damaged or changed since", where=_shown(str(file)),
                    mend="put a good copy back, or remove it and run that stage again",
                )  # fmt: skip


def _sums(marker: Path) -> dict[str, str]:
    if marker.suffix in (".lock", ".started", ".old", ".between") or not marker.is_file():
        return {}
    try:
        return _sealed(read_json(marker))
    except InputError:  # then the step that it belongs to will run again
        return {}


def _sealed(done: Any) -> dict[str, str]:
    sums = done.get("sealed") if isinstance(done, dict) else None
    return {k: v for k, v in sums.items() if isinstance(v, str)} if isinstance(sums, dict) else {}


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "log"]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _shown(path: str) -> Path:
    """An absolute path, from where we are if it is below."""
    near = os.path.relpath(path)
    return Path(path if near.startswith("..") else near)


def _checksum(path: Path, content: bool) -> str:
    with telling_of(path):
        return sha256(path)[:16] if content else f"{path.stat().st_size} bytes"
