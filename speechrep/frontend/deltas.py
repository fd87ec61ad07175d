"""Deltas: the slope of features over time, as Kaldi's ``add-deltas`` takes it."""

import numpy as np


def add_deltas(feats: np.ndarray, order: int, window: int) -> np.ndarray:
    """Append deltas, deltas of deltas and so on, the first and last frame repeated beyond the ends.

    Args:
        feats: float32 (T, D).
        order: how many orders.
        window: frames on each side of the regression.

    Returns:
        float32 (T, D * (order + 1)): ``[feats, deltas, ...]``.
    """
    slope = np.arange(-window, window + 1, dtype=np.float64)
    slope /= np.sum(slope**2)
    taps, orders = np.ones(1), [feats]
    for _ in range(order):
        taps = np.convolve(taps, slope)
        reach = len(taps) // 2
        padded = np.pad(feats, ((reach, reach), (0, 0)), mode="edge")
        delta = np.zeros_like(feats)
        for place, tap in enumerate(taps):
            if tap:
                delta += np.float32(tap) * padded[place : place + len(feats)]
        orders.append(delta)
    return np.concatenate(orders, axis=1)
