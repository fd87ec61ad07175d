"""Where each attention head of a Transformer looks."""

import math

import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from speechrep.errors import InputError
from speechrep.report import style
from speechrep.report.utterance import Utterance
from speechrep.upstream.base import Upstream
from speechrep.upstream.transformer import TransformerLayer

_COLUMNS = 3


@torch.no_grad()
def attention_maps(model: Upstream, feats: torch.Tensor) -> list[NDArray[np.float32]]:
    """The attention weights of every layer, (heads, T', T') each: row t is where frame t looks.

    Args:
        model: with ``layers`` of :class:`TransformerLayer`.
        feats: (1, T, F), not padded.

    Raises:
        InputError: a model without attention.
    """
    layers = [module for module in model.modules() if isinstance(module, TransformerLayer)]
    if not layers:
        raise InputError(f"{model.name} has no attention to show")
    maps = []

    def look(layer: TransformerLayer, args: tuple, options: dict) -> None:
        """Called with what a layer is called with, before it is."""
        hidden, mask = args[0], None
        if options.get("causal"):
            T = hidden.shape[1]
            mask = torch.ones(T, T, dtype=torch.bool, device=hidden.device).tril()
        maps.append(layer.attention(hidden, mask)[0].float().cpu().numpy())

    hooks = [layer.register_forward_pre_hook(look, with_kwargs=True) for layer in layers]
    try:
        model.hidden_states(feats, None)
    finally:
        for hook in hooks:
            hook.remove()
    assert len(maps) == len(layers)
    return maps


def span(model: Upstream, utterance: Utterance) -> Utterance:
    """As much of an utterance as one pass of the model sees: its first window, if it works in windows."""
    window = getattr(model.config, "window", 0) * model.downsample
    if not window:
        return utterance
    return Utterance(utterance.utt_id, utterance.feats[:window], utterance.times_s[:window])


def draw(weights: NDArray[np.float32], times_s: NDArray[np.float64], title: str) -> Figure:
    """One layer: a map for each head.

    Args:
        weights: (heads, T, T).
        times_s: (T,) centres of the frames.
        title: above all.
    """
    count, T = weights.shape[:2]
    columns = _COLUMNS if count > 4 else math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    drawn, axes = style.figure(rows, columns, heights=[style.WIDTH / columns * 1.05] * rows, title=title)
    step = (times_s[-1] - times_s[0]) / max(1, T - 1) or 0.01
    edges = (times_s[0] - step / 2, times_s[-1] + step / 2)
    # Even attention would be 1 / T everywhere; less than a tenth of that is nothing.
    norm = LogNorm(0.1 / T, 1, clip=True)
    for head, axis in enumerate(axes.flat):
        if head >= count:
            axis.set_visible(False)
            continue
        image = axis.imshow(
            weights[head], origin="upper", cmap=style.SEQUENTIAL, norm=norm, interpolation="nearest",
            extent=(*edges, *edges[::-1]),
        )  # fmt: skip
        style.label(axis, f"head {head}")
        if head + columns >= count:
            style.label(axis, x="seen frame (s)")
        if head % columns == 0:
            style.label(axis, y="looking frame (s)")
    bar = drawn.colorbar(image, ax=list(axes.flat), location="bottom", fraction=0.03, pad=0.02)
    bar.ax.tick_params(labelsize=style.FONT - 1)
    bar.set_label(f"attention weight (even: {1 / T:.2g})", fontsize=style.FONT)
    return drawn
