import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error

from speechrep.errors import InputError
from speechrep.score import sentiment
from speechrep.score.sentiment import METRICS, MODE_METRICS, majority, pair, score

# Annotator means, as in the corpus: thirds, halves and whole numbers, 0 among them.
TRUTHS = [-3, -2.6667, -2.5, -1.5, -1, -0.5, -0.3333, 0, 0, 0.3333, 0.5, 1, 1.5, 2, 2.5, 3]


def draw(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truths = rng.choice(TRUTHS, n)
    preds = np.round(truths + rng.normal(0, 1.5, n), 1)  # tenths: halves and zeros occur, some beyond 3
    return preds, truths


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn_and_scipy(seed):
    preds, truths = draw(seed)
    kept = truths != 0
    want = {
        "acc2": 100 * accuracy_score(truths >= 0, preds >= 0),
        "f1": 100 * f1_score(truths >= 0, preds >= 0, average="weighted"),
        "acc2_non0": 100 * accuracy_score(truths[kept] > 0, preds[kept] > 0),
        "f1_non0": 100 * f1_score(truths[kept] > 0, preds[kept] > 0, average="weighted"),
        "acc5": 100 * accuracy_score(np.rint(np.clip(truths, -2, 2)), np.rint(np.clip(preds, -2, 2))),
        "acc7": 100 * accuracy_score(np.rint(np.clip(truths, -3, 3)), np.rint(np.clip(preds, -3, 3))),
        "mae": mean_absolute_error(truths, preds),
        "corr": pearsonr(preds, truths).statistic,
    }
    assert set(want) == set(METRICS)
    for name, value in want.items():
        assert METRICS[name](preds, truths) == pytest.approx(value, abs=1e-9), name


def test_rounding_is_half_to_even():
    # 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, -0.5 -> 0; half-up would give 1, 2, 3, 0.
    truths = np.array([0.0, 2.0, 2.0, 0.0])
    assert sentiment.accuracy7(np.array([0.5, 1.5, 2.5, -0.5]), truths) == 100
    assert sentiment.accuracy7(np.array([1.0, 1.0, 3.0, -1.0]), truths) == 0


def test_classes_clip_before_rounding_and_mae_does_not_clip():
    preds, truths = np.array([9.0, -7.0]), np.array([3.0, -3.0])
    assert sentiment.accuracy7(preds, truths) == 100
    assert sentiment.accuracy5(preds, truths) == 100
    assert sentiment.mean_absolute_error(preds, truths) == 5.0


def test_truth_zero_is_non_negative_in_has0_and_left_out_of_non0():
    preds, truths = np.array([0.2, -0.2, 1.0, 0.0]), np.array([0.0, 0.0, -1.0, 2.0])
    assert sentiment.accuracy2(preds, truths) == 50  # right: 0.2 for 0, and 0.0 for 2.0
    assert sentiment.accuracy2_non0(preds, truths) == 0  # 0.0 is not positive, 1.0 is not negative
    assert score(preds, truths, replications=10)["acc2_non0"].n == 2


def test_f1_weights_by_truth_not_by_prediction():
    preds, truths = np.array([1.0, 1, 1, 1, 1, -1]), np.array([1.0, 1, -1, -1, -1, -1])
    right = 100 * f1_score(truths >= 0, preds >= 0, average="weighted")
    swapped = 100 * f1_score(preds >= 0, truths >= 0, average="weighted")
    assert sentiment.f1(preds, truths) == pytest.approx(right)
    assert abs(right - swapped) > 1


def test_f1_of_a_class_that_never_occurs_is_zero_not_an_error():
    assert sentiment.f1(np.array([1.0, 1.0]), np.array([-1.0, -1.0])) == 0
    assert sentiment.f1(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == 100


def test_undefined_figures_are_left_out():
    figures = score(np.zeros(4), np.array([0.0, 0, 0, 0]), replications=5)
    assert "corr" not in figures
    assert "acc2_non0" not in figures
    assert figures["acc2"].value == 100


def test_majority_reaches_the_share_that_the_test_set_of_the_corpus_has():
    truths = np.array([-1.0] * 1350 + [0.0] * 1025 + [1.0] * 2287)
    figures = majority(truths, truths, replications=20)
    assert figures["acc2"].value == pytest.approx(71.04, abs=0.005)
    assert figures["acc2_non0"].value == pytest.approx(100 * 2287 / (1350 + 2287))
    assert "corr" not in figures
    assert figures["mae"].value == pytest.approx((1350 + 2287) / len(truths))  # the median is 0


def test_majority_is_chosen_on_the_training_set():
    figures = majority(np.array([-1.0, -1, 1]), np.array([1.0, 1, 1, -1]), replications=5)
    assert figures["acc2"].value == 25
    assert figures["acc7"].value == 25


def test_intervals_hold_the_value_and_shrink_with_more_utterances():
    few, many = draw(1, 50), draw(1, 2000)
    widths = []
    for preds, truths in (few, many):
        figures = score(preds, truths, replications=200)
        for name, figure in figures.items():
            assert figure.ci95[0] <= figure.value <= figure.ci95[1], name
        widths.append(figures["corr"].ci95[1] - figures["corr"].ci95[0])
    assert widths[1] < widths[0] / 3


def test_intervals_are_drawn_by_the_seed():
    one, again, other = (score(*draw(1, 50), replications=50, seed=seed)["mae"].ci95 for seed in (1, 1, 2))
    assert one == again != other


def test_a_binary_model_is_not_judged_as_a_regression():
    assert set(score(*draw(2), mode="binary", replications=5)) == set(MODE_METRICS["binary"])


@given(st.lists(st.tuples(st.floats(-9, 9), st.sampled_from(TRUTHS)), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_any_pairs_give_figures_in_range(pairs):
    preds, truths = (np.array(column, float) for column in zip(*pairs, strict=True))
    for name, metric in METRICS.items():
        value = metric(preds, truths)
        low, high = {"mae": (0, 12), "corr": (-1.001, 1.001)}.get(name, (0, 100))
        assert np.isnan(value) or low <= value <= high + 1e-9


def test_pair_orders_by_reference_and_refuses_what_does_not_fit():
    preds, truths = pair({"b": "2", "a": "1"}, {"a": "0", "b": "3"}, "hyp", "ref")
    assert (preds.tolist(), truths.tolist()) == ([1, 2], [0, 3])
    with pytest.raises(InputError, match=r"hyp: no utterance b, 1 missing"):
        pair({"a": "1"}, {"a": "1", "b": "1"}, "hyp", "ref")
    with pytest.raises(InputError, match=r"hyp: a: 'x' is no number"):
        pair({"a": "x"}, {"a": "1"}, "hyp", "ref")
    with pytest.raises(InputError, match=r"hyp: a: 'nan' is not finite"):
        pair({"a": "nan"}, {"a": "1"}, "hyp", "ref")
