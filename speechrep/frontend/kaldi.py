"""What Kaldi's fbank and MFCC share: framing, windows, spectra and mel filters, vectorised over frames.

Options carry Kaldi's names and defaults, but for ``dither``: 0 here, so that features can be made again.
Definitions are those of ``feature-window.cc`` and ``mel-computations.cc``.
"""

import dataclasses
import math
import zlib
from collections.abc import Iterator

import numpy as np

from speechrep.config import opt
from speechrep.errors import InputError
from speechrep.frontend import fourier
from speechrep.frontend.base import unit_norm
from speechrep.frontend.deltas import add_deltas

EPSILON = np.float32(1.1920929e-07)  # floor of what a logarithm is taken of
_BLOCK = 256  # frames worked on at a time, so that they stay in the cache


@dataclasses.dataclass(frozen=True)
class FrameConfig:
    """Kaldi's options of framing and of its mel filters."""

    sample_frequency: float = opt(16000.0, "sample rate of the audio, Hz; another one is an error")
    allow_downsample: bool = opt(False, "resample (soxr) audio of a higher rate")
    allow_upsample: bool = opt(False, "resample (soxr) audio of a lower rate")
    sample_scale: float = opt(
        32768.0, "what samples in [-1, 1] are multiplied by; Kaldi's are 16-bit integers"
    )
    frame_length: float = opt(25.0, "length of a frame, ms")
    frame_shift: float = opt(10.0, "from one frame to the next, ms")
    dither: float = opt(0.0, "standard deviation of noise added to the scaled samples; Kaldi's default is 1")
    preemphasis_coefficient: float = opt(0.97, "how much of the previous sample is subtracted")
    remove_dc_offset: bool = opt(True, "subtract the mean of each frame")
    window_type: str = opt(
        "povey", "window", ("povey", "hamming", "hanning", "rectangular", "sine", "blackman")
    )
    blackman_coeff: float = opt(0.42, "constant of the Blackman window")
    round_to_power_of_two: bool = opt(True, "pad frames with zeros to a power of two")
    snip_edges: bool = opt(True, "only frames that lie within the audio; if false, its ends are mirrored")
    max_feature_vectors: int = opt(-1, "Kaldi's memory bound for live audio; without effect here")
    num_mel_bins: int = opt(23, "mel filters")
    low_freq: float = opt(20.0, "lowest frequency of the filters, Hz")
    high_freq: float = opt(0.0, "highest frequency of the filters, Hz; up to 0: so far from half the rate")
    vtln_low: float = opt(100.0, "lower inflection point of the warping function, Hz")
    vtln_high: float = opt(-500.0, "upper inflection point, Hz; below 0: so far from half the rate")
    vtln_warp: float = opt(1.0, "vocal tract length warp factor; 1 is none")
    energy_floor: float = opt(0.0, "floor of the frame energy, 0 for none")
    raw_energy: bool = opt(True, "take the energy before pre-emphasis and window")
    htk_compat: bool = opt(False, "put the energy last, as HTK does")
    subtract_mean: bool = opt(False, "subtract the mean of each feature over the utterance")
    delta_order: int = opt(0, "how many orders of deltas to append, as add-deltas does")
    delta_window: int = opt(2, "frames on each side that a delta looks at")
    delta_chained: bool = opt(
        False, "repeat the edges of each order anew, as torchaudio does, not of all at once"
    )
    unit_norm: str = opt(
        "none",
        "normalise each utterance here and not when reading; 'sample' is S3PRL's: deviation over T - 1",
        ("none", "sample"),
    )

    @property
    def shift(self) -> int:
        """From one frame to the next, samples."""
        return int(self.sample_frequency * 0.001 * self.frame_shift)

    @property
    def length(self) -> int:
        """Length of a frame, samples."""
        return int(self.sample_frequency * 0.001 * self.frame_length)

    @property
    def padded_length(self) -> int:
        """Length of the Fourier transform, samples."""
        return 1 << (self.length - 1).bit_length() if self.round_to_power_of_two else self.length


