"""Linear-frequency spectrograms: Mockingjay's in scaled decibels and S3PRL's log power."""

import dataclasses

import numpy as np

from speechrep.config import opt
from speechrep.frontend import fourier
from speechrep.frontend.stft import Spectrogram, StftConfig

_FLOOR_DB, _REFERENCE_DB = -100.0, 20.0  # Mockingjay's range: -80 dB to 20 dB becomes 0 to 1


@dataclasses.dataclass(frozen=True)
class LinearConfig(StftConfig):
    """Options of the linear spectrogram."""

    scale: str = opt("db", "'db': decibels mapped to 0..1; 'log': log of the power", ("db", "log"))
    log_offset: float = opt(1e-10, "added to the power before the logarithm of scale 'log'")


class Linear(Spectrogram):
    """Spectrogram with fft_length / 2 + 1 values per frame."""

    precision = np.float64

    def __init__(self, config: LinearConfig):
        super().__init__(config)
        self.static_dim = config.fft_length // 2 + 1

    def from_frames(self, frames: np.ndarray, room: np.ndarray) -> np.ndarray:
        """See :class:`Spectrogram`."""
        power = fourier.power(self.squares(frames, room))
        if self.config.scale == "log":
            power += self.config.log_offset
            return np.log(power, out=power)
        # 20 log10(max(1e-5, magnitude)), by the power.
        np.maximum(power, 1e-10, out=power)
        np.log10(power, out=power)
        power *= -10.0 / _FLOOR_DB
        power += (_FLOOR_DB + _REFERENCE_DB) / _FLOOR_DB
        return np.clip(power, 0, 1, out=power)
