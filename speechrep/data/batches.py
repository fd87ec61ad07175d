"""Which frames of which utterances form a batch: length buckets under a budget of padded frames."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from speechrep.errors import InputError

JITTER = 0.05  # utterances whose lengths differ by less than this share may change batches between epochs


class Segment(NamedTuple):
    """A run of frames: utterance ``index`` of the reader, frames ``start`` to ``start + num_frames``."""

    index: int
    start: int
    num_frames: int


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
        self.num_frames = np.asarray(num_frames, dtype=np.int64)
        self.max_frames, self.max_utts, self.crop_frames = max_frames, max_utts, crop_frames
        self.halve_above = halve_above
        self.seed, self.shuffle, self.rank, self.world_size = seed, shuffle, rank, world_size
        self.usable = np.flatnonzero(self.num_frames >= max(1, min_frames))
        self.num_dropped = len(self.num_frames) - len(self.usable)
        if not len(self.usable):
            raise InputError(f"none of the {len(self.num_frames)} utterances has {max(1, min_frames)} frames")

    def batches(self, epoch: int) -> list[list[Segment]]:
        """This process's batches of one epoch, in training order."""
        rng = np.random.default_rng((self.seed, epoch))
        segments = self._segments(rng)
        lengths = np.array([segment.num_frames for segment in segments])
        if self.shuffle:
            noise = rng.uniform(1, 1 + JITTER, len(lengths))
            by_length = np.lexsort((rng.permutation(len(lengths)), lengths * noise))
        else:
            by_length = np.argsort(lengths, kind="stable")
        batches = self._cut([segments[i] for i in by_length])
        if self.shuffle:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        batches += [[] for _ in range(-len(batches) % self.world_size)]
        return batches[self.rank :: self.world_size]

    def _segments(self, rng: np.random.Generator) -> list[Segment]:
        lengths, crop = self.num_frames[self.usable], self.crop_frames
        if not crop:
            return [Segment(i, 0, n) for i, n in zip(self.usable.tolist(), lengths.tolist(), strict=True)]
        counts = np.maximum(lengths // crop, 1)
        spare = np.maximum(lengths - counts * crop, 0)
        offsets = rng.integers(0, spare + 1) if self.shuffle else spare // 2
        rows = zip(self.usable.tolist(), lengths.tolist(), counts.tolist(), offsets.tolist(), strict=True)
        return [
            Segment(index, offset + k * crop, min(length, crop))
            for index, length, count, offset in rows
            for k in range(count)
        ]

    def _cut(self, segments: list[Segment]) -> list[list[Segment]]:
        """Consecutive runs of length-sorted segments that keep the budget."""
        batches: list[list[Segment]] = []
        batch: list[Segment] = []
        longest = 0
        for segment in segments:
            longest = max(longest, segment.num_frames)
            halved = 0 < self.halve_above < longest
            most = max(1, self.max_utts // 2 if halved else self.max_utts)
            full = self.max_utts and len(batch) >= most
            if batch and (full or longest * (len(batch) + 1) > self.max_frames):
                batches.append(batch)
                batch, longest = [], segment.num_frames
            batch.append(segment)
        return [*batches, batch]
