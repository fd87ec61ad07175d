"""What every front end is: a function from samples to frames that knows its own numbers."""

import math
from typing import Any

import numpy as np

from speechrep.errors import InputError


class FrontEnd:
    """Samples to features. A front end sets the attributes and says ``num_frames`` and ``compute``.

    Args:
        config: its frozen dataclass of options, kept as :attr:`config`.
    """

    dim: int
    """Values per frame."""
    sample_rate: int
    """Hz."""
    frame_shift_ms: float
    """From one frame to the next: whole samples, so not quite the option's at 22.05 kHz."""

    def __init__(self, config: Any):
        for name, value in vars(config).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"{name.replace('_', '-')} is {value}, want a number")
        self.config = config

    def num_frames(self, num_samples: int) -> int:
        """How many frames so many samples, at :attr:`sample_rate`, give."""
        raise NotImplementedError

    def compute(self, samples: np.ndarray) -> np.ndarray:
        """Features float32 (T, D) of float32 samples (N,) that give at least one frame."""
        raise NotImplementedError

    def __call__(self, samples: np.ndarray, rate: int) -> np.ndarray:
        """Features of an utterance.

        Args:
            samples: float32 (N,) in [-1, 1].
            rate: their sample rate, Hz.

        Returns:
            float32 (T, D).

        Raises:
            InputError: another rate than the configuration's, unless that allows resampling; too few samples.
        """
        if rate != self.sample_rate:
            samples = self._resample(samples, rate)
        if not self.num_frames(len(samples)):
            raise InputError(f"{len(samples)} samples are too few for one frame")
        return self.compute(samples)

    def _resample(self, samples: np.ndarray, rate: int) -> np.ndarray:
        option = "allow_downsample" if rate > self.sample_rate else "allow_upsample"
        if not getattr(self.config, option, False):
            flag = f"; extract_feats also takes --{option.replace('_', '-')} true"
            raise InputError(
                f"the sample rate is {rate} Hz, want {self.sample_rate} Hz",
                mend="resample the audio" + flag * hasattr(self.config, option),
            )
        import soxr  # here, because few runs need it

        return soxr.resample(samples, rate, self.sample_rate).astype(np.float32, copy=False)


def unit_norm(feats: np.ndarray, kind: str) -> np.ndarray:
    """Features (T, D) with mean 0 and, over T - 1 frames, deviation 1 in each dimension.

    Args:
        feats: float32.
        kind: ``"sample"``, or ``"none"`` to leave them.

    Raises:
        InputError: fewer than two frames have no such deviation.
    """
    if kind == "none":
        return feats
    if len(feats) < 2:
        raise InputError("one frame cannot be normalised")
    wide = feats.astype(np.float64)
    return ((wide - wide.mean(axis=0)) / (wide.std(axis=0, ddof=1) + 1e-10)).astype(np.float32)
