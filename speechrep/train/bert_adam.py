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
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter]["m"] = torch.zeros_like(parameter)
                    self.state[parameter]["v"] = torch.zeros_like(parameter)
            m, v = ([self.state[parameter][name] for parameter in parameters] for name in ("m", "v"))
            grads = [parameter.grad for parameter in parameters]
            norms = torch.stack(torch._foreach_norm(grads))
            grads = torch._foreach_mul(grads, (group["max_norm"] / (norms + 1e-6)).clamp(max=1.0).unbind())
            first, second = group["betas"]
            torch._foreach_mul_(m, first)
            torch._foreach_add_(m, grads, alpha=1 - first)
            torch._foreach_mul_(v, second)
            torch._foreach_addcmul_(v, grads, grads, value=1 - second)
            roots = torch._foreach_sqrt(v)
            torch._foreach_add_(roots, group["eps"])
            updates = torch._foreach_div(m, roots)
            if group["weight_decay"]:
                torch._foreach_add_(updates, parameters, alpha=group["weight_decay"])
            torch._foreach_add_(parameters, updates, alpha=-group["lr"])
