"""Speaker verification: cosines of pairs, their equal error rate and minimum detection cost."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from speechrep.errors import InputError
from speechrep.progress import Progress
from speechrep.score.bootstrap import percentiles
from speechrep.score.results import Figure

TARGET_PRIOR = 0.01  # of a pair of one speaker, in the detection cost; misses and false alarms cost 1 each


class Detection(NamedTuple):
    """What a threshold on scores can reach."""

    eer: float
    """Percent: where misses and false alarms are equally frequent."""
    min_dcf: float
    """Lowest detection cost, divided by that of always saying the likelier."""


def cosines(vectors: NDArray, first: NDArray, second: NDArray, block: int = 4096) -> NDArray:
    """Cosines of some pairs; never are more than ``block`` pairs of vectors in memory.

    Args:
        vectors: (U, D) of length 1.
        first: (N,) rows.
        second: (N,) rows, those that the first ones are paired with.
        block: pairs at once.

    Returns:
        (N,)
    """
    parts = (slice(i, i + block) for i in range(0, len(first), block))
    return np.concatenate([np.einsum("nd,nd->n", vectors[first[i]], vectors[second[i]]) for i in parts])


def all_cosines(vectors: NDArray, block: int = 64) -> NDArray:
    """Cosines of all pairs, by blocks of rows; the values of :func:`cosines`, four times as fast.

    A BLAS product would be faster still, but may score the copies of one utterance apart, in the last digit.

    Args:
        vectors: (U, D) of length 1.
        block: rows at once; each is held with the cosines to all that follow.

    Returns:
        (U (U - 1) / 2,) in the order of ``np.triu_indices(U, 1)``.
    """
    upper = []
    for i in range(0, len(vectors), block):
        products = np.einsum("id,jd->ij", vectors[i : i + block], vectors[i:])
        upper.append(products[np.triu_indices(len(products), 1, products.shape[1])])
    return np.concatenate(upper)


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
        order = np.argsort(scores, kind="stable")
        ranked, told = scores[order], same[order]
        self._same, self._other = order[told], order[~told]
        # Pairs of equal score fall on the same side of every threshold.
        below = np.append(np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1])), len(ranked))
        below_same = np.append(0, np.cumsum(told))[below]
        # Along thresholds that miss the same pairs alarms only fall: the first and the last of such a run
        # decide, whatever the weights, and most of millions need no second look.
        rises = np.diff(below_same) > 0
        kept = np.append(True, rises) | np.append(rises, True)
        self._below_same, self._below_other = below_same[kept], (below - below_same)[kept]

    def detection(self, weights: NDArray | None = None) -> Detection:
        """The figures, each pair counting ``weights`` times.

        Args:
            weights: (N,), in the order of the scores given; None for 1.
        """
        below_same, below_other = self._below_same, self._below_other
        if weights is not None:
            below_same = np.append(0.0, np.cumsum(weights[self._same]))[below_same]
            below_other = np.append(0.0, np.cumsum(weights[self._other]))[below_other]
        if not (below_same[-1] and below_other[-1]):
            return Detection(float("nan"), float("nan"))
        misses = below_same / below_same[-1]
        alarms = 1 - below_other / below_other[-1]
        costs = TARGET_PRIOR * misses + (1 - TARGET_PRIOR) * alarms
        return Detection(100 * _crossing(misses, alarms), float(costs.min() / TARGET_PRIOR))

    def figures(self, first: NDArray, second: NDArray, num_utts: int, replications: int) -> dict[str, Figure]:
        """The figures with their 95 % intervals, by drawing utterances again.

        Args:
            first: (N,) the first utterance of each pair, from 0.
            second: (N,) the other one.
            num_utts: U, how many utterances there are.
            replications: how often U of them are drawn; a pair counts once for each time that both were.
        """
        rng = np.random.default_rng(0)
        drawn = []
        for _ in Progress(replications, "draws").over(range(replications)):
            times = np.bincount(rng.integers(num_utts, size=num_utts), minlength=num_utts)
            drawn.append(self.detection(times[first] * times[second]))
        return {
            metric: Figure(value, percentiles(values), num_utts, "lower")
            for metric, value, values in zip(
                Detection._fields, self.detection(), np.array(drawn).T, strict=True
            )
        }


def _crossing(misses: NDArray, alarms: NDArray) -> float:
    """Where the rising misses meet the falling alarms, on the line between the two nearest thresholds."""
    after = int(np.argmax(misses >= alarms))
    if after == 0:
        return float(misses[0])
    gap_before = alarms[after - 1] - misses[after - 1]
    gap_after = misses[after] - alarms[after]
    share = gap_before / (gap_before + gap_after)
    return float(misses[after - 1] + share * (misses[after] - misses[after - 1]))
