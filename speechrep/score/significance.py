"""Is one system better than another? NIST's matched-pair test on segments (MAPSSWE).

Gillick and Cox (1989), "Some statistical issues in the comparison of speech recognition algorithms":
errors in neighbouring words depend on each other, so utterances are cut into segments between which both
systems are right, and the differences in errors per segment are tested for a mean of zero.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from speechrep.score.details import Pairs

MIN_GOOD = 2  # words right in both systems that part two segments


class Mapsswe(NamedTuple):
    """Result of the test."""

    segments: int
    mean: float
    """errors of the first minus errors of the second system per segment"""
    z: float
    p: float
    """two-tailed probability of such a difference or a larger one between equal systems; by the sign test
    where all segments differ alike and there is no variance to go by"""


def mapsswe(first: Sequence[Pairs], second: Sequence[Pairs]) -> Mapsswe:
    """Compare two systems by alignments of the same references, utterance by utterance."""
    differences = [
        one - other
        for pairs, others in zip(first, second, strict=True)
        for one, other in segment_errors(pairs, others)
    ]
    count = len(differences)
    if count < 2:
        return Mapsswe(count, float(sum(differences)), 0.0, 1.0)
    mean = sum(differences) / count
    variance = sum((value - mean) ** 2 for value in differences) / (count - 1)
    if not variance:  # which says nothing of other segments; that all differences have one sign, does
        z = math.copysign(math.inf, mean) if mean else 0.0
        return Mapsswe(count, mean, z, 2.0 ** (1 - count) if mean else 1.0)
    z = mean / math.sqrt(variance / count)
    return Mapsswe(count, mean, z, math.erfc(abs(z) / math.sqrt(2)))


def segment_errors(first: Pairs, second: Pairs) -> Iterator[tuple[int, int]]:
    """Errors of both systems in every segment of one utterance; segments without error are left out."""
    errors, good = (0, 0), 0
    for here in _errors_in_order(first, second):
        if not any(here):
            good += 1
            continue
        if good >= MIN_GOOD and any(errors):
            yield errors
            errors = (0, 0)
        errors, good = (errors[0] + here[0], errors[1] + here[1]), 0
    if any(errors):
        yield errors


def _errors_in_order(first: Pairs, second: Pairs) -> Iterator[tuple[int, int]]:
    """Both systems' errors at every reference word and, where there are any, insertions before it."""
    for (inserted, wrong), (inserted2, wrong2) in zip(_by_word(first), _by_word(second), strict=True):
        if inserted or inserted2:
            yield inserted, inserted2
        yield wrong, wrong2


def _by_word(pairs: Pairs) -> list[tuple[int, int]]:
    """For each reference word: insertions before it and whether it is wrong; then the last insertions."""
    rows = []
    insertions = 0
    for ref, hyp in pairs:
        if ref is None:
            insertions += 1
        else:
            rows.append((insertions, int(ref != hyp)))
            insertions = 0
    return [*rows, (insertions, 0)]
