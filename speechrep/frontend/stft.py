"""What the mel and linear spectrograms of Mockingjay and S3PRL share: a centred Fourier transform.

Frames lie around multiples of the shift, the audio's ends are mirrored, and the Hann window is the periodic
one: librosa's and torch's conventions, not Kaldi's (:mod:`speechrep.frontend.kaldi`).
"""

import dataclasses

import numpy as np

from speechrep.config import opt
from speechrep.errors import InputError
from speechrep.frontend import fourier
from speechrep.frontend.base import FrontEnd, unit_norm
from speechrep.frontend.deltas import add_savgol_delta

# Of float32 frames worked on at a time, so that they and their spectra stay in the cache.
_BLOCK_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class StftConfig:
    """Options of the spectrograms."""

    sample_frequency: float = opt(16000.0, "sample rate of the audio, Hz; another one is an error")
    allow_downsample: bool = opt(False, "resample (soxr) audio of a higher rate")
    allow_upsample: bool = opt(False, "resample (soxr) audio of a lower rate")
    target_level: float = opt(0.0, "scale each utterance to this level, dB (negative); 0 leaves it as it is")
    preemphasis_coefficient: float = opt(0.0, "how much of the previous sample is subtracted")
    frame_length: float = opt(50.0, "length of the Hann window, ms")
    frame_shift: float = opt(12.5, "from one frame to the next, ms")
    fft_length: int = opt(2048, "length of the Fourier transform, samples; the frame is padded with zeros")
    padding: str = opt(
        "reflect", "what lies beyond the ends: the audio mirrored, or zeros", ("reflect", "constant")
    )
    delta_order: int = opt(0, "1 appends the slope over 9 frames, as librosa.feature.delta", (0, 1))
    unit_norm: str = opt(
        "none",
        "normalise each utterance here and not when reading; 'sample' is S3PRL's: deviation over T - 1",
        ("none", "sample"),
    )


class Spectrogram(FrontEnd):
    """A front end on power spectra; a subclass sets ``static_dim`` and says ``from_frames``."""

    static_dim: int
    precision: type[np.floating] = np.float32
    """Of the frames. What takes the logarithm of single weak bins needs float64."""

    def __init__(self, config: StftConfig):
        super().__init__(config)
        rate = config.sample_frequency
        self._length = round(config.frame_length * rate / 1000)
        self._shift = round(config.frame_shift * rate / 1000)
        if self._shift < 1 or not 2 <= self._length <= config.fft_length:
            raise InputError(
                f"frames of {self._length} samples every {self._shift}, transform of {config.fft_length}; "
                "want shift 1 or more and 2 <= frame <= transform"
            )
        if config.fft_length % 2:
            raise InputError(f"fft-length is {config.fft_length}, want an even number")
        angle = 2 * np.pi * np.arange(self._length) / self._length
        self._window = 0.5 - 0.5 * np.cos(angle)
        self.sample_rate = int(rate)
        self.frame_shift_ms = 1000 * self._shift / rate

    @property
    def dim(self) -> int:
        """Values per frame."""
        return self.static_dim * (self.config.delta_order + 1)

    def from_frames(self, frames: np.ndarray, room: np.ndarray) -> np.ndarray:
        """Features (B, static_dim) of frames (B, frame length), by :meth:`squares` in this room."""
        raise NotImplementedError

    def squares(self, frames: np.ndarray, room: np.ndarray) -> np.ndarray:
        """Squared spectra (B, fft_length) in the layout of :mod:`speechrep.frontend.fourier`.

        Args:
            frames: (B, frame length), as they are cut.
            room: (2, B, fft_length) of the same type, the first half zeros beyond the frame length. It then
                holds the frames under the window and what is returned.
        """
        np.multiply(frames, self._window.astype(frames.dtype), out=room[0, :, : self._length])
        return fourier.squares(room[0], room[1])

    def num_frames(self, num_samples: int) -> int:
        """See :class:`FrontEnd`."""
        return 1 + num_samples // self._shift if num_samples else 0

    def compute(self, samples: np.ndarray) -> np.ndarray:
        """See :class:`FrontEnd`."""
        feats = np.empty((self.num_frames(len(samples)), self.static_dim), np.float32)
        frames = self._frames(samples)
        size = max(8, _BLOCK_BYTES // (4 * self.config.fft_length))
        room = np.zeros((2, size, self.config.fft_length), self.precision)
        for start in range(0, len(feats), size):
            part = frames[start : min(start + size, len(feats))]
            feats[start : start + len(part)] = self.from_frames(part, room[:, : len(part)])
        if self.config.delta_order:
            feats = add_savgol_delta(feats)
        return unit_norm(feats, self.config.unit_norm)

    def _frames(self, samples: np.ndarray) -> np.ndarray:
        """The frames of the samples, (T or more, frame length)."""
        config, length = self.config, self._length
        # Rounding after these would be more of a weak filter's output than rounding within the transform.
        is_changed = config.target_level or config.preemphasis_coefficient
        samples = samples.astype(np.float64 if is_changed else self.precision, copy=False)
        if config.target_level:
            rms = np.sqrt(np.mean(np.square(samples), dtype=np.float64))
            samples = samples * (10 ** (config.target_level / 20) / (rms + 1e-10))
        if config.preemphasis_coefficient:
            emphasised = samples.copy()
            emphasised[1:] -= config.preemphasis_coefficient * samples[:-1]
            samples = emphasised
        # The window fills the middle of the transform only. Where it lies there changes the phase, not the
        # power, so no more than the window needs to be framed. The middle is at t shifts; a window of an odd
        # number of samples has the greater part before it, as torch and librosa have it.
        half = (length + 1) // 2
        mode = config.padding if len(samples) > 1 else "constant"
        padded = np.pad(samples, (half, length - half), mode=mode)
        return np.lib.stride_tricks.sliding_window_view(padded, length)[:: self._shift]
