"""CTC prefix beam search: the most probable unit sequences, summed over their alignments.

Graves (2012), "Supervised sequence labelling with recurrent neural networks", section 7.5.2; Hannun et al.
(2014). Every kept prefix carries the log probability of its alignments that end in blank and that do not.
"""

import numpy as np
from numpy.typing import NDArray

from speechrep.decode.hypothesis import Hypothesis
from speechrep.text.tokenizer import BLANK_ID

_IMPOSSIBLE = -np.inf


def prefix_beam(
    log_probs: NDArray[np.floating], beam: int, nbest: int = 1, length_bonus: float = 0.0
) -> list[Hypothesis]:
    """Search one utterance.

    Args:
        log_probs: (T, C) normalised log probabilities, blank first.
        beam: prefixes kept after every frame.
        nbest: results wanted.
        length_bonus: added per unit.

    Returns:
        At most ``nbest`` hypotheses, best first; equal scores in the order of their unit numbers.
    """
    log_probs = np.asarray(log_probs, np.float64)
    tree = _Tree()
    nodes = np.array([tree.ROOT])  # (K,) prefixes
    blank, unit = np.array([0.0]), np.array([_IMPOSSIBLE])  # (K,) their two log probabilities
    num_units = log_probs.shape[1] - 1
    for frame in log_probs:
        total = np.logaddexp(blank, unit)
        last = tree.last_units(nodes)  # (K,), 0 for the empty prefix
        # A repeat of the last unit without a blank between stays the same prefix, else it makes a longer one.
        before = np.repeat(total[:, None], num_units, axis=1)  # (K, C - 1)
        spelled = np.flatnonzero(last)
        before[spelled, last[spelled] - 1] = blank[spelled]
        longer = before + frame[None, 1:]
        stay_blank = total + frame[BLANK_ID]
        stay_unit = np.where(last > 0, unit + frame[last], _IMPOSSIBLE)
        for position, node in enumerate(nodes):
            # A kept prefix may also be reached from its own beginning; one candidate then, not two.
            parent = tree.parent_position(node, nodes)
            if parent >= 0:
                reached = longer[parent, last[position] - 1]
                stay_unit[position] = np.logaddexp(stay_unit[position], reached)
                longer[parent, last[position] - 1] = _IMPOSSIBLE
        stay = np.logaddexp(stay_blank, stay_unit)
        lengths = tree.lengths(nodes) * length_bonus
        ranks = np.concatenate([stay + lengths, (longer + (lengths + length_bonus)[:, None]).ravel()])
        best = _best(ranks, beam)
        old, new = best[best < len(nodes)], best[best >= len(nodes)] - len(nodes)
        parents, units = np.divmod(new, num_units)
        grown = [tree.child(int(nodes[p]), int(u) + 1) for p, u in zip(parents, units, strict=True)]
        nodes = np.concatenate([nodes[old], np.array(grown, np.int64)])
        blank = np.concatenate([stay_blank[old], np.full(len(grown), _IMPOSSIBLE)])
        unit = np.concatenate([stay_unit[old], longer[parents, units]])
    scores = np.logaddexp(blank, unit) + tree.lengths(nodes) * length_bonus
    found = [Hypothesis(tree.spell(int(node)), float(s)) for node, s in zip(nodes, scores, strict=True)]
    return sorted(found, key=lambda hypothesis: (-hypothesis.score, hypothesis.ids))[:nbest]


def _best(ranks: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Indices of the ``count`` largest possible ranks; among equals the lower index."""
    possible = np.flatnonzero(ranks > _IMPOSSIBLE)
    if len(possible) > count:
        threshold = np.partition(ranks[possible], len(possible) - count)[len(possible) - count]
        above = possible[ranks[possible] > threshold]
        ties = possible[ranks[possible] == threshold]
        possible = np.sort(np.concatenate([above, ties[: count - len(above)]]))
    return possible


class _Tree:
    """All prefixes met so far, each a node: its parent, last unit and length."""

    ROOT = 0

    def __init__(self) -> None:
        self._children: dict[tuple[int, int], int] = {}
        self._parents, self._units, self._lengths = [-1], [0], [0]

    def child(self, node: int, unit: int) -> int:
        found = self._children.get((node, unit))
        if found is None:
            found = self._children[node, unit] = len(self._parents)
            self._parents.append(node)
            self._units.append(unit)
            self._lengths.append(self._lengths[node] + 1)
        return found

    def last_units(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([self._units[node] for node in nodes])

    def lengths(self, nodes: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([self._lengths[node] for node in nodes])

    def parent_position(self, node: int, nodes: NDArray[np.int64]) -> int:
        """Where the parent of ``node`` stands among ``nodes``; -1 if it is not kept."""
        positions = np.flatnonzero(nodes == self._parents[node])
        return int(positions[0]) if len(positions) else -1

    def spell(self, node: int) -> list[int]:
        ids = []
        while node != self.ROOT:
            ids.append(self._units[node])
            node = self._parents[node]
        return ids[::-1]
