"""One batch through the model: its seed, device, number format, and the exchange between processes."""

import contextlib
import hashlib
from typing import Any

import torch

from speechrep.train import distributed
from speechrep.train.config import TrainConfig
from speechrep.train.task import Task

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Forward:
    """The task's loss, ready to be called on any process.

    Args:
        task: its model is on ``device`` already.
        config: for the seed and the number format.
        device: where batches go.
        exchange: whether gradients are averaged over the processes.
    """

    def __init__(self, task: Task, config: TrainConfig, device: torch.device, exchange: bool):
        self.task, self.config, self.device = task, config, device
        self.rank, self.world = distributed.rank(), distributed.world_size()
        self.loss: torch.nn.Module = _Loss(task)
        if exchange and self.world > 1:
            ids = [device.index] if device.type == "cuda" else None
            self.loss = torch.nn.parallel.DistributedDataParallel(
                self.loss, device_ids=ids, find_unused_parameters=task.leaves_unused
            )

    def train(self, batch: dict[str, Any], step: int, number: int) -> tuple[torch.Tensor, dict[str, Any]]:
        """Loss and statistics of this process's batch ``number`` of a step; ``{}`` is an empty batch."""
        self._seed("train", step, number)
        with self._autocast():
            return self.loss(self._to_device(batch))

    def validate(self, batch: dict[str, Any], number: int) -> tuple[torch.Tensor, dict[str, Any]]:
        """The same for validation: the same masks every time, and nothing is exchanged."""
        self._seed("valid", 0, number)
        with self._autocast():
            return self.task.loss(self._to_device(batch))

    def without_exchange(self) -> contextlib.AbstractContextManager[None]:
        """For all batches of a step but the last: their gradients wait for the last one's exchange."""
        sync_later = getattr(self.loss, "no_sync", None)
        return contextlib.nullcontext() if sync_later is None else sync_later()

    def _seed(self, part: str, step: int, number: int) -> None:
        text = f"{self.config.seed} {part} {step} {number * self.world + self.rank}".encode()
        torch.manual_seed(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1)

    def _autocast(self) -> torch.autocast:
        precision = PRECISIONS[self.config.precision]
        return torch.autocast(self.device.type, precision, enabled=precision != torch.float32)

    def _to_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.device.type == "cpu":
            return batch
        return {
            key: value.to(self.device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for key, value in batch.items()
        }


class _Loss(torch.nn.Module):
    """The task's loss as a module, for DistributedDataParallel to wrap."""

    def __init__(self, task: Task):
        super().__init__()
        self.model = task.model
        self._task = (task,)  # in a tuple: a task that is a module itself must not be registered twice

    def forward(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        if batch:
            return self._task[0].loss(batch)
        nothing = sum((p.sum() * 0 for p in self.model.parameters() if p.requires_grad), torch.zeros(()))
        return nothing, {"weight": 0.0}  # an empty batch still takes part in the exchange of gradients