class Spectrum:
    """Squared spectra and energies of frames.

    Args:
        config: the options.
    """

    def __init__(self, config: FrameConfig):
        if config.shift < 1 or config.length < 2:
            raise InputError(
                f"frame-length {config.frame_length} ms or frame-shift {config.frame_shift} ms is too short"
            )
        if config.delta_order < 0 or config.delta_window < 1:
            raise InputError(
                f"delta-order is {config.delta_order} and delta-window {config.delta_window}, "
                "want 0 or more and 1 or more"
            )
        self.config = config
        self.window = window(config)

    def num_frames(self, num_samples: int) -> int:
        """How many frames so many samples give."""
        config = self.config
        if not config.snip_edges:
            return (num_samples + config.shift // 2) // config.shift
        if num_samples < config.length:
            return 0
        return 1 + (num_samples - config.length) // config.shift

    def blocks(
        self, samples: np.ndarray, energy: bool
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
        """The spectra, a block of frames at a time.

        Args:
            samples: float32 (N,), in [-1, 1].
            energy: whether the energies are wanted.

        Yields:
            Index of the block's first frame; squared spectra (B, ``padded_length``) in the layout of
            :mod:`speechrep.frontend.fourier`; and the log energy (B,) or None. The arrays are used again for
            the next block.
        """
        config = self.config
        total, length, padded = self.num_frames(len(samples)), config.length, config.padded_length
        samples = self._prepare(samples, total)
        mean, square = self._sums(samples, total, energy and config.raw_energy)
        coefficient = np.float32(config.preemphasis_coefficient)
        frames = np.lib.stride_tricks.sliding_window_view(samples, length)[:: config.shift]
        centred = np.empty((_BLOCK, length), np.float32)
        block = np.zeros((_BLOCK, padded), np.float32)
        spectra = np.empty_like(block)
        for start in range(0, total, _BLOCK):
            stop = min(start + _BLOCK, total)
            part, plain = block[: stop - start, :length], centred[: stop - start]
            # Mean, then pre-emphasis, frame by frame: Kaldi's order, hence Kaldi's rounding.
            np.subtract(frames[start:stop], mean[start:stop, None], out=plain)
            np.multiply(plain[:, :-1], -coefficient, out=part[:, 1:])
            part[:, 1:] += plain[:, 1:]
            part[:, 0] = plain[:, 0] - coefficient * plain[:, 0]
            part *= self.window
            log_energy = None
            if energy:
                of = square[start:stop] if config.raw_energy else np.einsum("bn,bn->b", part, part)
                log_energy = np.log(np.maximum(of, EPSILON))
                if config.energy_floor > 0:
                    log_energy = np.maximum(log_energy, np.float32(np.log(config.energy_floor)))
            yield start, fourier.squares(block[: stop - start], spectra[: stop - start]), log_energy

    def _prepare(self, samples: np.ndarray, total: int) -> np.ndarray:
        """The scaled, dithered samples that the frames lie in, from the first frame's first sample on."""
        config = self.config
        scaled = samples.astype(np.float32, copy=False) * np.float32(config.sample_scale)
        if config.dither:
            # Noise that depends on the samples only: any number of jobs makes the same features.
            noise = np.random.default_rng(zlib.crc32(samples.tobytes()))
            scaled += np.float32(config.dither) * noise.standard_normal(len(scaled), np.float32)
        if config.snip_edges or not total:
            return scaled
        before = config.length // 2 - config.shift // 2
        after = max(0, (total - 1) * config.shift + config.length - before - len(scaled))
        return np.pad(scaled, (max(0, before), after), mode="symmetric")[max(0, -before) :]

    def _sums(self, samples: np.ndarray, total: int, square: bool) -> tuple[np.ndarray, np.ndarray]:
        """Mean to remove from each frame, and sum of squares after that if wanted; float32 (T,)."""
        config = self.config
        # Frames overlap: each is made of whole pieces, and a piece is summed once.
        piece = math.gcd(config.shift, config.length)
        pieces, step = config.length // piece, config.shift // piece

        def over_frames(values: np.ndarray) -> np.ndarray:
            count = len(values) // piece
            sums = values[: count * piece].reshape(count, piece).sum(axis=1, dtype=np.float64)
            return np.lib.stride_tricks.sliding_window_view(sums, pieces)[::step].sum(axis=1)[:total]

        sums = over_frames(samples) if config.remove_dc_offset else np.zeros(total)
        mean = sums / config.length
        energy = over_frames(np.square(samples)) - mean * sums if square else np.zeros(total)
        return mean.astype(np.float32), np.maximum(energy, 0.0).astype(np.float32)


def finish(feats: np.ndarray, config: FrameConfig) -> np.ndarray:
    """What the options do with the features of a whole utterance, float32 (T, D): mean, deltas, deviation."""
    if config.subtract_mean:
        feats = feats - feats.mean(axis=0, dtype=np.float64).astype(np.float32)
    if config.delta_order:
        feats = add_deltas(feats, config.delta_order, config.delta_window, chained=config.delta_chained)
    return unit_norm(feats, config.unit_norm)


def window(config: FrameConfig) -> np.ndarray:
    """The window, float32 (length,)."""
    angle = 2 * np.pi * np.arange(config.length) / (config.length - 1)
    shapes = {
        "hanning": 0.5 - 0.5 * np.cos(angle),
        "povey": (0.5 - 0.5 * np.cos(angle)) ** 0.85,
        "hamming": 0.54 - 0.46 * np.cos(angle),
        "sine": np.sin(0.5 * angle),
        "rectangular": np.ones(config.length),
        "blackman": config.blackman_coeff
        - 0.5 * np.cos(angle)
        + (0.5 - config.blackman_coeff) * np.cos(2 * angle),
    }
    return shapes[config.window_type].astype(np.float32)


def mel_filters(config: FrameConfig) -> np.ndarray:
    """The triangular filters, float32 (K, bins) over the Fourier bins below half the sample rate.

    Raises:
        InputError: frequencies out of range, or so many filters that one holds no Fourier bin.
    """
    nyquist = 0.5 * config.sample_frequency
    low = config.low_freq
    high = config.high_freq if config.high_freq > 0 else nyquist + config.high_freq
    if not 0 <= low < high <= nyquist or config.num_mel_bins < 3:
        raise InputError(
            f"{config.num_mel_bins} mel bins from {low} to {high} Hz; want 3 or more, of 0 to {nyquist} Hz"
        )
    edges = _mel(low) + (_mel(high) - _mel(low)) / (config.num_mel_bins + 1) * np.arange(
        config.num_mel_bins + 2
    )
    if config.vtln_warp != 1.0:
        edges = _mel(_warp(config, low, high, 700.0 * (np.exp(edges / 1127.0) - 1.0)))
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    bins = np.arange(config.padded_length // 2)[:, None] * (config.sample_frequency / config.padded_length)
    mel = _mel(bins)
    filters = np.minimum((mel - left) / (centre - left), (right - mel) / (right - centre))
    filters = np.maximum(filters, 0.0).astype(np.float32)
    empty = np.flatnonzero(~filters.any(axis=0))
    if len(empty):
        raise InputError(
            f"mel bin {empty[0]} of {config.num_mel_bins} holds no Fourier bin", mend="use fewer mel bins"
        )
    return filters


def _mel(frequency: np.ndarray | float) -> np.ndarray:
    return 1127.0 * np.log(1.0 + np.asarray(frequency) / 700.0)


def _warp(config: FrameConfig, low: float, high: float, frequency: np.ndarray) -> np.ndarray:
    """Kaldi's piecewise linear warping, the identity at both ends of the filters' range."""
    factor = config.vtln_warp
    inflection_high = config.vtln_high + (0.5 * config.sample_frequency if config.vtln_high < 0 else 0)
    lower = config.vtln_low * max(1.0, factor)
    upper = inflection_high * min(1.0, factor)
    if not (low < config.vtln_low and lower < upper < high):
        raise InputError(
            f"vtln-low {config.vtln_low} and vtln-high {config.vtln_high} do not fit the filters"
        )
    scaled_lower, scaled_upper = lower / factor, upper / factor
    knots = [low, lower, upper, high], [low, scaled_lower, scaled_upper, high]
    inside = np.interp(frequency, *knots)
    return np.where((frequency < low) | (frequency > high), frequency, inside)
