"""The loader: the same batches with and without workers, and from the middle of an epoch."""

import contextlib
import multiprocessing
import time

import numpy as np
import pytest
import torch
from toy_task import ToyData

from speechrep.data.batches import BatchSampler
from speechrep.data.loader import Loader
from speechrep.data.padded import pad_arrays
from speechrep.errors import InputError


def tensors(loader, epoch, skip=0):
    return [(batch["utt_ids"], batch["feats"]) for batch in loader.epoch(epoch, skip)]


def same(a, b):
    return len(a) == len(b) and all(
        x[0] == y[0] and torch.equal(x[1], y[1]) for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("num_workers", [0, 2])
def test_epochs_skips_and_early_leaving(num_workers):
    data = ToyData()
    sampler = BatchSampler(data.num_frames, 100, 1)
    plain = Loader(data, sampler)
    with contextlib.closing(Loader(data, sampler, num_workers)) as loader:
        assert same(tensors(plain, 0), tensors(loader, 0))
        for _ in zip(range(3), loader.epoch(1), strict=False):
            pass  # left early, with batches still on their way
        assert same(tensors(plain, 1), tensors(loader, 1))  # from its beginning
        assert same(tensors(plain, 2)[4:], tensors(loader, 2, skip=4))
        assert len(tensors(plain, 0)) == loader.num_batches(0)


def test_without_shared_memory_it_is_told_what_goes(monkeypatch):
    def refuse(_loader):
        raise OSError(30, "Read-only file system")

    data = ToyData()
    loader = Loader(data, BatchSampler(data.num_frames, 100, 1), 1)
    monkeypatch.setattr(torch.utils.data.DataLoader, "__iter__", refuse)
    with pytest.raises(InputError, match=r"cannot start .*: Read-only file system \(--num-workers 0"):
        next(loader.epoch(0))


def test_shared_memory_that_is_full_ends_the_reading_and_keeps_nobody_waiting(monkeypatch):
    def refuse(_tensor):
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)
    data = ToyData()
    sampler = BatchSampler(data.num_frames, 100, 1)
    told = pytest.raises(InputError, match=r"no shared memory for a batch .*No space left.*--num-workers")
    with contextlib.closing(Loader(data, sampler, 1)) as loader, told:
        next(loader.epoch(0))
    assert next(Loader(data, sampler).epoch(0))["utt_ids"], "in this process none is needed"


def test_empty_batches_keep_their_place():
    data = ToyData(num_utts=3)
    sampler = BatchSampler(data.num_frames, 1, 1, rank=1, world_size=2)
    assert [bool(batch) for batch in Loader(data, sampler).epoch(0)] == [True, False]


def test_resumed_behind_the_end_of_an_epoch():
    """Fillers of an earlier, larger number of processes count: 10 batches on 4 are 12."""
    data = ToyData()
    loader = Loader(data, BatchSampler(data.num_frames, 100, 1))
    assert tensors(loader, 0, skip=loader.num_batches(0) + 2) == []
    assert same(tensors(loader, 1), tensors(Loader(data, BatchSampler(data.num_frames, 100, 1)), 1))


class Damaged(ToyData):
    def __getitem__(self, segment):
        if segment.index == 7:
            raise InputError("damaged", where="feats.ark", mend="extract it again")
        return super().__getitem__(segment)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_damaged_data_are_told_as_they_are_wherever_they_are_read(num_workers):
    data = Damaged()
    with (
        contextlib.closing(Loader(data, BatchSampler(data.num_frames, 100, 1), num_workers)) as loader,
        pytest.raises(InputError) as error,
    ):
        list(loader.epoch(0))
    assert str(error.value) == "feats.ark: damaged (extract it again)"


class Stuck(ToyData):
    def __getitem__(self, segment):
        if torch.utils.data.get_worker_info().id == 1:
            time.sleep(3600)  # as who waits for a lock that a killed process holds
        return super().__getitem__(segment)


def test_a_process_that_is_stuck_does_not_outlive_the_loader(monkeypatch):
    """It heeds no SIGTERM, as all that read; Python would wait for it at its exit."""
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.3)
    data = Stuck()
    loader = Loader(data, BatchSampler(data.num_frames, 100, 1), 2)
    next(loader.epoch(0))
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    loader.close()
    assert not any(worker.is_alive() for worker in workers)


def test_padding():
    padded, lens = pad_arrays([np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)], -1)
    assert padded.shape == (2, 4, 3) and padded.dtype == torch.float32
    assert lens.tolist() == [2, 4] and lens.dtype == torch.int64
    assert (padded[0, 2:] == -1).all() and (padded[0, :2] == 1).all()
