"""Optimisers and learning-rate schedules by name."""

import math
from collections.abc import Callable
from typing import Any

import torch

from speechrep.errors import InputError
from speechrep.train.bert_adam import BertAdam

Groups = list[dict[str, Any]]
BETAS = (0.9, 0.999)


def _adamw(groups: Groups, lr: float) -> torch.optim.Optimizer:
    try:
        return torch.optim.AdamW(groups, lr=lr, betas=BETAS, fused=True)
    except RuntimeError:  # parameters on a device, or of a type, without a fused kernel
        return torch.optim.AdamW(groups, lr=lr, betas=BETAS)


OPTIMIZERS: dict[str, Callable[[Groups, float], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adam": lambda groups, lr: torch.optim.Adam(groups, lr=lr, betas=BETAS),
    "adadelta": lambda groups, lr: torch.optim.Adadelta(groups, lr=lr),
    "sgd": lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9),
    "adagrad": lambda groups, lr: torch.optim.Adagrad(groups, lr=lr),
    "bert_adam": lambda groups, lr: BertAdam(groups, lr=lr),
    "rmsprop": lambda groups, lr: torch.optim.RMSprop(groups, lr=lr),
}


def build_optimizer(name: str, groups: Groups, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """An optimiser over parameter groups.

    Args:
        name: a key of :data:`OPTIMIZERS`.
        groups: as torch takes them; each may have its own ``lr``, the peak of the schedule.
        lr: the peak for groups without their own.
        weight_decay: of parameters that are no vectors; biases and normalisation weights are, but for the
            biases of a probe, which stand side by side.
    """
    if name not in OPTIMIZERS:
        raise InputError(f"unknown optimizer {name!r}; known are {sorted(OPTIMIZERS)}")
    split: Groups = []
    for group in groups:
        params = list(group["params"])
        for decay, kept in (
            (weight_decay, [p for p in params if p.ndim > 1]),
            (0.0, [p for p in params if p.ndim <= 1]),
        ):
            if kept:
                peak = group.get("lr", lr)
                split.append(group | {"params": kept, "lr": peak, "peak_lr": peak, "weight_decay": decay})
    return OPTIMIZERS[name](split, lr)


def _linear(progress: float) -> float:
    return 1 - progress


def _constant(progress: float) -> float:
    return 1.0


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "linear": _linear, "linear_from_0": _linear, "constant": _constant, "cosine": _cosine
}  # fmt: skip


def lr_factor(schedule: str, step: int, warmup_steps: int, total_steps: int) -> float:
    """The share of the peak learning rate that step ``step`` (from 0) uses.

    Rises linearly over ``warmup_steps``, the first step already above 0, then follows ``schedule``,
    which is 1 after the warm-up and, except "constant", 0 at ``total_steps``. "linear_from_0" is "linear" as
    BERT's first implementations had it: the first step's learning rate is 0.
    """
    if step < warmup_steps:
        return (step + (schedule != "linear_from_0")) / warmup_steps
    return SCHEDULES[schedule]((step - warmup_steps) / max(1, total_steps - warmup_steps))


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Give every group ``factor`` of its peak; returns the first group's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
    return optimizer.param_groups[0]["lr"]
