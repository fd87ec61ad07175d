"""Accuracy and its interval, against scikit-learn and against what is known of the binomial."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from speechrep.errors import InputError
from speechrep.score.bootstrap import interval, ratio_interval
from speechrep.score.classification import count_correct


def random_labels(seed, num_utts=30):
    rng = np.random.default_rng(seed)
    return {f"u{i}": " ".join(rng.choice(list("abcd"), rng.integers(1, 40))) for i in range(num_utts)}


def test_accuracy_is_scikit_learns():
    refs = random_labels(0)
    rng = np.random.default_rng(1)
    hyps = {u: " ".join(rng.choice([x, "a"]) for x in labels.split()) for u, labels in refs.items()}
    counts = count_correct(refs, hyps, "ref", "hyp")
    flat = [" ".join(texts.values()).split() for texts in (refs, hyps)]
    assert counts.accuracy == pytest.approx(100 * accuracy_score(*flat))


def test_dash_in_the_reference_is_not_scored():
    counts = count_correct({"u": "a - b", "v": "- -"}, {"u": "a x c", "v": "a b"}, "ref", "hyp")
    assert counts.correct.tolist() == [1, 0] and counts.scored.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("refs", "hyps", "message"),
    [
        ({"u": "a"}, {}, "hyp: no utterance u, 1 missing"),
        ({"u": "a"}, {"u": "a", "v": "a"}, "ref: no utterance v"),
        ({"u": "a b"}, {"u": "a"}, "hyp: u: 1 labels, but 2 in ref"),
        ({"u": "- -"}, {"u": "a a"}, "ref: no label to score"),
        ({}, {}, "ref: no label to score"),
    ],
)
def test_refuses_what_cannot_be_compared(refs, hyps, message):
    with pytest.raises(InputError, match=message):
        count_correct(refs, hyps, "ref", "hyp")


def test_interval_has_the_binomial_width_and_contains_the_figure():
    correct = np.arange(400) % 10 < 7
    low, high = ratio_interval(correct, np.ones(400), seed=3)
    width = 2 * 1.96 * np.sqrt(0.7 * 0.3 / 400)
    assert low < correct.mean() < high and high - low == pytest.approx(width, rel=0.08)
    assert (low, high) == ratio_interval(correct, np.ones(400), seed=3)
    assert (low, high) != ratio_interval(correct, np.ones(400), seed=4)


def test_interval_is_wider_when_frames_come_in_utterances():
    correct = np.repeat([0, 10], 10)  # ten utterances all wrong, ten all right: 20 units, not 200
    low, high = ratio_interval(correct, np.full(20, 10))
    assert high - low > 0.35


def test_interval_of_a_metric_that_is_no_ratio():
    rng = np.random.default_rng(0)
    ref = rng.integers(2, size=200)
    hyp = np.where(rng.random(200) < 0.8, ref, 1 - ref)
    low, high = interval(lambda drawn: f1_score(ref[drawn], hyp[drawn]), 200, replications=200)
    assert low < f1_score(ref, hyp) < high and 0.05 < high - low < 0.2


def test_draws_of_nothing_to_score_are_left_out():
    assert ratio_interval(np.array([9, 0, 0]), np.array([10, 0, 0])) == (0.9, 0.9)
