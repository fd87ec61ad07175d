"""The learned sum of a representation's layers, which every task can read: one weight for each layer."""

import os
from typing import Any

import torch
from torch import Tensor, nn

from speechrep.config import opt
from speechrep.errors import InputError
from speechrep.io.model_files import read_model

LAYER_SUMS = ("softmax", "plain")
PARAMETER = "layer_weights"  # by whatever module holds it


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


def learned_weights(exp_dir: str | os.PathLike[str]) -> dict[int, float]:
    """Layer of the upstream to its weight in a trained model's sum; but for a plain sum they sum to 1.

    Raises:
        InputError: no model, or one that sums no layers.
    """
    weights, info = read_model(exp_dir)
    found = [array for name, array in weights.items() if name.split(".")[-1] == PARAMETER and array.size > 1]
    if not found:
        raise InputError(
            f"the {info.get('task') or info.get('upstream') or 'model'} model mixes no layers", where=exp_dir,
            mend="train a task on a store of several layers: dump --layers all",
        )  # fmt: skip
    scores = torch.from_numpy(found[0]).flatten()
    shares = layer_shares(scores, info.get("config", {}).get("layer_sum", "softmax"))
    layers = info.get("features", {}).get("layers") or range(len(shares))
    return dict(zip(layers, shares.tolist(), strict=True))
