"""Which layers a task listens to: the weights it learned for mixing them."""

import os

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from speechrep.errors import InputError
from speechrep.io.model_files import read_model
from speechrep.report import style

PARAMETER = "layer_weights"  # by whatever module holds it


def learned_weights(exp_dir: str | os.PathLike[str]) -> dict[int, float]:
    """Layer of the upstream to its weight in the mixture; but for a plain sum they sum to 1.

    Raises:
        InputError: no model, or one that mixes no layers.
    """
    weights, info = read_model(exp_dir)
    found = [array for name, array in weights.items() if name.split(".")[-1] == PARAMETER and array.size > 1]
    if not found:
        raise InputError(
            f"the {info.get('task') or info.get('upstream') or 'model'} model mixes no layers", where=exp_dir,
            mend="train a task on a store of several layers: dump --layers all",
        )  # fmt: skip
    mixed = found[0].astype(np.float64).ravel()
    if info.get("config", {}).get("layer_sum", "softmax") == "softmax":
        mixed = _softmax(mixed)
    layers = info.get("features", {}).get("layers") or range(len(mixed))
    return dict(zip(layers, mixed.tolist(), strict=True))


def draw(weights: dict[int, float], title: str) -> Figure:
    """A bar for each layer, and the line of equal weights."""
    drawn, axes = style.figure(1, heights=[2.0], title=title)
    axis, places = axes[0, 0], np.arange(len(weights))
    axis.bar(places, list(weights.values()), color=style.COLOURS[0], width=0.7)
    axis.axhline(1 / len(weights), color=style.COLOURS[4], linestyle="--", linewidth=1, label="equal weights")
    if len(weights) <= 16:
        axis.set_xticks(places, [str(layer) for layer in weights])
        ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # covers the line
        for place, value in zip(places, weights.values(), strict=True):
            axis.annotate(
                f"{value:.2f}", (place, value), (0, 2), textcoords="offset points", ha="center", va="bottom",
                fontsize=style.FONT - 1, bbox=ground,
            )  # fmt: skip
    axis.margins(y=0.15)
    style.label(axis, x="layer, 0 the first", y="weight")
    style.legend(axis, loc="lower right", bbox_to_anchor=(1.0, 0.98))
    return drawn


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(values - values.max())
    return powers / powers.sum()
