"""What a model saw, what it should have said and what it said: its pre-training task as spectrograms."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from speechrep.io.feature_meta import FeatureMeta, parse_meta
from speechrep.report import style
from speechrep.report.scales import channels, limits_of, show_frames
from speechrep.report.utterance import Utterance
from speechrep.upstream.base import Upstream
from speechrep.upstream.mockingjay import Mockingjay
from speechrep.upstream.predictive import Predictive

_DRAWS = 32  # utterances masked at once, of which one is kept whose frames were hidden: 8 of 10 are


@dataclass(frozen=True)
class Panel:
    """One spectrogram."""

    title: str
    feats: NDArray[np.float32]  # (T, F)
    times_s: NDArray[np.float64]  # (T,)
    same_kind: bool = True  # whether these are the model's input features, with their frequencies


@dataclass(frozen=True)
class Reconstruction:
    """The pre-training task on one utterance."""

    panels: list[Panel]
    times_s: NDArray[np.float64]  # (N,) of the errors
    errors: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Name to mean absolute error per frame, (N,)."""
    hidden: NDArray[np.bool_] | None = None  # (N,) frames that were hidden from the model


@torch.no_grad()
def reconstruct(
    model: Upstream, utterance: Utterance, seed: int = 0, other: FeatureMeta | None = None
) -> Reconstruction:
    """Let a model do its pre-training task; nothing global changes, the random state included.

    Mockingjay gets the frames with runs of them hidden, and reconstructs; APC predicts each frame from those
    ``time_shift`` and more before it; surface features are shown as they are.

    Args:
        model: an upstream, in evaluation mode.
        utterance: what to show it.
        seed: of what is hidden.
        other: the features that it reconstructs, if they are not those it is given. There is no error then.
    """
    device = model.device
    feats = utterance.tensor().to(device)
    if isinstance(model, Mockingjay):
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            return _masked(model, feats, utterance, other is None)
    if isinstance(model, Predictive):
        return _predicted(model, feats, utterance)
    return Reconstruction([Panel("features", utterance.feats, utterance.times_s)], utterance.times_s)


def target_of(info: Mapping[str, Any], where: object) -> FeatureMeta | None:
    """The features that a model reconstructs, from its ``model.json``; None where they are its input."""
    return parse_meta(info["target"], where) if info.get("target") else None


def draw(done: Reconstruction, meta: FeatureMeta, title: str, other: FeatureMeta | None = None) -> Figure:
    """A figure of the panels, and below them the errors, if there are any.

    Args:
        done: of :func:`reconstruct`.
        meta: the model's input features.
        title: above all.
        other: the features that it reconstructs, if others.
    """
    heights = [1.35] * len(done.panels) + [1.0] * bool(done.errors)
    drawn, axes = style.figure(len(heights), heights=heights, sharex=True, title=title)
    shown = channels(meta)
    same_kind = [panel.feats[:, shown.columns] for panel in done.panels if panel.same_kind]
    for panel, axis in zip(done.panels, axes[:, 0], strict=False):
        limits = limits_of(*same_kind) if panel.same_kind else limits_of(panel.feats)
        axes_of = shown if panel.same_kind else channels(other) if other is not None else None
        image = show_frames(axis, panel.feats, panel.times_s, axes_of, limits=limits)
        style.label(axis, panel.title)
        bar = drawn.colorbar(image, ax=axis, pad=0.01, fraction=0.05)
        bar.ax.tick_params(labelsize=style.FONT - 2, length=2)
    bottom = axes[-1, 0]
    if done.errors:
        for (name, error), colour in zip(done.errors.items(), style.COLOURS, strict=False):
            mean = np.nanmean(error) if np.isfinite(error).any() else np.nan
            bottom.plot(done.times_s, error, color=colour, linewidth=0.9, label=f"{name}, mean {mean:.3f}")
        bottom.set_ylim(bottom=0)
        style.label(bottom, y="mean |error|")
        style.legend(bottom, loc="lower right", bbox_to_anchor=(1.0, 0.96), ncols=2, handlelength=1.2)
    if done.hidden is not None and done.hidden.any():
        for first, last in _runs(done.hidden):
            half = (done.times_s[1] - done.times_s[0]) / 2 if len(done.times_s) > 1 else 0.005
            begin, end = done.times_s[first] - half, done.times_s[last] + half
            for axis in axes[:, 0]:
                axis.axvspan(begin, end, ymin=0.96, ymax=1.0, color=style.COLOURS[4], linewidth=0)
    style.label(bottom, x="time (s)")
    return drawn


def _masked(model: Mockingjay, feats: torch.Tensor, utterance: Utterance, same_kind: bool) -> Reconstruction:
    r, F = model.downsample, feats.shape[-1]
    stacked = model.stack(feats)
    T = stacked.shape[1]
    lens = torch.full((_DRAWS,), T, device=feats.device)
    masked = model.mask(stacked.expand(_DRAWS, -1, -1).clone(), lens)
    zeroed = (masked.inputs == 0).all(-1) & (stacked != 0).any(-1)
    row = int(zeroed.any(1).float().argmax())
    inputs = masked.inputs[row : row + 1]
    given = inputs.reshape(1, T * r, F)
    output = model.reconstruct(model.hidden_states(given, None)[-1]).float()
    same_kind = same_kind and model.target_dim == F
    made = output.reshape(T * r, model.target_dim).cpu().numpy()
    times_s, target = utterance.times_s[: T * r], utterance.feats[: T * r]
    hidden = zeroed[row].repeat_interleave(r).cpu().numpy()
    panels = [
        Panel("input", target, times_s),
        Panel(f"masked: {100 * hidden.mean():.0f} % of the frames are 0", given[0].cpu().numpy(), times_s),
        Panel("reconstruction", made, times_s, same_kind),
    ]
    if not same_kind:
        return Reconstruction(panels, times_s, hidden=hidden)
    errors = {
        "reconstruction": np.where(hidden, np.abs(made - target).mean(-1), np.nan),
        "predicting 0": np.where(hidden, np.abs(target).mean(-1), np.nan),
    }
    return Reconstruction(panels, times_s, errors, hidden)


def _predicted(model: Predictive, feats: torch.Tensor, utterance: Utterance) -> Reconstruction:
    n = model.config.time_shift
    made = model.predict(feats[:, :-n]).float()[0].cpu().numpy()
    before, target = utterance.feats[:-n], utterance.feats[n:]
    seen_s, later_s = utterance.times_s[:-n], utterance.times_s[n:]
    shift = f"{n} frames, {n * model.meta.frame_shift_ms:g} ms"
    panels = [
        Panel("input", before, seen_s),
        Panel(f"target: the input {shift} later", target, later_s),
        Panel("prediction, at the time it speaks of", made, later_s),
    ]
    errors = {
        "prediction": np.abs(made - target).mean(-1).astype(np.float64),
        "repeating the input": np.abs(before - target).mean(-1).astype(np.float64),
    }
    return Reconstruction(panels, later_s, errors)


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(first), int(stop) - 1) for first, stop in edges.reshape(-1, 2)]
