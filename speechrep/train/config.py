"""The options of a training run."""

import math
from dataclasses import dataclass

from speechrep.config import at_least, opt, require_choices, require_shares
from speechrep.errors import InputError
from speechrep.train.optim import OPTIMIZERS, SCHEDULES


@dataclass(frozen=True)
class TrainConfig:
    """How to train; what is trained is the task's affair."""

    seed: int = opt(1, "seed of data order, dropout and masks")
    max_steps: int = opt(
        1000,
        "optimiser steps; 0: none, a linear probe is solved, others stay untrained; -1: max-epochs rules",
    )
    max_epochs: int = opt(
        0, "passes over the data after which to stop, exact to a few batches; 0 for no limit"
    )
    accumulate: int = opt(1, "batches per process in one optimiser step")
    optimizer: str = opt(
        "adamw",
        "optimiser; sgd has a momentum of 0.9, adadelta is made for an lr of 1",
        choices=sorted(OPTIMIZERS),
    )
    lr: float = opt(1e-3, "peak learning rate")
    weight_decay: float = opt(
        0.01, "weight decay of matrices; of adamw and bert_adam beside the gradient, of others within it"
    )
    schedule: str = opt("linear", "learning rate after the warm-up", choices=sorted(SCHEDULES))
    warmup_share: float = opt(0.07, "share of all steps over which the learning rate rises")
    warmup_steps: int = opt(0, "the same in steps; if above 0 it replaces warmup-share")
    grad_clip: float = opt(1.0, "largest norm of the gradient, 0 for no limit")
    precision: str = opt("fp32", "number format of the forward pass", choices=("fp32", "bf16", "fp16"))
    valid_interval: int = opt(500, "steps between validations")
    save_interval: int = opt(500, "steps between checkpoints")
    log_interval: int = opt(20, "steps between log lines")
    keep_last: int = opt(2, "how many checkpoints to keep")
    average_last: int = opt(0, "at the end also try the mean of the weights of so many last checkpoints")
    compile: bool = opt(False, "torch.compile: minutes at the start, faster steps on a GPU")
    patience: int = opt(0, "stop after so many validations without a better result, 0 for never")

    def __post_init__(self) -> None:
        require_choices(self)
        if self.max_steps < 0 and self.max_epochs < 1:
            raise InputError(f"max-steps is {self.max_steps} and max-epochs {self.max_epochs}: no end")
        at_least(1, self, "accumulate", "valid_interval", "save_interval", "log_interval", "keep_last")
        at_least(0, self, "seed", "max_epochs", "warmup_steps", "patience", "average_last")
        for name in ("lr", "grad_clip", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(
                    f"{name.replace('_', '-')} is {getattr(self, name)}, want 0 or a number above"
                )
        if self.seed >= 2**63:
            raise InputError(f"seed is {self.seed}, want less than 2^63")
        if self.average_last > self.keep_last:
            raise InputError(f"average-last is {self.average_last} but keep-last only {self.keep_last}")
        require_shares(self, "warmup_share")
