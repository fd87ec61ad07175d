"""Which frames of which utterances form a batch: length buckets under a budget of padded frames."""

import sys
from array import array
from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np

from speechrep.errors import InputError

JITTER = 0.05  # utterances whose lengths differ by less than this share may change batches between epochs
_CHUNK = 1 << 20  # lengths looked at together: as Python's integers they take 36 bytes each


class Segment(NamedTuple):
    """A run of frames: utterance ``index`` of the reader, frames ``start`` to ``start + num_frames``."""

    index: int
    start: int
    num_frames: int


class _Segments(NamedTuple):
    """All segments of an epoch, as arrays of their count."""

    index: np.ndarray
    start: np.ndarray | None  # None: all from frame 0
    num_frames: np.ndarray


class Batches(Sequence[list[Segment]]):
    """Batches in training order, each made when it is asked for: the order of 50 million takes 0.4 GB.

    A slice of it is such a sequence too and shares its memory.
    """

    def __init__(self, segments: _Segments, order: np.ndarray, bounds: np.ndarray, chosen: np.ndarray):
        self._segments, self._order, self._bounds = segments, order, bounds
        self._chosen = chosen  # batch k is order[bounds[k] : bounds[k + 1]]; -1 is an empty one

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, which: int) -> list[Segment]: ...
    @overload
    def __getitem__(self, which: slice) -> "Batches": ...
    def __getitem__(self, which: int | slice) -> "list[Segment] | Batches":
        if isinstance(which, slice):
            return Batches(self._segments, self._order, self._bounds, self._chosen[which])
        batch = self._chosen[which]
        if batch < 0:
            return []
        rows = self._order[self._bounds[batch] : self._bounds[batch + 1]]
        index, start, num_frames = self._segments
        starts = [0] * len(rows) if start is None else start[rows].tolist()
        return list(map(Segment, index[rows].tolist(), starts, num_frames[rows].tolist()))


class BatchSampler:
    """Batches for every epoch, a function of (seed, epoch) alone.

    The batches are the same for any number of processes; process ``rank`` takes every ``world_size``-th of
    them, so that over all processes every utterance comes once per epoch. Where their number is no multiple
    of ``world_size`` the last ones are empty lists, so that all processes take equally many steps.

    Args:
        num_frames: (N,) length of each utterance in frames.
        max_frames: budget of a batch in frames, padding included; a longer utterance is a batch of its own.
        seed: of shuffling and cropping.
        max_utts: most utterances in a batch, 0 for no limit.
        halve_above: batches with an utterance of more frames than this hold at most half of ``max_utts``.
        crop_frames: an utterance longer than this is cut into as many consecutive crops of this length as
            fit, from a random start (0 for none).
        min_frames: shorter utterances are left out (:attr:`num_dropped` counts them).
        rank, world_size: this process among all.
        shuffle: False gives length order and centred crops, the same in every epoch.
    """

    def __init__(
        self,
        num_frames: Sequence[int] | np.ndarray,
        max_frames: int,
        seed: int,
        *,
        max_utts: int = 0,
        halve_above: int = 0,
        crop_frames: int = 0,
        min_frames: int = 1,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
    ):
        if max_frames < 1:
            raise InputError(f"max-frames is {max_frames}, want at least 1")
        if 0 < crop_frames < min_frames:
            raise InputError(f"crop-frames {crop_frames} is below the shortest usable length {min_frames}")
        num_frames = np.asarray(num_frames, dtype=np.int64)
        self.max_frames, self.max_utts, self.crop_frames = max_frames, max_utts, crop_frames
        self.halve_above = halve_above
        self.seed, self.shuffle, self.rank, self.world_size = seed, shuffle, rank, world_size
        usable = np.flatnonzero(num_frames >= max(1, min_frames))
        self.num_dropped = len(num_frames) - len(usable)
        if not len(usable):
            raise InputError(f"none of the {len(num_frames)} utterances has {max(1, min_frames)} frames")
        self._usable, self.lengths = _small(usable), _small(num_frames[usable])

    def batches(self, epoch: int) -> Batches:
        """This process's batches of one epoch, in training order."""
        rng = np.random.default_rng((self.seed, epoch))
        segments = self._segments(rng)
        lengths = segments.num_frames
        if self.shuffle:
            keys = rng.uniform(1, 1 + JITTER, len(lengths))
            keys *= lengths
            order = _sorted_by(keys, rng.permutation(len(lengths)))
            del keys
        else:
            order = _small(np.argsort(lengths, kind="stable"))
        bounds = self._cut(lengths, order)
        num_batches = len(bounds) - 1
        chosen = rng.permutation(num_batches) if self.shuffle else np.arange(num_batches)
        empty = np.full(-num_batches % self.world_size, -1)
        return Batches(segments, order, bounds, np.concatenate((chosen, empty))[self.rank :: self.world_size])

    def _segments(self, rng: np.random.Generator) -> _Segments:
        crop = self.crop_frames
        if not crop:
            return _Segments(self._usable, None, self.lengths)
        lengths = self.lengths.astype(np.int64)
        counts = np.maximum(lengths // crop, 1)
        spare = np.maximum(lengths - counts * crop, 0)
        offsets = rng.integers(0, spare + 1) if self.shuffle else spare // 2
        before = np.cumsum(counts) - counts  # segments of the utterances before
        starts = np.arange(counts.sum())
        starts *= crop
        starts += np.repeat(offsets - before * crop, counts)
        return _Segments(
            np.repeat(self._usable, counts),
            _small(starts),
            np.repeat(_small(np.minimum(lengths, crop)), counts),
        )

    def _cut(self, lengths: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Where the batches begin among length-sorted segments, and the end of the last.

        A batch takes what comes next as long as the budget holds. That is sequential, hence a plain loop;
        it runs over integers of Python's, of which a chunk exists at a time.
        """
        bounds = array("q", [0])
        begin, end, longest = 0, sys.maxsize, 0
        for first in range(0, len(order), _CHUNK):
            chunk = lengths[order[first : first + _CHUNK]].tolist()
            for position, length in enumerate(chunk, first):
                if length > longest:
                    longest, end = length, begin + self._most(length)
                if position >= end:
                    bounds.append(position)
                    begin, end, longest = position, position + self._most(length), length
        bounds.append(len(order))
        return np.frombuffer(bounds, np.int64)

    def _most(self, longest: int) -> int:
        """How many segments a batch may hold whose longest has so many frames."""
        most = self.max_frames // longest
        if self.max_utts:
            most = min(most, self.max_utts // 2 if 0 < self.halve_above < longest else self.max_utts)
        return max(1, most)


def _sorted_by(keys: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """``np.lexsort((ties, keys))`` at a third of the time, for keys that are rarely equal."""
    order = np.argsort(keys)
    ranked = keys[order]
    equal = np.flatnonzero(ranked[1:] == ranked[:-1])
    if len(equal):
        places = np.union1d(equal, equal + 1)
        rows = order[places]
        order[places] = rows[np.lexsort((ties[rows], keys[rows]))]
    return _small(order)


def _small(values: np.ndarray) -> np.ndarray:
    """Integers from 0 on, in as few bytes as hold the greatest."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))), copy=False)
