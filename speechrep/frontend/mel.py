"""Log mel spectrograms: Mockingjay's (librosa's filters) and S3PRL's (torchaudio's)."""

import dataclasses

import numpy as np

from speechrep.config import opt
from speechrep.errors import InputError
from speechrep.frontend import fourier
from speechrep.frontend.filters import FilterBank
from speechrep.frontend.stft import Spectrogram, StftConfig

# Measured on real speech: error of a transform in float32, relative to the spectrum's root mean square.
_ROUNDING = np.float32(1.2e-7)
# A frame is transformed in float64 if a feature's expected error is higher; the greatest is five times that.
_TOLERANCE = np.float32(1.5e-5)
_BREAK_HZ, _BREAK_MEL, _LOG_STEP = 1000.0, 15.0, np.log(6.4) / 27.0  # of Slaney's scale, linear below 1 kHz


@dataclasses.dataclass(frozen=True)
class MelConfig(StftConfig):
    """Options of the log mel spectrogram."""

    num_mel_bins: int = opt(80, "mel filters")
    low_freq: float = opt(0.0, "lowest frequency of the filters, Hz")
    high_freq: float = opt(0.0, "highest frequency of the filters, Hz; 0: half the sample rate")
    mel_scale: str = opt("slaney", "mel scale", ("slaney", "htk"))
    mel_norm: str = opt("slaney", "'slaney' gives every filter the same area", ("slaney", "none"))
    log_offset: float = opt(1e-6, "added before the logarithm is taken")


class Mel(Spectrogram):
    """``ln(mel power + log_offset)``, (T, num_mel_bins), and its delta if the options say so."""

    def __init__(self, config: MelConfig):
        super().__init__(config)
        weights = filters(config)
        self._filters = FilterBank(fourier.over_squares(weights, config.fft_length))
        self._peaks = weights.max(axis=0)
        self.static_dim = config.num_mel_bins

    def from_frames(self, frames: np.ndarray, room: np.ndarray) -> np.ndarray:
        """See :class:`Spectrogram`."""
        mel = self._filters.apply(self.squares(frames, room))
        rows = np.flatnonzero(self._is_coarse(room[0, :, : self._length], mel))
        if len(rows):
            exact = self.squares(frames[rows].astype(np.float64), np.zeros((2, len(rows), room.shape[2])))
            mel[rows] = self._filters.apply(exact.astype(np.float32))
        mel += np.float32(self.config.log_offset)
        return np.log(mel, out=mel)

    def _is_coarse(self, frames: np.ndarray, mel: np.ndarray) -> np.ndarray:
        """Whether float32 is too coarse for a frame, bool (B,): a filter's output is weak beside all of it.

        Rounding adds to each bin X about ``_ROUNDING`` times the root of the mean power, which is the energy
        of the frame under the window. That changes the power by up to 2 |X| times as much, and a filter's
        output m, whose highest weight is w, by twice the root of w m times as much.
        """
        energy = np.einsum("bn,bn->b", frames, frames)
        change = np.sqrt(self._peaks * mel)
        change *= (2 * _ROUNDING * np.sqrt(energy))[:, None]
        return (change > _TOLERANCE * (mel + np.float32(self.config.log_offset))).any(axis=1)


def filters(config: MelConfig) -> np.ndarray:
    """The triangular filters, float32 (fft_length / 2 + 1, num_mel_bins), linear in Hz.

    Raises:
        InputError: the filters' range is not within 0 to half the sample rate.
    """
    high = config.high_freq or config.sample_frequency / 2
    if not 0 <= config.low_freq < high <= config.sample_frequency / 2 or config.num_mel_bins < 1:
        raise InputError(f"{config.num_mel_bins} mel bins from {config.low_freq} to {high} Hz")
    edges = edges_hz(config.mel_scale, config.low_freq, high, config.num_mel_bins)
    bins = np.linspace(0, config.sample_frequency / 2, config.fft_length // 2 + 1)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    weights = np.maximum(0, np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)))
    if config.mel_norm == "slaney":
        weights *= 2 / (right - left)
    return weights.astype(np.float32)


def edges_hz(mel_scale: str, low: float, high: float, num_mel_bins: int) -> np.ndarray:
    """(num_mel_bins + 2,) Hz, equally far apart on a scale: filter k rises from edge k to its centre, edge
    k + 1, and falls to edge k + 2. Kaldi's filters have those of the scale "htk".
    """
    to_mel, to_hz = (_to_mel_htk, _to_hz_htk) if mel_scale == "htk" else (_to_mel_slaney, _to_hz_slaney)
    low_mel, high_mel = to_mel(np.array([low, high]))
    return to_hz(np.linspace(low_mel, high_mel, num_mel_bins + 2))


def _to_mel_htk(hz: np.ndarray) -> np.ndarray:
    return 2595 * np.log10(1 + hz / 700)


def _to_hz_htk(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)


def _to_mel_slaney(hz: np.ndarray) -> np.ndarray:
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz * _BREAK_MEL / _BREAK_HZ, above)


def _to_hz_slaney(mel: np.ndarray) -> np.ndarray:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, mel * _BREAK_HZ / _BREAK_MEL, above)
