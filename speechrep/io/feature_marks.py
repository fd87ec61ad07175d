"""What says that a feature directory is usable: taken away before anything in it changes."""

import os
import shutil
from pathlib import Path

from speechrep.errors import InputError

DONE = ".done.json"  # what an extraction tells at its end
JOBS = ".jobs"  # what its jobs told


def invalidate(folder: Path) -> None:
    """Take away what says that a directory is whole; finished jobs of an extraction stay."""
    for name in ("features.json", DONE, "feats.scp"):
        (folder / name).unlink(missing_ok=True)


def invalidate_all(folder: Path) -> None:
    """The same for who makes other features than an extraction: no job of it is finished any more."""
    invalidate(folder)
    shutil.rmtree(folder / JOBS, ignore_errors=True)


def require_no_data_dir(folder: str | os.PathLike[str]) -> None:
    """Refuse to write features into a data directory, whose own ``feats.scp`` they would replace."""
    ours = Path(folder, "features.json").exists() or Path(folder, JOBS).exists()
    if not ours and any(Path(folder, name).is_file() for name in ("wav.scp", "spk2utt", "text")):
        raise InputError("is a data directory", where=folder, mend="choose another folder for the features")
