"""Batches: every utterance once, within the budget, the same for a seed, split fairly over processes."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrep.data.batches import JITTER, BatchSampler, Segment, _sorted_by
from speechrep.errors import InputError

LENGTHS = st.lists(st.integers(0, 60), min_size=1, max_size=40)
OPTIONS = {"max_examples": 40, "deadline": None}


@settings(**OPTIONS)
@given(LENGTHS, st.integers(1, 200), st.integers(0, 5), st.integers(1, 4), st.booleans(), st.integers(0, 3))
def test_every_usable_utterance_once_over_all_ranks(lengths, max_frames, max_utts, world, shuffle, epoch):
    if not any(lengths):
        return
    options = {"max_utts": max_utts, "shuffle": shuffle, "world_size": world}
    parts = [
        BatchSampler(lengths, max_frames, 5, rank=rank, **options).batches(epoch) for rank in range(world)
    ]
    assert len({len(part) for part in parts}) == 1
    batches = [batch for part in parts for batch in part if batch]
    seen = sorted(segment.index for batch in batches for segment in batch)
    assert seen == [i for i, n in enumerate(lengths) if n >= 1]
    for batch in batches:
        padded = max(segment.num_frames for segment in batch) * len(batch)
        assert padded <= max_frames or len(batch) == 1
        assert not max_utts or len(batch) <= max_utts
        assert all(segment.num_frames == lengths[segment.index] for segment in batch)


@settings(**OPTIONS)
@given(LENGTHS, st.integers(1, 30), st.integers(1, 5), st.integers(0, 3))
def test_crops_lie_inside_and_never_overlap(lengths, crop, min_frames, epoch):
    if crop < min_frames or max(lengths) < min_frames:
        return
    sampler = BatchSampler(lengths, 100, 1, crop_frames=crop, min_frames=min_frames)
    for index, length in enumerate(lengths):
        mine = sorted(s for batch in sampler.batches(epoch) for s in batch if s.index == index)
        if length < min_frames:
            assert not mine
            continue
        assert len(mine) == max(1, length // crop)
        assert all(segment.num_frames == min(crop, length) for segment in mine)
        ends = [segment.start + segment.num_frames for segment in mine]
        assert mine[0].start >= 0 and ends[-1] <= length
        assert all(b.start >= end for b, end in zip(mine[1:], ends, strict=False))
    assert sampler.num_dropped == sum(length < min_frames for length in lengths)


def test_order_depends_on_seed_and_epoch_alone():
    lengths = np.random.default_rng(0).integers(10, 500, 200)

    def order(seed=1, epoch=0, **options):
        return list(BatchSampler(lengths, 2000, seed, crop_frames=300, **options).batches(epoch))

    assert order() == order()
    assert order() != order(seed=2) and order() != order(epoch=1)
    assert order(epoch=1, shuffle=False) == order(seed=1, epoch=2, shuffle=False)
    together = [order(world_size=2, rank=rank) for rank in (0, 1)]
    merged = [batch for pair in zip(*together, strict=True) for batch in pair if batch]
    assert merged == order()  # the ranks share one process's batches, in its order


def test_buckets_pad_little_and_mix_between_epochs():
    lengths = np.random.default_rng(0).integers(200, 1600, 2000)
    sampler = BatchSampler(lengths, 20000, 1)
    batches = sampler.batches(0)
    padded = sum(max(s.num_frames for s in batch) * len(batch) for batch in batches)
    assert lengths.sum() / padded > 0.95
    first = {frozenset(s.index for s in batch) for batch in batches}
    second = {frozenset(s.index for s in batch) for batch in sampler.batches(1)}
    assert len(first & second) < 0.05 * len(first)


def test_the_originals_halved_batches():
    batches = BatchSampler([10] * 12 + [50] * 12, 10_000, 1, max_utts=6, halve_above=40).batches(0)
    sizes = sorted((batch[0].num_frames, len(batch)) for batch in batches)
    assert sizes == [(10, 6)] * 2 + [(50, 3)] * 4


def test_nothing_usable_is_an_error():
    with pytest.raises(InputError, match="none of the 2 utterances has 5 frames"):
        BatchSampler([3, 4], 100, 1, min_frames=5)
    with pytest.raises(InputError, match="max-frames"):
        BatchSampler([3, 4], 0, 1)


def slow_batches(lengths, max_frames, seed, epoch, max_utts, halve_above, crop, min_frames, shuffle):
    """The order as first defined, by lists of segments; models were trained in it."""
    rng = np.random.default_rng((seed, epoch))
    usable = [i for i, n in enumerate(lengths) if n >= max(1, min_frames)]
    counts = [max(1, lengths[i] // crop) if crop else 1 for i in usable]
    spare = [max(0, lengths[i] - n * crop) for i, n in zip(usable, counts, strict=True)]
    offsets = [0] * len(usable)
    if crop:
        offsets = rng.integers(0, np.array(spare) + 1).tolist() if shuffle else [n // 2 for n in spare]
    segments = [
        Segment(i, offset + k * crop, min(lengths[i], crop) if crop else lengths[i])
        for i, count, offset in zip(usable, counts, offsets, strict=True)
        for k in range(count)
    ]
    keys = np.array([segment.num_frames for segment in segments])
    if shuffle:
        keys = keys * rng.uniform(1, 1 + JITTER, len(keys))
        order = np.lexsort((rng.permutation(len(keys)), keys))
    else:
        order = np.argsort(keys, kind="stable")
    batches, batch = [], []
    for segment in (segments[i] for i in order):
        longest = max([segment.num_frames, *(other.num_frames for other in batch)])
        most = max_utts // 2 if 0 < halve_above < longest else max_utts
        full = max_utts and len(batch) >= max(1, most)
        if batch and (full or longest * (len(batch) + 1) > max_frames):
            batches.append(batch)
            batch = []
        batch.append(segment)
    batches.append(batch)
    return [batches[i] for i in rng.permutation(len(batches))] if shuffle else batches


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=60),
    st.sampled_from([1, 40, 200, 1000]),
    st.sampled_from([(0, 0), (1, 0), (5, 0), (6, 20)]),
    st.sampled_from([(0, 1), (0, 9), (7, 1), (30, 5)]),
    st.booleans(),
    st.integers(0, 9),
)
def test_the_order_is_that_of_the_slow_definition(lengths, max_frames, most, crop, shuffle, seed):
    (max_utts, halve_above), (crop_frames, min_frames) = most, crop
    if max(lengths) < min_frames or not any(lengths):
        return
    options = {"max_utts": max_utts, "halve_above": halve_above, "crop_frames": crop_frames}
    sampler = BatchSampler(lengths, max_frames, seed, min_frames=min_frames, shuffle=shuffle, **options)
    slow = slow_batches(lengths, max_frames, seed, 3, max_utts, halve_above, crop_frames, min_frames, shuffle)
    fast = sampler.batches(3)
    assert list(fast) == slow and len(fast) == len(slow)
    assert list(fast[2:]) == slow[2:] and fast[len(slow) // 2] == slow[len(slow) // 2]


def test_the_order_of_many_is_that_of_the_slow_definition(monkeypatch):
    monkeypatch.setattr("speechrep.data.batches._CHUNK", 1000)  # more than one chunk
    lengths = np.random.default_rng(0).integers(1, 900, 20_000).tolist()
    sampler = BatchSampler(lengths, 9000, 4, crop_frames=400)
    assert list(sampler.batches(1)) == slow_batches(lengths, 9000, 4, 1, 0, 0, 400, 1, True)


def test_equal_keys_are_ordered_by_the_second():
    rng = np.random.default_rng(0)
    for most in (1, 3, 50, 10_000):
        keys, ties = rng.integers(0, most, 500).astype(float), rng.permutation(500)
        assert (_sorted_by(keys, ties) == np.lexsort((ties, keys))).all()


def test_many_utterances_need_little_memory():
    lengths = np.random.default_rng(0).integers(100, 1600, 200_000)
    tracemalloc.start()
    batches = BatchSampler(lengths, 50_000, 1).batches(0)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(map(len, batches[:10])) > 100
    assert peak < 30e6 and kept < 6e6  # bytes; a list of segments takes 30e6 by itself
