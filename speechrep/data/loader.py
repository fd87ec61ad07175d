"""Batches as tensors, read in the background if asked: torch's DataLoader behind a resumable epoch."""

import itertools
import signal
from collections.abc import Iterator
from typing import Any, Protocol

import torch

from speechrep.data.batches import Batches, BatchSampler, Segment
from speechrep.errors import InputError

_REFUSED = "refused"  # in place of a batch: what is wrong with its data


class SegmentDataset(Protocol):
    """What a task gives the loader."""

    def __getitem__(self, segment: Segment) -> dict[str, Any]:
        """One utterance, or a crop of it."""

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Items to a batch: ``utt_ids``, ``feats`` (B, T, F) float32, ``feat_lens`` (B,) int64, and more."""


class Loader:
    """The batches of a sampler, epoch by epoch.

    Args:
        dataset: reads a segment and puts several into a batch.
        sampler: says which.
        num_workers: background processes; 0 reads in this one. The batches are the same either way. They
            read on into the next epoch, so that its first batch does not keep anybody waiting.
        pin_memory: page-locked tensors, for copying to a GPU in the background.
    """

    def __init__(
        self, dataset: SegmentDataset, sampler: BatchSampler, num_workers: int = 0, pin_memory: bool = False
    ):
        self._order = _Order(sampler)
        self._torch_loader = torch.utils.data.DataLoader(
            _Batches(dataset),
            batch_size=None,
            sampler=self._order,
            num_workers=num_workers,
            # As before Python 3.14: forked, they share the tables of large sets, and scripts need no guard.
            multiprocessing_context="fork" if num_workers else None,
            persistent_workers=num_workers > 0,
            prefetch_factor=4 if num_workers else None,
            worker_init_fn=_outlive_signals,
            pin_memory=pin_memory,
        )
        self._running: Iterator[dict[str, Any]] = iter(())
        self._ahead = -1  # the epoch whose batches come next from the running iterator, if at its beginning

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[dict[str, Any]]:
        """The batches of one epoch, the first ``skip`` left out unread; ``{}`` for an empty batch.

        One epoch at a time: asking for another ends the one before.

        Raises:
            InputError: damaged data, or background processes that cannot be had here.
        """
        count = max(0, self.num_batches(epoch) - skip)  # skip counts fillers, of more processes than now
        if skip or self._ahead != epoch:
            self._order.begin(epoch, skip)
            try:
                self._running = iter(self._torch_loader)
            except OSError as error:  # no shared memory, or no more processes
                what = f"cannot start processes that read: {error.strerror}"
                raise InputError(what, mend="--num-workers 0 reads in this one") from error
        self._ahead = -1
        for batch in itertools.islice(self._running, count):
            if refused := batch.get(_REFUSED):
                raise refused
            yield batch
        self._ahead = epoch + 1

    def close(self) -> None:
        """End the background processes, which outlive the SIGTERM that Python sends them at its end."""
        running, self._torch_loader._iterator = self._torch_loader._iterator, None
        self._running, self._ahead = iter(()), -1
        if running is not None:
            running._shutdown_workers()
            # One that was killed may have held the lock of what the others write to: they would wait for it,
            # and Python at its exit for them.
            for worker in running._workers:
                worker.kill()
                worker.join()

    def extent(self) -> dict[str, int]:
        """How many utterances, and frames of them, there are for all processes together."""
        lengths = self._order.lengths
        return {"utterances": len(lengths), "frames": int(lengths.sum())}

    def num_batches(self, epoch: int = 0) -> int:
        """The number of batches of this process in an epoch."""
        return len(self._order.batches(epoch))


class _Order(torch.utils.data.Sampler[list[Segment]]):
    """Batches from one point on, over all later epochs."""

    def __init__(self, sampler: BatchSampler):
        self._made: dict[int, Batches] = {}
        self._sampler, self._epoch, self._skip = sampler, 0, 0
        self.lengths = sampler.lengths

    def begin(self, epoch: int, skip: int) -> None:
        self._epoch, self._skip = epoch, skip

    def batches(self, epoch: int) -> Batches:
        if epoch not in self._made:  # the two epochs at hand are kept: the current and the one read ahead
            self._made = {e: made for e, made in self._made.items() if abs(e - epoch) <= 1}
            self._made[epoch] = self._sampler.batches(epoch)
        return self._made[epoch]

    def __iter__(self) -> Iterator[list[Segment]]:
        epoch, skip = self._epoch, self._skip
        while True:
            yield from self.batches(epoch)[skip:]
            epoch, skip = epoch + 1, 0


class _Batches(torch.utils.data.Dataset):
    """A dataset whose index is a whole batch of segments."""

    def __init__(self, dataset: SegmentDataset):
        self.dataset = dataset

    def __getitem__(self, batch: list[Segment]) -> dict[str, Any]:
        try:
            made = self.dataset.collate([self.dataset[segment] for segment in batch]) if batch else {}
            if torch.utils.data.get_worker_info() is not None:
                _share(made)
            return made
        except InputError as error:  # torch would wrap what comes from a worker in a traceback
            return {_REFUSED: error}


def _share(batch: dict[str, Any]) -> None:
    """Move a batch to where the main process reads it.

    Torch would do so later, in a thread whose errors end nothing: the main process would wait for ever.
    """
    for value in batch.values():
        if isinstance(value, torch.Tensor):
            try:
                value.share_memory_()
            except RuntimeError as error:
                raise InputError(
                    f"no shared memory for a batch that was read in the background: {error}",
                    mend="give fewer --num-workers, 0 need none, or more of it: docker run --shm-size 8g",
                ) from error


def _outlive_signals(_worker: int) -> None:
    """Read on when the whole process group is told to end: the main process saves first, then ends us."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
