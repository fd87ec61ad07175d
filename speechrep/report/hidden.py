"""The hidden vectors of an utterance, layer by layer."""

import torch
from matplotlib.figure import Figure

from speechrep.report import style
from speechrep.report.scales import channels, limits_of, show_frames, symmetric_limits
from speechrep.report.utterance import Utterance
from speechrep.upstream.base import Upstream
from speechrep.upstream.dumping import parse_layers

MOST_LAYERS = 24


@torch.no_grad()
def draw(model: Upstream, utterance: Utterance, layers: str, title: str) -> Figure:
    """The input and below it a panel for each layer, every dimension as it is.

    Args:
        model: an upstream.
        utterance: what to represent.
        layers: as for ``dump``: last, first, all, or numbers.
        title: above all.

    Raises:
        InputError: an unknown layer.
    """
    output = model(utterance.tensor())
    chosen = parse_layers(layers, len(output.hiddens))[:MOST_LAYERS]
    drawn, axes = style.figure(1 + len(chosen), sharex=True, title=title)
    shown = channels(model.meta)
    limits = limits_of(utterance.feats[:, shown.columns])
    show_frames(axes[0, 0], utterance.feats, utterance.times_s, shown, limits=limits)
    style.label(axes[0, 0], "input")
    times_s = utterance.joined_times_s(model.downsample)
    for axis, layer in zip(axes[1:, 0], chosen, strict=True):
        hidden = output.hiddens[layer][0].float().cpu().numpy()
        image = show_frames(
            axis, hidden, times_s, None, limits=symmetric_limits(hidden), colours=style.DIVERGING
        )
        style.label(axis, f"layer {layer} of 0 to {len(output.hiddens) - 1}", y="dimension")
        bar = drawn.colorbar(image, ax=axis, pad=0.01, fraction=0.05)
        bar.ax.tick_params(labelsize=style.FONT - 2, length=2)
    style.label(axes[-1, 0], x="time (s)")
    return drawn
