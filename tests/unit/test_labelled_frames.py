"""Frames with classes that a probe is solved on."""

import numpy as np
from downstream_data import make_set

from speechrep.data.features import open_features
from speechrep.data.frame_labels import IGNORE
from speechrep.downstream.labelled_frames import LabelledFrames


def test_vectors_in_memory_are_thinned_frames_of_drawn_utterances(tmp_path):
    """Each label tells which frame it is of; the first frames have none."""
    feats = open_features(make_set(tmp_path / "set")[0])
    places = [1000 * number + np.arange(n) for number, n in enumerate(feats.num_frames)]
    labels = [np.where(row % 1000 < 1, IGNORE, row) for row in places]
    frames = LabelledFrames(feats, list(feats.utt_ids), labels, stride=3)
    drawn = set()
    for seed in range(5):
        vectors, found = frames.some(30, seed)
        for vector, place in zip(vectors, found, strict=True):
            np.testing.assert_array_equal(vector, feats.read(feats.utt_ids[place // 1000])[place % 1000])
        utts = list(dict.fromkeys((found // 1000).tolist()))
        assert found.tolist() == [place for utt in utts for place in places[utt][1::3]]
        assert len(found) >= 30 > len(found) - len(places[utts[-1]][1::3])  # no more than it takes
        drawn.add(tuple(utts))
    assert len(drawn) > 1
    np.testing.assert_array_equal(frames.some(30, 4)[1], found)
