"""Sums of statistics, weighted by what they are sums over."""

from collections.abc import Mapping
from typing import Any

import torch

from speechrep.train import distributed


def add(sums: dict[str, Any], stats: Mapping[str, Any]) -> None:
    """Add ``stats`` into ``sums``; tensors stay on their device, so that nothing waits for it."""
    for name, value in stats.items():
        value = value.detach().double() if isinstance(value, torch.Tensor) else value
        sums[name] = sums.get(name, 0.0) + value


def reduced(sums: Mapping[str, Any]) -> dict[str, float]:
    """The sums over all processes, as floats. A process that had no batch lacks the task's keys."""
    total: dict[str, float] = {}
    for part in distributed.gather({name: float(value) for name, value in sums.items()}):
        add(total, part)
    return total


def averages(sums: Mapping[str, float]) -> dict[str, float]:
    """Every sum per unit of ``weight``, the loss first."""
    weight = max(sums["weight"], 1.0)
    names = ["loss", *(name for name in sums if name not in ("loss", "weight"))]
    return {name: sums[name] / weight for name in names}
