"""What pre-training reads: crops with the targets of the same frames, in batches as the options have them."""

import numpy as np
import pytest
import torch
from models import model
from test_dump import write_feats

from speechrep.data.batches import Segment
from speechrep.data.features import open_features
from speechrep.upstream.pretraining import FeatureSegments, PretrainData, Pretraining


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    """Of a training and a validation set."""
    folder = tmp_path_factory.mktemp("feats")
    return [open_features(write_feats(folder / name)) for name in ("train.h5", "valid.h5")]


def test_targets_are_those_of_the_same_frames(readers):
    reader = readers[0]
    segments = FeatureSegments(reader, reader)
    crop, short = (segments[segment] for segment in (Segment(1, 5, 12), Segment(4, 0, 3)))
    np.testing.assert_array_equal(crop["feats"], reader.read("u1", 5, 17))
    np.testing.assert_array_equal(crop["targets"], crop["feats"])
    batch = segments.collate([crop, short])
    assert torch.equal(batch["targets"], batch["feats"])
    assert not batch["unpadded"] and segments.collate([crop])["unpadded"]


def loaders(readers, seed=1, **options):
    task = Pretraining(model("apc", time_shift=1), *readers, PretrainData(**options), seed)
    return task.train_loader(), task.valid_loader()


def test_options_of_batches_reach_training_and_validation(readers):
    def largest(**options):
        shapes = [
            [batch["feats"].shape[:2] for batch in loader.epoch(0)] for loader in loaders(readers, **options)
        ]
        return [tuple(max(sizes) for sizes in zip(*of_one, strict=True)) for of_one in shapes]

    assert largest() == [(6, 30)] * 2  # utterances, frames
    assert largest(crop_frames=10) == [(9, 10)] * 2
    assert largest(max_utts=3) == [(3, 30)] * 2
    assert largest(max_utts=4, halve_above=1) == [(2, 30)] * 2


def test_validation_has_one_order_and_training_many(readers):
    orders = [
        [
            tuple(tuple(batch["utt_ids"]) for batch in loader.epoch(epoch))
            for loader in loaders(readers, seed, max_frames=40)
        ]
        for seed, epoch in ((1, 0), (1, 1), (7, 3))
    ]
    train, valid = (set(of_one) for of_one in zip(*orders, strict=True))
    assert len(train) > 1 and len(valid) == 1
