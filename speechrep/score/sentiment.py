"""The figures that CMU-MOSEI papers report, by the definitions of MulT and MMSA.

Predictions and truths are real numbers, truths from -3 to 3. Two-class figures come in two kinds: *has0* on
all utterances, negative against non-negative (``>= 0``), and *non0* on those whose truth is not 0, negative
against positive (``> 0``). Classes round half to even, as numpy does.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from speechrep.errors import InputError
from speechrep.score.bootstrap import REPLICATIONS, interval
from speechrep.score.classification import require_same_utts
from speechrep.score.results import Figure

Metric = Callable[[NDArray, NDArray], float]


def accuracy2(preds: NDArray, truths: NDArray) -> float:
    """Has0 two-class accuracy, percent."""
    return _percent((preds >= 0) == (truths >= 0))


def accuracy2_non0(preds: NDArray, truths: NDArray) -> float:
    """Non0 two-class accuracy, percent; NaN if all truths are 0."""
    kept = truths != 0
    return _percent((preds[kept] > 0) == (truths[kept] > 0))


def f1(preds: NDArray, truths: NDArray) -> float:
    """Has0 F1, percent: the mean over both classes, weighted by how often each is true.

    Some code gives the two arguments in the other order, which weights by how often each is predicted.
    """
    return _weighted_f1(preds >= 0, truths >= 0)


def f1_non0(preds: NDArray, truths: NDArray) -> float:
    """The same on the non0 decision."""
    kept = truths != 0
    return _weighted_f1(preds[kept] > 0, truths[kept] > 0)


def accuracy5(preds: NDArray, truths: NDArray) -> float:
    """Five-class accuracy (-2 to 2), percent."""
    return _class_accuracy(preds, truths, 2)


def accuracy7(preds: NDArray, truths: NDArray) -> float:
    """Seven-class accuracy (-3 to 3), percent."""
    return _class_accuracy(preds, truths, 3)


def mean_absolute_error(preds: NDArray, truths: NDArray) -> float:
    """Mean absolute error, predictions not clipped."""
    return float(np.abs(preds - truths).mean()) if len(truths) else float("nan")


def correlation(preds: NDArray, truths: NDArray) -> float:
    """Pearson's correlation, -1 to 1; NaN where either side is constant."""
    if len(truths) < 2 or np.ptp(preds) == 0 or np.ptp(truths) == 0:
        return float("nan")
    return float(np.corrcoef(preds, truths)[0, 1])


METRICS: dict[str, Metric] = {
    "acc2": accuracy2, "f1": f1, "acc2_non0": accuracy2_non0, "f1_non0": f1_non0, "acc5": accuracy5,
    "acc7": accuracy7, "mae": mean_absolute_error, "corr": correlation,
}  # fmt: skip
BETTER = {name: "lower" if name == "mae" else "higher" for name in METRICS}

# What a model's outputs can be judged by: a binary model's are scores whose sign alone means something.
MODE_METRICS = {
    "regression": tuple(METRICS),
    "class7": tuple(METRICS),
    "binary": ("acc2", "f1", "acc2_non0", "f1_non0"),
}


def score(
    preds: NDArray,
    truths: NDArray,
    mode: str = "regression",
    *,
    replications: int = REPLICATIONS,
    seed: int = 0,
) -> dict[str, Figure]:
    """All figures of a mode with 95 % intervals over utterances; one that is undefined is left out.

    Args:
        preds: (N,) predicted sentiment.
        truths: (N,) annotated sentiment.
        mode: key of :data:`MODE_METRICS`.
        replications, seed: of the bootstrap.
    """
    figures = {name: _figure(name, preds, truths, replications, seed) for name in MODE_METRICS[mode]}
    return {name: figure for name, figure in figures.items() if figure is not None}


def majority(
    train_truths: NDArray, truths: NDArray, *, replications: int = REPLICATIONS, seed: int = 0
) -> dict[str, Figure]:
    """What saying always the same reaches: per figure, the constant that is best on the training set.

    Args:
        train_truths: annotated sentiment of the training set, which alone chooses the constant.
        truths: of the scored set.
        replications, seed: of the bootstrap.
    """
    figures = {}
    for name, metric in METRICS.items():
        candidates = [float(np.median(train_truths))] if name == "mae" else [float(c) for c in range(-3, 4)]
        sign = -1.0 if BETTER[name] == "lower" else 1.0
        reached = [sign * metric(np.full(len(train_truths), c), train_truths) for c in candidates]
        if np.isfinite(reached).all():
            constant = np.full(len(truths), candidates[int(np.argmax(reached))])
            figures[name] = _figure(name, constant, truths, replications, seed)
    return {name: figure for name, figure in figures.items() if figure is not None}


def parse(table: Mapping[str, str], where: object) -> dict[str, float]:
    """The numbers of a table ``utterance number``.

    Raises:
        InputError: a value that is no finite number, naming the utterance.
    """
    numbers = {}
    for utt_id, text in table.items():
        try:
            numbers[utt_id] = float(text)
        except ValueError:
            raise InputError(f"{utt_id}: {text!r} is no number", where=where) from None
        if not np.isfinite(numbers[utt_id]):
            raise InputError(f"{utt_id}: {text!r} is not finite", where=where)
    return numbers


def pair(
    hyps: Mapping[str, str], refs: Mapping[str, str], hyp_where: object, ref_where: object
) -> tuple[NDArray, NDArray]:
    """Predictions and truths of the same utterances, in the order of the reference.

    Raises:
        InputError: an utterance is in one of them only, or a value is no number.
    """
    require_same_utts(refs, hyps, ref_where, hyp_where)
    if not refs:
        raise InputError("nothing to score", where=ref_where)
    preds, truths = parse(hyps, hyp_where), parse(refs, ref_where)
    return np.array([preds[u] for u in refs]), np.array([truths[u] for u in refs])


def _figure(name: str, preds: NDArray, truths: NDArray, replications: int, seed: int) -> Figure | None:
    metric = METRICS[name]
    value = metric(preds, truths)
    if not np.isfinite(value):
        return None

    def on_drawn(drawn: NDArray) -> float:
        return metric(preds[drawn], truths[drawn])

    ci95 = interval(on_drawn, len(truths), replications=replications, seed=seed)
    n = int((truths != 0).sum()) if name.endswith("non0") else len(truths)
    return Figure(value, ci95, n, BETTER[name])


def _percent(correct: NDArray) -> float:
    return 100.0 * float(correct.mean()) if len(correct) else float("nan")


def _class_accuracy(preds: NDArray, truths: NDArray, largest: int) -> float:
    return _percent(np.round(preds.clip(-largest, largest)) == np.round(truths.clip(-largest, largest)))


def _weighted_f1(preds: NDArray, truths: NDArray) -> float:
    """F1 of each class, weighted by its true count; a class without predictions and truths counts 0."""
    if not len(truths):
        return float("nan")
    total = 0.0
    for positive in (False, True):
        hits = int(((preds == positive) & (truths == positive)).sum())
        support, predicted = int((truths == positive).sum()), int((preds == positive).sum())
        total += support * (2 * hits / (support + predicted) if support + predicted else 0.0)
    return 100.0 * total / len(truths)
