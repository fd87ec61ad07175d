"""Speaker verification: equal error rate and minimum detection cost of scored pairs."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from speechrep.errors import InputError

TARGET_PRIOR = 0.01  # of the detection cost; misses and false alarms cost 1 each


class Detection(NamedTuple):
    """What a threshold on scores can reach."""

    eer: float
    """Percent: where misses and false alarms are equally frequent."""
    min_dcf: float
    """Lowest detection cost, divided by that of always saying the likelier."""


class Curve:
    """Misses and false alarms at every threshold; pairs may be weighted anew without sorting again.

    Args:
        scores: (N,) higher is more alike.
        same: (N,) whether the speaker is the same.

    Raises:
        InputError: no pair of the same speaker, or none of different ones.
    """

    def __init__(self, scores: NDArray, same: NDArray[np.bool_]):
        if not same.any() or same.all():
            raise InputError(f"{int(same.sum())} of {len(same)} pairs are of one speaker; want some, not all")
        self.order = np.argsort(scores, kind="stable")
        ranked = scores[self.order]
        self._same = same[self.order]
        # Pairs of equal score fall on the same side of every threshold.
        self._last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)

    def detection(self, weights: NDArray | None = None, prior: float = TARGET_PRIOR) -> Detection:
        """The figures, each pair counting ``weights`` times.

        Args:
            weights: (N,), in the order of the scores given; None for 1.
            prior: probability of a pair of one speaker, for the cost.
        """
        counts = np.ones(len(self._same)) if weights is None else weights[self.order].astype(np.float64)
        below_same = np.append(0, np.cumsum(counts * self._same)[self._last])
        below_other = np.append(0, np.cumsum(counts * ~self._same)[self._last])
        if not (below_same[-1] and below_other[-1]):
            return Detection(float("nan"), float("nan"))
        misses = below_same / below_same[-1]
        alarms = 1 - below_other / below_other[-1]
        costs = prior * misses + (1 - prior) * alarms
        return Detection(100 * _crossing(misses, alarms), float(costs.min() / min(prior, 1 - prior)))


def _crossing(misses: NDArray, alarms: NDArray) -> float:
    """Where the rising misses meet the falling alarms, on the line between the two nearest thresholds."""
    after = int(np.argmax(misses >= alarms))
    if after == 0:
        return float(misses[0])
    gap_before = alarms[after - 1] - misses[after - 1]
    gap_after = misses[after] - alarms[after]
    share = gap_before / (gap_before + gap_after)
    return float(misses[after - 1] + share * (misses[after] - misses[after - 1]))
