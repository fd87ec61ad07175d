"""Edit distance as Kaldi counts it, for many pairs at once.

Two alignments of one pair can cost the same and split differently into substitutions, insertions and
deletions. ``compute-wer`` prefers an insertion over a deletion over a substitution or match, looking back
from the end (:func:`count_errors`); ``align-text`` prefers them the other way round (:func:`align`).
The totals are the same.
"""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

# One int64 holds what a cell of the dynamic programme needs: cost, then the rank of the step that led
# here, then the substitutions on the way. The smallest number then is Kaldi's choice.
_SUBS_BITS = 24
_RANK = 1 << _SUBS_BITS
_COST = _RANK << 2
_KEEP = ~np.int64(_COST - _RANK)  # clears the rank once the choice is made
_CELLS_PER_BATCH = 1 << 18  # working arrays of this many numbers stay in the cache


def count_errors(refs: Sequence[Sequence[Hashable]], hyps: Sequence[Sequence[Hashable]]) -> NDArray[np.int64]:
    """Errors of every pair, split as ``compute-wer`` splits them.

    Args:
        refs, hyps: equally many sequences of units (words, numbers, or a string for its characters).

    Returns:
        (N, 3): insertions, deletions, substitutions.
    """
    vocabulary: dict[Hashable, int] = {}
    ref_ids = [[vocabulary.setdefault(unit, len(vocabulary)) for unit in ref] for ref in refs]
    hyp_ids = [[vocabulary.setdefault(unit, len(vocabulary)) for unit in hyp] for hyp in hyps]
    counts = np.zeros((len(refs), 3), np.int64)
    pending = []
    for index, (ref, hyp) in enumerate(zip(ref_ids, hyp_ids, strict=True)):
        if ref == hyp:
            continue
        # A common beginning never changes the split: any path that enters it does so at no substitution.
        start = 0
        for one, other in zip(ref, hyp, strict=False):
            if one != other:
                break
            start += 1
        pending.append((len(ref) - start, len(hyp) - start, index, start))
    for batch in _batches(sorted(pending)):
        indices = np.array([index for _, _, index, _ in batch])
        counts[indices] = _count_batch(
            [ref_ids[index][start:] for _, _, index, start in batch],
            [hyp_ids[index][start:] for _, _, index, start in batch],
        )
    return counts


def align(ref: Sequence[str], hyp: Sequence[str]) -> list[tuple[str | None, str | None]]:
    """The alignment of one pair that ``align-text`` prints.

    Returns:
        pairs ``(ref unit, hyp unit)``; None in the first is an insertion, in the second a deletion.
    """
    vocabulary: dict[str, int] = {}
    ref_ids, hyp_ids = (
        np.array([vocabulary.setdefault(unit, len(vocabulary)) for unit in units], np.int32)
        for units in (ref, hyp)
    )
    ramp = np.arange(len(hyp) + 1, dtype=np.int32)
    costs = np.empty((len(ref) + 1, len(hyp) + 1), np.int32)
    costs[0] = ramp
    for m, unit in enumerate(ref_ids):
        above, row = costs[m], costs[m + 1]
        np.add(above, 1, out=row)
        np.minimum(row[1:], above[:-1] + (hyp_ids != unit), out=row[1:])
        # Insertions: from the cheapest place to the left, each step to the right costing one.
        np.minimum.accumulate(row - ramp, out=row)
        row += ramp
    pairs: list[tuple[str | None, str | None]] = []
    m, n = len(ref), len(hyp)
    while m or n:
        cost = costs[m, n]
        if m and n and costs[m - 1, n - 1] + (ref[m - 1] != hyp[n - 1]) == cost:
            m, n = m - 1, n - 1
            pairs.append((ref[m], hyp[n]))
        elif m and costs[m - 1, n] + 1 == cost:
            m -= 1
            pairs.append((ref[m], None))
        else:
            n -= 1
            pairs.append((None, hyp[n]))
    return pairs[::-1]


def _batches(pending: list[tuple[int, int, int, int]]) -> Iterator[list[tuple[int, int, int, int]]]:
    """Neighbours in the sorted list, as many as fit the cell budget."""
    batch: list[tuple[int, int, int, int]] = []
    longest = 0
    for item in pending:
        longest = max(longest, item[0] + item[1] + 2)
        if batch and longest * (len(batch) + 1) > _CELLS_PER_BATCH:
            yield batch
            batch, longest = [], item[0] + item[1] + 2
        batch.append(item)
    if batch:
        yield batch


def _count_batch(refs: list[list[int]], hyps: list[list[int]]) -> NDArray[np.int64]:
    """(B, 3) insertions, deletions, substitutions; one pass over the anti-diagonals of all pairs."""
    ref_lens = np.array([len(ref) for ref in refs])
    hyp_lens = np.array([len(hyp) for hyp in hyps])
    M, N, B = int(ref_lens.max()), int(hyp_lens.max()), len(refs)
    ref_units = _columns(refs, M, -1)  # (M, B)
    # (N, B), last unit first: a diagonal is then a slice of both.
    hyp_units = _columns(hyps, N, -2)[::-1].copy()
    ends = ref_lens + hyp_lens
    order = np.argsort(ends, kind="stable")
    bounds = np.searchsorted(ends[order], np.arange(M + N + 2))
    final = np.zeros(B, np.int64)
    # Cells of a diagonal are indexed by the number of reference units consumed.
    older, old, new = (np.zeros((M + 1, B), np.int64) for _ in range(3))
    scratch = np.empty((M + 1, B), np.int64)
    for diagonal in range(1, M + N + 1):
        first, last = max(0, diagonal - N), min(M, diagonal)  # reference units consumed
        low, high = max(first, 1), min(last, diagonal - 1)  # ... where both have been consumed in part
        if low <= high:
            differ = ref_units[low - 1 : high] != hyp_units[N - diagonal + low : N - diagonal + high + 1]
            best, other = new[low : high + 1], scratch[low : high + 1]
            np.multiply(differ, _COST + 1, out=best)
            best += older[low - 1 : high]
            best += 2 * _RANK  # substitution or match
            np.add(old[low - 1 : high], _COST + _RANK, out=other)  # deletion
            np.minimum(best, other, out=best)
            np.add(old[low : high + 1], _COST, out=other)  # insertion
            np.minimum(best, other, out=best)
            best &= _KEEP
        if first == 0:
            new[0] = diagonal * _COST
        if last == diagonal:
            new[diagonal] = diagonal * _COST
        finished = order[bounds[diagonal] : bounds[diagonal + 1]]
        final[finished] = new[ref_lens[finished], finished]
        older, old, new = old, new, older
    subs = final & (_RANK - 1)
    surplus = hyp_lens - ref_lens  # insertions - deletions
    dels = (final // _COST - subs - surplus) // 2
    return np.stack([dels + surplus, dels, subs], axis=1)


def _columns(sequences: list[list[int]], length: int, fill: int) -> NDArray[np.int32]:
    """(length, B), one sequence per column."""
    table = np.full((len(sequences), length), fill, np.int32)
    for row, sequence in zip(table, sequences, strict=True):
        row[: len(sequence)] = sequence
    return np.ascontiguousarray(table.T)
