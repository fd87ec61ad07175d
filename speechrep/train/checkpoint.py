"""Training states on disk: whole or absent, checked when read, the last few kept."""

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from speechrep.errors import InputError, telling_of
from speechrep.io.files import commit_file, read_json, sha256, temporary_name, write_json


def save_state(
    folder: str | os.PathLike[str], step: int, state: dict[str, Any], keep_last: int, interval: int = 1
) -> Path:
    """Write ``step-N.pt`` and its checksum ``step-N.json``, then remove what is not to be kept.

    Kept are the last ``keep_last``, and as many of those that a run saves if it is not interrupted: at
    multiples of ``interval`` and at its end, for which this one is taken.

    Args:
        folder: the checkpoints' folder.
        step: the number of steps done.
        state: tensors and plain containers only, so that it loads without unpickling code.
        keep_last: how many to keep, at least 1.
        interval: steps between states.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step}.pt"
    temporary = temporary_name(path)
    try:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch's writer hides the reason, which is the disk
            raise InputError(f"cannot be written, is the disk full? {error}", where=path) from error
        digest = sha256(temporary)
        path.with_suffix(".json").unlink(missing_ok=True)  # of an older file that this one replaces
        commit_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    write_json(path.with_suffix(".json"), {"step": step, "sha256": digest})
    count = max(1, keep_last)
    kept = {*saved_states(folder)[-count:], *saved_states(folder, step, interval)[-count:]}
    for old in saved_states(folder):
        if old not in kept:
            # The checksum first, so that a kill here leaves an ignored file, not a broken one.
            old.with_suffix(".json").unlink()
            old.unlink()
    return path


def saved_states(folder: str | os.PathLike[str], end: int = 0, interval: int = 1) -> list[Path]:
    """The complete states of a folder, oldest first; those at multiples of ``interval`` and at step ``end``.

    A file whose checksum is missing was not finished; a checksum without its file is of one that was removed.
    """
    states = (path.with_suffix(".pt") for path in Path(folder).glob("step-*.json"))
    chosen = (path for path in states if _step(path) % interval == 0 or _step(path) == end)
    return sorted(filter(Path.exists, chosen), key=_step)


def load_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a state onto the CPU.

    Raises:
        InputError: the file is missing or is not what was written; names the previous good one.
    """
    path = Path(path)
    if is_whole(path):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            raise InputError(
                "holds other things than tensors and plain values: not written by a training", where=path,
                mend="remove it and its .json",
            ) from None  # fmt: skip
    older = [other for other in saved_states(path.parent) if _step(other) < _step(path) and is_whole(other)]
    mend = f"remove it to go on from {older[-1]}" if older else "no older good checkpoint is left: start anew"
    raise InputError("the checkpoint is missing, cut short or corrupt", where=path, mend=mend)


def is_whole(path: Path) -> bool:
    """Whether a state's bytes are those that were written."""
    told = read_json(path.with_suffix(".json"))
    with telling_of(path):
        return path.is_file() and isinstance(told, dict) and sha256(path) == told.get("sha256")


def average_weights(paths: Sequence[Path]) -> dict[str, torch.Tensor]:
    """The mean of the models' weights in several states; integers are the last one's."""
    models = [load_state(path)["model"] for path in paths]
    return {
        name: torch.stack([model[name].double() for model in models]).mean(0).to(last.dtype)
        if last.is_floating_point()
        else last
        for name, last in models[-1].items()
    }


def remove_states(folder: str | os.PathLike[str], keep: Sequence[Path]) -> None:
    """Remove all states but ``keep``, and what a killed process left half-written.

    Only while no other process writes to the folder.
    """
    for path in Path(folder).glob("step-*.json"):
        if path.with_suffix(".pt") not in keep:
            path.unlink()
    for path in [*Path(folder).glob(".step-*.tmp"), *Path(folder).glob("step-*.pt")]:
        if path not in keep:
            path.unlink()


def _step(path: Path) -> int:
    return int(path.stem.split("-")[1])
