"""Linear probes solved, not trained: full-batch L-BFGS in well-conditioned coordinates.

On collinear frames it reaches in some 20 passes over the data what AdamW has not reached after hundreds.
"""

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechrep.downstream.probe import Probe, Statistics
from speechrep.errors import InputError

logger = logging.getLogger(__name__)

ROWS = 16384  # at once, so that logits stay in the cache
HISTORY = 20
TOLERANCE = 1e-5  # stop when an iteration gains less mean loss, in nats: 0.1 % of accuracy at most (measured)
CURVATURE = 0.05  # what p (1 - p) of a class may be; only the speed depends on it


def solve(
    probe: Probe,
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    statistics: Statistics,
    iterations: int,
    device: torch.device,
) -> None:
    """Set a linear probe's weights to the optimum of every penalty, the strongest first.

    Args:
        probe: without hidden layers, its statistics set.
        vectors: (N, D); overwritten.
        labels: (N,) class ids.
        statistics: of the vectors.
        iterations: most L-BFGS iterations per penalty.
        device: where to compute.
    """
    if probe.config.hidden_layers:
        raise InputError("only a probe without hidden layers can be solved", where="hidden-layers")
    axes = torch.from_numpy(statistics.axes.astype(np.float32)).to(device)
    to_whitened = torch.from_numpy((1 / statistics.stretch).astype(np.float32))[:, None]
    rotated, targets = torch.from_numpy(vectors).to(device), torch.from_numpy(labels).to(device)
    mean, scale = probe.mean.to(device), probe.scale.to(device)
    for rows in rotated.split(ROWS):
        rows.copy_(((rows - mean) * scale) @ axes)
    problem = _Problem(rotated, targets)
    plain = torch.zeros(rotated.shape[1] + 1, len(probe.labels), device=device)  # the bias in the last row
    for k in sorted(range(len(probe.config.l2)), key=lambda k: -probe.config.l2[k]):
        problem.l2 = probe.config.l2[k]
        # The loss curves with the inputs' spread, the penalty alike in all directions: undo the sum of both.
        stretch = 1 / np.sqrt(np.maximum(statistics.spread, 1e-6) + problem.l2 / CURVATURE)
        problem.stretch = torch.from_numpy(np.append(stretch, 1).astype(np.float32)).to(device)[:, None]
        weight = (plain / problem.stretch).requires_grad_()
        loss, passes = _minimise(problem, weight, iterations)
        plain = weight.detach() * problem.stretch
        probe.weights[0].data[k].copy_(to_whitened * plain[:-1].cpu())
        probe.biases[0].data[k].copy_(plain[-1:])
        logger.info("l2 %g: loss %.5f after %d passes over %d rows", problem.l2, loss, passes, len(rotated))


class _Problem:
    """Mean cross-entropy plus penalty, and its gradient, in stretched coordinates."""

    l2 = 0.0
    stretch: Tensor

    def __init__(self, vectors: Tensor, targets: Tensor):
        self.vectors, self.targets = vectors, targets

    def __call__(self, weight: Tensor) -> tuple[float, Tensor]:
        """Loss and (D + 1, C) gradient at (D + 1, C) weights."""
        plain = weight.detach() * self.stretch
        gradient, loss = torch.zeros_like(plain), 0.0
        for rows, targets in zip(self.vectors.split(ROWS), self.targets.split(ROWS), strict=True):
            log_probs = torch.log_softmax(torch.addmm(plain[-1], rows, plain[:-1]), 1)
            loss -= float(log_probs.gather(1, targets[:, None]).sum(dtype=torch.float64))
            errors = log_probs.exp_()
            errors.scatter_add_(1, targets[:, None], errors.new_full((len(rows), 1), -1.0))
            gradient[:-1].addmm_(rows.T, errors)
            gradient[-1] += errors.sum(0)
        gradient /= len(self.vectors)
        gradient[:-1] += self.l2 * plain[:-1]
        penalty = 0.5 * self.l2 * float(plain[:-1].square().sum(dtype=torch.float64))
        return loss / len(self.vectors) + penalty, gradient * self.stretch


def _minimise(problem: _Problem, weight: Tensor, iterations: int) -> tuple[float, int]:
    """L-BFGS in place; returns the last loss and the number of evaluations."""
    optimizer = torch.optim.LBFGS(
        [weight], max_iter=iterations, history_size=HISTORY, line_search_fn="strong_wolfe",
        tolerance_grad=1e-7, tolerance_change=TOLERANCE,
    )  # fmt: skip
    losses = []

    def closure() -> float:
        loss, weight.grad = problem(weight)
        losses.append(loss)
        return loss

    optimizer.step(closure)
    return min(losses), len(losses)
