"""Processes by what /proc tells: minimal systems have neither ps nor pgrep."""

import re
from pathlib import Path


def matching(pattern: str) -> list[int]:
    """The processes whose command line has a match."""
    return [pid for pid in _all() if re.search(pattern, _read(pid, "cmdline").replace("\0", " "))]


def children(parent: int) -> list[int]:
    """The processes that a process has started."""
    return [pid for pid in _all() if _read(pid, "stat").rpartition(")")[2].split()[1:2] == [str(parent)]]


def _all() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:  # it has ended
        return ""
