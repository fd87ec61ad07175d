"""The axes of spectrograms: what a feature's columns mean in Hz, and its frames in seconds."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from speechrep.frontend.mel import edges_hz
from speechrep.io.feature_meta import FeatureMeta
from speechrep.report import style

_FILTERS = ("num_mel_bins", "low_freq", "high_freq")
_NEEDED = {"fbank": _FILTERS, "mel": (*_FILTERS, "mel_scale"), "linear": ("fft_length",)}
_ROUND_HZ = np.array([100, 250, 500, 1000, 2000, 4000, 8000, 16000])


class Channels(NamedTuple):
    """Which columns of a feature to show, and the frequencies they stand for."""

    columns: slice
    """Without deltas and energy."""
    hz: NDArray[np.float64] | None
    """Centre of each of them; None where they have none or it is not known."""


def channels(meta: FeatureMeta) -> Channels:
    """What to show of a feature."""
    config = meta.config
    everything = Channels(slice(0, meta.dim), None)
    needed = _NEEDED.get(meta.feature)
    if meta.upstream or not needed or not {"sample_frequency", *needed} <= config.keys():
        return everything
    if config.get("vtln_warp", 1.0) != 1.0:  # moves every filter
        return everything
    static = meta.dim // (1 + int(config.get("delta_order", 0)))
    if meta.feature == "linear":
        hz = np.linspace(0, config["sample_frequency"] / 2, int(config["fft_length"]) // 2 + 1)
    else:
        hz = mel_centres(meta.feature, config)
    # Kaldi puts the energy first, HTK last.
    first = int(bool(config.get("use_energy")) and not config.get("htk_compat"))
    if first + len(hz) > static:  # not the features that the configuration tells of
        return everything
    return Channels(slice(first, first + len(hz)), hz)


def mel_centres(feature: str, config: dict) -> NDArray[np.float64]:
    """The centre frequencies of mel filters, Hz.

    Args:
        feature: "fbank" (Kaldi's filters) or "mel".
        config: all of the front end's options.
    """
    nyquist, high = config["sample_frequency"] / 2, config["high_freq"]
    if high <= 0:  # it counts from there
        high = nyquist + high
    scale = "htk" if feature == "fbank" else config["mel_scale"]
    return edges_hz(scale, config["low_freq"], high, config["num_mel_bins"])[1:-1]


def show_frames(
    axis: Axes,
    feats: NDArray,
    times_s: NDArray,
    shown: Channels | None,
    *,
    limits: tuple[float, float],
    colours: str = style.SEQUENTIAL,
) -> AxesImage:
    """Draw frames over time.

    Args:
        axis: where.
        feats: (T, F); NaN is left white.
        times_s: (T,) centres of the frames.
        shown: of :func:`channels`; None where a column is just a number.
        limits: values of the first and last colour.
        colours: matplotlib's name of the colour map.
    """
    kept = feats if shown is None else feats[:, shown.columns]
    step = (times_s[-1] - times_s[0]) / max(1, len(times_s) - 1) or 0.01
    extent = (times_s[0] - step / 2, times_s[-1] + step / 2, -0.5, kept.shape[1] - 0.5)
    image = axis.imshow(
        kept.T, aspect="auto", origin="lower", interpolation="nearest", cmap=colours, extent=extent,
        vmin=limits[0], vmax=limits[1],
    )  # fmt: skip
    if shown is not None and shown.hz is not None:
        ticks = _ROUND_HZ[(shown.hz[0] <= _ROUND_HZ) & (shown.hz[-1] * 1.03 >= _ROUND_HZ)]
        places = np.interp(ticks, shown.hz, np.arange(len(shown.hz)))
        # The lowest may stand too close to be read.
        apart = np.append(np.diff(places) > 0.07 * len(shown.hz), True)
        axis.set_yticks(places[apart], [str(hz) for hz in ticks[apart]])
        style.label(axis, y="Hz")
    else:
        style.label(axis, y="channel")
    return image


def limits_of(*feats: NDArray) -> tuple[float, float]:
    """The 1st and 99th percentile of all values: limits that one outlier does not stretch."""
    values = np.concatenate([part[np.isfinite(part)] for part in feats])
    if not len(values):
        return 0.0, 1.0
    low, high = np.percentile(values, [1, 99])
    return float(low), float(high) if high > low else float(low) + 1


def symmetric_limits(feats: NDArray) -> tuple[float, float]:
    """Limits around 0 that hold 99 % of the values."""
    high = float(np.percentile(np.abs(feats), 99)) if feats.size else 1.0
    return -(high or 1.0), high or 1.0
