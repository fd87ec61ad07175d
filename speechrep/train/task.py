"""What the trainer asks of a task: a model, its data and a summed loss."""

import abc
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from speechrep.data.loader import Loader


class Task(abc.ABC):
    """Something to train: what is abstract here, and of the rest what it does otherwise."""

    model: torch.nn.Module
    """What is trained and saved."""
    best_metric: str
    """The key of the validation statistics that picks the best model, such as "loss"."""
    best_is_lower: bool
    leaves_unused = False
    """Whether the loss of a step may not depend on all parameters that can be trained: processes must then
    find out, step by step, which took part."""

    @abc.abstractmethod
    def train_loader(self) -> Loader:
        """The training batches of this process, in an order that changes with every epoch."""

    @abc.abstractmethod
    def valid_loader(self) -> Loader:
        """The validation batches of this process, the same in every epoch."""

    @abc.abstractmethod
    def loss(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """The loss of a batch that lies on the model's device.

        Returns:
            The sum (not the mean) of the loss over units, scalar and differentiable, and a dict of sums
            (float or detached scalar tensor) in which ``weight`` is the number of units. The trainer divides
            all of them by the weight, over all micro-batches and processes.
        """

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Plain JSON values from which the model can be rebuilt; stored in ``model.json``."""

    def prepare(self, device: torch.device) -> None:  # noqa: B027 - most do without
        """Work once before a training that begins; one that goes on does without."""

    def begin_run(self, total_steps: int) -> None:  # noqa: B027 - most do without
        """Hear how many optimiser steps training will have; may refuse."""

    def begin_step(self, step: int) -> None:  # noqa: B027 - most do without
        """Hear of an optimiser step before it, from 0; may freeze or thaw parameters."""

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """The optimiser's parameter groups: everything trainable at ``lr``."""
        return [{"params": [p for p in self.model.parameters() if p.requires_grad], "lr": lr}]

    def parts_to_compile(self) -> list[torch.nn.Module]:
        """What torch.compile is given: modules of the model, or the whole of it."""
        return [self.model]

    def summary(self, stats: dict[str, float]) -> dict[str, float]:
        """The averaged statistics as they are reported: with a ratio, an error rate."""
        return stats

    def pictures(self) -> dict[str, NDArray[np.uint8]]:
        """What TensorBoard shows after a validation, name to (height, width, 3).

        The model is in evaluation mode.
        """
        return {}
