"""Confidence intervals by drawing utterances again, with replacement.

Frames of one utterance are far from independent, so utterances are what is drawn. The interval says how the
figure varies with the choice of utterances; it does not cover the choice of speakers or of seeds.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

REPLICATIONS = 1000
_AT_ONCE = 64  # replications per block, which bounds memory at many utterances


def ratio_interval(
    numerators: NDArray, denominators: NDArray, *, replications: int = REPLICATIONS, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval (percentiles) of ``sum(numerators) / sum(denominators)``.

    Args:
        numerators, denominators: (N,) per utterance, such as correct frames and frames.
        replications: how often N utterances are drawn.
        seed: of the drawing; two systems scored with one seed see the same draws.
    """
    counts = np.stack([numerators, denominators]).astype(np.float64)
    rates = np.empty(replications)
    for begin, times in _draws(counts.shape[1], replications, seed):
        top, bottom = counts @ times.T
        # A draw of nothing to score has no rate; it is left out.
        with np.errstate(invalid="ignore"):
            rates[begin : begin + len(times)] = top / bottom
    return percentiles(rates)


def interval(
    metric: Callable[[NDArray], float], num_utts: int, *, replications: int = REPLICATIONS, seed: int = 0
) -> tuple[float, float]:
    """The same for a metric that is no ratio of sums (F1, correlation, equal error rate).

    Args:
        metric: takes (N,) indices of the drawn utterances.
        num_utts: N.
        replications, seed: as for :func:`ratio_interval`.
    """
    rng = np.random.default_rng(seed)
    return percentiles(np.array([metric(rng.integers(num_utts, size=num_utts)) for _ in range(replications)]))


def _draws(num_utts: int, replications: int, seed: int):
    """Blocks of (how often each utterance is drawn), each with the number of its first replication."""
    rng = np.random.default_rng(seed)
    for begin in range(0, replications, _AT_ONCE):
        rows = min(_AT_ONCE, replications - begin)
        drawn = rng.integers(num_utts, size=(rows, num_utts)) + num_utts * np.arange(rows)[:, None]
        yield begin, np.bincount(drawn.ravel(), minlength=rows * num_utts).reshape(rows, num_utts)


def percentiles(values: NDArray) -> tuple[float, float]:
    """The 95 % interval of a figure's values over the draws, (D,); NaN, of a draw without any, left out."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)
