"""The learned sum of a representation's layers, which every task can read: one weight for each layer."""

from typing import Any

import torch
from torch import Tensor, nn

from speechrep.config import opt

LAYER_SUMS = ("softmax", "plain")


def layer_sum_option() -> Any:
    """The option of a task's configuration."""
    return opt(
        "softmax", "weights of the layers, where the input has several: softmax (weighted_sum_norm) or plain "
        "(weighted_sum); they need training steps",
        LAYER_SUMS,
    )  # fmt: skip


def layer_scores(num_layers: int, kind: str, *count: int) -> nn.Parameter | None:
    """What is learned, (*count, L), for a sum that starts as the mean; None for an input of one layer."""
    if not num_layers:
        return None
    return nn.Parameter(torch.full((*count, num_layers), 0.0 if kind == "softmax" else 1 / num_layers))


def layer_shares(scores: Tensor, kind: str) -> Tensor:
    """The layers' weights (..., L) that scores stand for; those of ``plain`` need not be shares of 1."""
    return scores.softmax(-1) if kind == "softmax" else scores


def sum_layers(feats: Tensor, scores: Tensor | None, kind: str) -> Tensor:
    """(B, T, L, D) to (B, T, D); (B, T, D) of one layer stay as they are."""
    return feats if scores is None else torch.einsum("btld,l->btd", feats, layer_shares(scores, kind))
