"""Which layers a task listens to: the weights it learned for mixing them."""

import numpy as np
from matplotlib.figure import Figure

from speechrep.report import style


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
