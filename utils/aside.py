"""What a step owns and made in another way is moved aside, and taken back when it is asked for again.

``exp/apc`` becomes ``exp/apc.old`` with ``.done/apc.old``, its marker; what was not finished becomes
``exp/apc.unfinished.old``. An exchange that is killed on the way is ended or undone by the next run.
"""

import os
import shutil
from pathlib import Path

from marker import Step, read_marker
from seals import sealed_files

from speechrep.io.files import write_json


def set_aside(step: Step) -> list[str]:
    """Move what another command left out of the way, keeping one generation of it and one not done.

    Returns:
        What to tell: each folder, why and where it was moved.
    """
    # With an output removed, perhaps because it was damaged, what lies aside is the better one.
    made = (*step.outputs, *sealed_files(read_marker(step.marker) or {}, step.marker))
    finished = step.marker.exists() and all(path.exists() for path in made)
    why = "was made differently" if finished or not step.marker.exists() else "is not whole"
    old_marker = _aside(step.marker)
    moved = []
    for folder in step.owns:
        if folder.is_dir() and any(folder.iterdir()):
            if finished:
                old_marker.unlink(missing_ok=True)  # what it tells of goes now
            place = _put_aside(folder, finished)
            moved.append(f"{folder} {why}: moved to {place}")
    if moved and finished:
        step.marker.replace(old_marker)
    return moved


def _put_aside(folder: Path, finished: bool) -> Path:
    """Rename a folder, in place of what has the name that it gets."""
    place = _aside(folder if finished else folder.with_name(folder.name + ".unfinished"))
    if place.is_symlink():  # of a folder that somebody has put elsewhere
        place.unlink()
    shutil.rmtree(place, ignore_errors=True)
    folder.rename(place)
    return place


def _aside(path: Path) -> Path:
    """Where what was finished is moved to."""
    return path.with_name(path.name + ".old")


def lies_aside(step: Step, state: dict) -> bool:
    """Whether what was moved aside is all that is asked for now."""
    done = read_marker(_aside(step.marker))
    if not done or {name: done[name] for name in state} != state:
        return False
    made = [Path(os.path.realpath(path)) for path in (*step.outputs, *sealed_files(done, step.marker))]
    kept = [
        _aside(folder) / path.relative_to(os.path.realpath(folder))
        for path in made
        for folder in step.owns
        if path.is_relative_to(os.path.realpath(folder))
    ]
    return len(kept) == len(made) and all(path.exists() for path in kept)


def take_back(step: Step) -> None:
    """Exchange what lies aside and what is there, folders and markers."""
    current = read_marker(step.marker)
    # Killed on the way, no marker may vouch for the wrong folder, and what lay aside must not be lost.
    step.marker.unlink(missing_ok=True)
    for folder in step.owns:
        _aside(folder).rename(_between(folder))
    _aside(step.marker).rename(_between(step.marker))
    _end_exchange(step, current)


def _end_exchange(step: Step, current: dict | None = None) -> None:
    """Put in place what is on its way there; ``current`` is the marker of what is there, if it was done."""
    for folder in step.owns:
        if _between(folder).exists():
            if folder.exists():
                _put_aside(folder, finished=current is not None)
            _between(folder).rename(folder)
    if current:
        write_json(_aside(step.marker), current)
    _between(step.marker).replace(step.marker)


def mend_exchange(step: Step) -> None:
    """End an exchange that was killed, or undo it if its marker had not set out."""
    if _between(step.marker).exists():
        _end_exchange(step)
    for folder in step.owns:
        if _between(folder).exists():
            shutil.rmtree(_aside(folder), ignore_errors=True)  # none, but of an earlier version's exchange
            _between(folder).rename(_aside(folder))


def _between(path: Path) -> Path:
    """Where something is while it is exchanged."""
    return path.with_name(path.name + ".between")
