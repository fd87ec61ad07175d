"""Power spectra of many frames at once, in the order in which OpenCV's Fourier transform lays them out.

That transform takes about half of scipy's time (``benchmarks/features.py``).
It puts the N real numbers that a spectrum consists of side by side: bin 0, then the real and the imaginary
part of bin 1, of bin 2 and so on; for an even N the last is bin N / 2, which is real as bin 0 is.
"""

import cv2
import numpy as np


def squares(frames: np.ndarray, out: np.ndarray) -> np.ndarray:
    """The square of each real and each imaginary part of the frames' spectra.

    Args:
        frames: float32 or float64 (B, N), contiguous.
        out: where they go, of the same shape and type.

    Returns:
        ``out``.
    """
    cv2.dft(frames, out, flags=cv2.DFT_ROWS)
    return np.square(out, out=out)


def power(parts: np.ndarray) -> np.ndarray:
    """Power spectra (B, N // 2 + 1) of what :func:`squares` gives, (B, N)."""
    length = parts.shape[1]
    sums = np.empty((len(parts), length // 2 + 1), parts.dtype)
    sums[:, 0] = parts[:, 0]
    sums[:, length // 2] = parts[:, -1]
    pairs = parts[:, 1 : length - (length + 1) % 2]
    np.add(pairs[:, ::2], pairs[:, 1::2], out=sums[:, 1 : (length + 1) // 2])
    return sums


def over_squares(weights: np.ndarray, length: int) -> np.ndarray:
    """Weights for what :func:`squares` gives, which amount to weights for the power.

    Args:
        weights: (K, D), of the first K bins; those of higher bins are 0.
        length: N.

    Returns:
        (N, D).
    """
    spread = np.zeros((length, weights.shape[1]), weights.dtype)
    bins = (np.arange(length) + 1) // 2
    known = bins < len(weights)
    spread[known] = weights[bins[known]]
    return spread
