"""The Adam of BERT's first implementations, for reproducing models that were trained with it."""

from collections.abc import Callable
from typing import Any

import torch


class BertAdam(torch.optim.Optimizer):
    """Adam without bias correction, with decoupled weight decay and a clip of every tensor's gradient.

    update = m / (sqrt(v) + eps) + weight_decay * p;  p -= lr * update

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: decay of the two moments.
        eps: outside the root, as there is no bias correction.
        weight_decay: added to the update, not to the gradient.
        max_tensor_norm: largest norm of one tensor's gradient. With a clip of the whole gradient at 1 or
            less this never acts.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        max_tensor_norm: float = 1.0,
    ):
        super().__init__(
            params,
            {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "max_norm": max_tensor_norm},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], torch.Tensor] | None = None) -> None:
        """One update."""
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["m"], state["v"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                grad = parameter.grad
                grad = grad * (group["max_norm"] / (grad.norm() + 1e-6)).clamp(max=1.0)
                state["m"].mul_(first).add_(grad, alpha=1 - first)
                state["v"].mul_(second).addcmul_(grad, grad, value=1 - second)
                update = state["m"] / (state["v"].sqrt() + group["eps"])
                if group["weight_decay"]:
                    update += group["weight_decay"] * parameter
                parameter.sub_(group["lr"] * update)
