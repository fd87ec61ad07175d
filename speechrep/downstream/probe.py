"""Linear and shallow probes of vectors, trained to convergence for several L2 penalties at once.

What a probe says of a representation is worth nothing unless it has converged: on collinear inputs (frames
with context) plain gradient methods stop points short of the optimum. So inputs are standardised with
training statistics and the first layer is trained in whitened coordinates, a change of variables that leaves
the optimum, and the L2 penalty on standardised inputs, where they were.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from speechrep.config import at_least, from_dict, opt, require_dropout
from speechrep.data.frame_labels import IGNORE
from speechrep.downstream.layer_sum import layer_scores, layer_shares, layer_sum_option
from speechrep.errors import InputError

MIN_STD = 1e-3  # a column that varies less carries only rounding errors, which must not be blown up
EIGENVALUE_FLOOR = 1e-4  # of the correlation matrix: directions below are not stretched further


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    """Shape and regularisation of a probe."""

    hidden_layers: int = opt(0, "hidden layers; 0 is a linear probe", (0, 1, 2))
    hidden_size: int = opt(768, "units of each hidden layer")
    dropout: float = opt(0.0, "dropout after each hidden layer")
    l2: tuple[float, ...] = opt(
        (1e-4, 1e-3, 1e-2, 1e-1),
        "penalties of half the squared weights, on the mean loss; validation picks one",
    )
    layer_sum: str = layer_sum_option()
    iterations: int = opt(100, "most L-BFGS iterations per penalty that solve a linear probe; 0 for none")
    vectors_in_memory: int = opt(
        500000, "training vectors for statistics and solving: whole utterances at random, if there are more"
    )


def check_probe(config: ProbeConfig) -> None:
    """Refuse numbers that make no probe."""
    at_least(1, config, "hidden_size", "vectors_in_memory")
    at_least(0, config, "iterations")
    require_dropout(config, "dropout")
    if not config.l2 or not min(config.l2) >= 0:
        raise InputError(f"l2 is {list(config.l2)}, want numbers from 0")


class Statistics:
    """Mean, standard deviation and correlation of vectors, in one pass.

    Args:
        vectors: arrays (N_i, D), each centred before it is squared, so float32 input loses nothing.
    """

    def __init__(self, vectors: Iterable[NDArray[np.float32]]):
        count, shift, total, square = 0, np.zeros(0), np.zeros(0), np.zeros((0, 0))
        for block in vectors:
            if not count:
                dim = block.shape[1]
                shift, total, square = block.mean(0), np.zeros(dim), np.zeros((dim, dim))
            centred = block - shift
            count += len(block)
            total += centred.sum(0, dtype=np.float64)
            square += centred.T @ centred
        offset = total / count
        self.mean = (shift + offset).astype(np.float32)
        covariance = square / count - np.outer(offset, offset)
        std = np.sqrt(np.maximum(np.diag(covariance), 0))
        self.num_constant = int((std < MIN_STD).sum())
        self.scale = np.where(std < MIN_STD, 0, 1 / np.maximum(std, MIN_STD)).astype(np.float32)
        self.correlation = covariance * np.outer(self.scale, self.scale)
        self.spread, self.axes = np.linalg.eigh(self.correlation)  # (D,) ascending, (D, D) columns

    @property
    def stretch(self) -> NDArray[np.float64]:
        """(D,) 1 / deviation along each axis, that of the narrowest bounded."""
        floor = EIGENVALUE_FLOOR * max(float(self.spread[-1]), 1e-12)
        return 1 / np.sqrt(np.maximum(self.spread, floor))

    def whitening(self) -> NDArray[np.float32]:
        """(D, D): standardised rows times this have, but for the bound, unit covariance."""
        return (self.axes * self.stretch).astype(np.float32)


class Probe(nn.Module):
    """K probes side by side, one for each L2 penalty; ``forward`` speaks for the chosen one.

    Args:
        dim: D of the input vectors.
        labels: the names of the C classes.
        config: shape; K is the number of its L2 penalties.
        num_layers: L of inputs (..., L, D), whose weighted sum is probed; 0 for inputs (..., D).
    """

    def __init__(self, dim: int, labels: Sequence[str], config: ProbeConfig, num_layers: int = 0):
        super().__init__()
        self.config, self.labels, self.num_layers = config, tuple(labels), num_layers
        widths = [dim, *[config.hidden_size] * config.hidden_layers, len(labels)]
        count = len(config.l2)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.register_buffer("basis", torch.eye(dim))  # whitening
        self.register_buffer("chosen", torch.zeros((), dtype=torch.int64))  # index into the L2 penalties
        if num_layers:
            self.layer_scores = layer_scores(num_layers, config.layer_sum, count)
            # Scores of the chosen probe, as other models name theirs: for who asks what a model has learned.
            self.register_buffer("layer_weights", torch.zeros(num_layers))
        shapes = list(itertools.pairwise(widths))
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(count, i, o)) for i, o in shapes)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(count, 1, o)) for _, o in shapes)
        for weight in self.weights:
            # The same start for every penalty, so that only the penalty tells them apart.
            start = torch.randn(weight.shape[1:]) * (2 / weight.shape[1]) ** 0.5
            weight.data.copy_(start if config.hidden_layers else torch.zeros_like(start))

    def set_statistics(self, statistics: Statistics) -> None:
        """Take the training set's normalisation."""
        self.mean.copy_(torch.from_numpy(statistics.mean))
        self.scale.copy_(torch.from_numpy(statistics.scale))
        self.basis.copy_(torch.from_numpy(statistics.whitening()))

    def all_logits(self, vectors: Tensor) -> Tensor:
        """(N, D) or (N, L, D) to the logits of every penalty's probe, (K, N, C)."""
        return self._logits(vectors, slice(None))

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., D) or (..., L, D) to logits (..., C)."""
        axes = 2 if self.num_layers else 1
        logits = self._logits(vectors.flatten(0, -1 - axes), slice(self.chosen, self.chosen + 1))
        return logits[0].reshape(*vectors.shape[:-axes], len(self.labels))

    def _mixtures(self, which: slice) -> Tensor:
        return layer_shares(self.layer_scores[which], self.config.layer_sum)

    def penalty(self) -> Tensor:
        """(K,) the L2 term of each probe, weights taken on standardised inputs."""
        weights = [self._first(slice(None)), *list(self.weights)[1:]]
        squares = torch.stack([weight.square().sum((1, 2)) for weight in weights]).sum(0)
        return 0.5 * squares * squares.new_tensor(self.config.l2)

    def _first(self, which: slice) -> Tensor:
        return self.basis @ self.weights[0][which]

    def _logits(self, vectors: Tensor, which: slice) -> Tensor:
        first, bias = self._first(which), self.biases[0][which]
        count, dim, width = first.shape
        if self.num_layers:
            summed = torch.einsum("nld,kl->knd", vectors, self._mixtures(which))
            hidden = torch.baddbmm(bias, (summed - self.mean) * self.scale, first)
        else:  # one product for all probes: the input is read once
            joined = first.transpose(0, 1).reshape(dim, count * width)
            hidden = ((vectors - self.mean) * self.scale) @ joined
            hidden = hidden.reshape(-1, count, width).transpose(0, 1) + bias
        for weight, bias in list(zip(self.weights, self.biases, strict=True))[1:]:
            hidden = F.dropout(F.relu(hidden), self.config.dropout, self.training)
            hidden = torch.baddbmm(bias[which], hidden, weight[which])
        return hidden


def probe_loss(probe: Probe, vectors: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """The trainer's loss: the mean over penalties of cross-entropy and, in training, the penalty itself.

    The probes share no parameter, so the sum of their losses trains each as if alone (with an optimiser that
    treats parameters one by one and no clipping of the common gradient norm).

    Args:
        probe: the probes.
        vectors: (..., D), or (..., L, D) of several layers.
        labels: (...) class ids, :data:`IGNORE` for rows to leave out.

    Returns:
        Sum over rows, and sums: ``weight`` rows, ``correct_k`` for each penalty.
    """
    kept = labels != IGNORE
    vectors, labels = vectors[kept], labels[kept]
    logits = probe.all_logits(vectors)
    count, rows = logits.shape[:2]
    loss = F.cross_entropy(logits.flatten(0, 1), labels.repeat(count), reduction="sum")
    if probe.training:
        loss = loss + rows * probe.penalty().sum()
    correct = (logits.argmax(-1) == labels).sum(1)
    return loss / count, {"weight": rows} | {f"correct_{k}": correct[k] for k in range(count)}


def choose(probe: Probe, stats: dict[str, float]) -> dict[str, float]:
    """Averaged statistics with the ``accuracy`` of the best penalty, which the probe then speaks for.

    The trainer calls this after each validation, before it saves the model: a saved model speaks for the
    penalty that was best on the validation set at its step.
    """
    accuracies = [100 * stats[f"correct_{k}"] for k in range(len(probe.config.l2))]
    best = int(np.argmax(accuracies))
    probe.chosen.fill_(best)
    if probe.num_layers:
        probe.layer_weights.copy_(probe.layer_scores[best].detach())
    others = {name: value for name, value in stats.items() if not name.startswith("correct_")}
    return others | {"accuracy": accuracies[best], "l2": probe.config.l2[best]}


def load_probe(model_json: dict[str, Any], config_class: type[ProbeConfig]) -> Probe:
    """The probe that ``describe()`` of its task told of, weights not yet loaded."""
    config = from_dict(config_class, model_json["config"], "model.json")
    return Probe(model_json["dim"], model_json["labels"], config, model_json["num_layers"])
