"""What the trainer asks of a task: a model, its data and a summed loss."""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from speechrep.data.loader import Loader


class Task(Protocol):
    """Something to train. More is optional; the functions of this module use what there is.

    ``param_groups(lr) -> list[dict]`` replaces "all parameters at lr"; ``begin_run(total_steps)`` hears
    how long training will be, and may refuse; ``begin_step(step)`` hears of every optimiser step before it,
    from 0, and may freeze or thaw parameters; ``summary(stats) -> dict`` turns the
    averaged statistics into those reported (adds a ratio, an error rate); ``pictures() -> dict`` draws what
    TensorBoard shows after a validation, name to uint8 (height, width, 3). ``leaves_unused`` is true where
    the loss of a step may not depend on all parameters that can be trained.
    """

    model: torch.nn.Module
    """What is trained and saved."""
    best_metric: str
    """The key of the validation statistics that picks the best model, such as "loss"."""
    best_is_lower: bool

    def train_loader(self) -> Loader:
        """The training batches of this process."""

    def valid_loader(self) -> Loader:
        """The validation batches of this process, the same in every epoch."""

    def loss(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """The loss of a batch that lies on the model's device.

        Returns:
            The sum (not the mean) of the loss over units, scalar and differentiable, and a dict of sums
            (float or detached scalar tensor) in which ``weight`` is the number of units. The trainer divides
            all of them by the weight, over all micro-batches and processes.
        """

    def describe(self) -> dict[str, Any]:
        """Plain JSON values from which the model can be rebuilt; stored in ``model.json``."""


def param_groups(task: Task, lr: float) -> list[dict[str, Any]]:
    """The optimiser's parameter groups: the task's own, or everything trainable at ``lr``."""
    own = getattr(task, "param_groups", None)
    if own is not None:
        return own(lr)
    return [{"params": [p for p in task.model.parameters() if p.requires_grad], "lr": lr}]


def begin_run(task: Task, total_steps: int) -> None:
    """Tell the task how many optimiser steps training will have."""
    own = getattr(task, "begin_run", None)
    if own is not None:
        own(total_steps)


def begin_step(task: Task, step: int) -> None:
    """Tell the task that the optimiser step ``step`` comes."""
    own = getattr(task, "begin_step", None)
    if own is not None:
        own(step)


def leaves_unused(task: Task) -> bool:
    """Whether processes must find out, step by step, which parameters took part."""
    return getattr(task, "leaves_unused", False)


def parts_to_compile(task: Task) -> list[torch.nn.Module]:
    """What torch.compile is given: what the model's ``parts_to_compile()`` names, or the whole of it."""
    own = getattr(task.model, "parts_to_compile", None)
    return [task.model] if own is None else own()


def summary(task: Task, stats: dict[str, float]) -> dict[str, float]:
    """The averaged statistics as the task wants them reported."""
    own = getattr(task, "summary", None)
    return stats if own is None else own(stats)


def pictures(task: Task) -> dict[str, NDArray[np.uint8]]:
    """What the task draws of its model as it is now; the model is in evaluation mode."""
    own = getattr(task, "pictures", None)
    return {} if own is None else own()
