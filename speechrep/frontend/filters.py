"""Applying a bank of narrow filters to spectra: matrix products without the zeros."""

import numpy as np

_WIDTH = 8  # filters taken together: more multiply more zeros, fewer leave a processor's vectors half empty


class FilterBank:
    """Filters whose weights lie in a narrow band each, in rising order.

    Args:
        weights: float32 (K, bins).
    """

    def __init__(self, weights: np.ndarray):
        self.weights = weights
        self._parts: list[tuple[slice, slice, np.ndarray]] = []
        for first in range(0, weights.shape[1], _WIDTH):
            columns = slice(first, min(first + _WIDTH, weights.shape[1]))
            used = np.flatnonzero(weights[:, columns].any(axis=1))
            rows = slice(used[0], used[-1] + 1) if len(used) else slice(0, 1)
            self._parts.append((rows, columns, np.ascontiguousarray(weights[rows, columns])))

    def apply(self, spectra: np.ndarray) -> np.ndarray:
        """The filters' output, float32 (B, bins), for spectra (B, K)."""
        out = np.empty((len(spectra), self.weights.shape[1]), self.weights.dtype)
        for rows, columns, part in self._parts:
            np.matmul(spectra[:, rows], part, out=out[:, columns])
        return out
