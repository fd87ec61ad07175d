"""A step as it is asked for, and its marker, the file that tells that it is done."""

import dataclasses
from pathlib import Path

from speechrep.errors import InputError
from speechrep.io.files import read_json


@dataclasses.dataclass(frozen=True)
class Step:
    """What was asked for on the command line."""

    name: str
    marker: Path
    log: Path
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]
    owns: tuple[Path, ...]
    sealed: tuple[Path, ...]
    launcher: tuple[str, ...]
    command: tuple[str, ...]
    dry_run: bool
    verbose: int


def read_marker(path: Path) -> dict | None:
    """A marker's content; None if there is none, or none that can be read."""
    try:
        value = read_json(path)
    except InputError:
        return None
    parts = (value.get("command"), value.get("inputs")) if isinstance(value, dict) else ()
    whole = [type(part) for part in parts] == [list, dict] and all(isinstance(word, str) for word in parts[0])
    return value if whole else None
