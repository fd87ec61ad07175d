"""Trained downstream models from disk."""

import os
from typing import Any, NamedTuple

import torch

from speechrep.downstream.base import KIND, Kind
from speechrep.downstream.registry import TASKS
from speechrep.errors import InputError
from speechrep.io.model_files import read_model


class Trained(NamedTuple):
    """A model that a downstream training left."""

    kind: Kind
    model: torch.nn.Module
    """In evaluation mode."""
    info: dict[str, Any]
    """``model.json``."""


def load_trained(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Trained:
    """Load a downstream model.

    Raises:
        InputError: no such model, or weights that do not fit its description.
    """
    weights, info = read_model(path)
    if info.get("kind") != KIND or info.get("task") not in TASKS:
        raise InputError(
            f"holds a model of kind {info.get('kind')!r}, task {info.get('task', '')!r}", where=path,
            mend=f"give the experiment of train_downstream; tasks are {sorted(TASKS)}",
        )  # fmt: skip
    kind = TASKS[info["task"]]
    try:
        model = kind.load(info)
    except InputError as error:
        raise error.told(": ".join(filter(None, (error.where, error.what))), where=path) from error
    try:
        model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    except RuntimeError as error:
        raise InputError(f"weights do not fit the description: {error}", where=path) from error
    return Trained(kind, model.eval().requires_grad_(False).to(device), info)
