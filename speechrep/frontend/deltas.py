"""Deltas: the slope of features over time, by Kaldi's, torchaudio's and librosa's conventions."""

import cv2
import numpy as np

from speechrep.errors import InputError

_SAVGOL_REACH = 4  # frames on each side that librosa's delta looks at


def add_deltas(feats: np.ndarray, order: int, window: int, *, chained: bool = False) -> np.ndarray:
    """Append deltas, deltas of deltas and so on, the first and last frame repeated beyond the ends.

    Args:
        feats: float32 (T, D).
        order: how many orders.
        window: frames on each side of the regression.
        chained: whether an order is the delta of the one before, itself with its ends repeated (torchaudio);
            otherwise its filter is the one before convolved with the first (Kaldi). They differ at the ends.

    Returns:
        float32 (T, D * (order + 1)): ``[feats, deltas, ...]``.
    """
    slope = np.arange(-window, window + 1, dtype=np.float64)
    slope /= np.sum(slope**2)
    taps, orders = np.ones(1), [feats]
    for _ in range(order):
        taps = slope if chained else np.convolve(taps, slope)
        orders.append(_filter(orders[-1] if chained else feats, taps))
    return np.concatenate(orders, axis=1)


def add_savgol_delta(feats: np.ndarray) -> np.ndarray:
    """Append the slope of a line through 9 frames; the outer 4 frames have that of the outermost whole 9.

    Args:
        feats: float32 (T, D).

    Returns:
        float32 (T, 2 D).

    Raises:
        InputError: fewer than 9 frames.
    """
    reach = _SAVGOL_REACH
    if len(feats) < 2 * reach + 1:
        raise InputError(f"{len(feats)} frames are too few for deltas over {2 * reach + 1}")
    slope = np.arange(-reach, reach + 1, dtype=np.float64)
    delta = _filter(feats, slope / np.sum(slope**2))
    delta[:reach], delta[-reach:] = delta[reach], delta[-reach - 1]
    return np.concatenate([feats, delta], axis=1)


def _filter(feats: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Filter over time, the first and last frame repeated beyond the ends."""
    return cv2.filter2D(feats, -1, taps.astype(np.float32)[:, None], borderType=cv2.BORDER_REPLICATE)
