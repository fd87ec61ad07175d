"""What made a result: commit, time, machine."""

import datetime
import functools
import os
import platform
import subprocess
from pathlib import Path


@functools.cache
def commit() -> str:
    """The git commit of this package's checkout (``-dirty`` if changed), or the installed version."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        # Of this package's own checkout: an installed package may lie within another project's.
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, check=True)
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        from speechrep import __version__

        return f"v{__version__}"
    return head.stdout.strip() + ("-dirty" if changed.stdout.strip() else "")


def now() -> str:
    """The current time, UTC, ISO 8601 to the second."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def machine() -> str:
    """The machine in words: processor, cores, system, Python."""
    cores, python = os.cpu_count(), platform.python_version()
    return f"{platform.machine()}, {cores} cores, {platform.system()}, Python {python}"
