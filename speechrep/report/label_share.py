"""Accuracy against the share of labelled training data: the comparison that pre-training is for."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from speechrep.report import style


class Trial(NamedTuple):
    """One probe, trained on one draw of the training utterances."""

    upstream: str
    proportion: float  # of the training utterances
    num_utts: int
    seed: int
    accuracy: float  # percent


class Point(NamedTuple):
    """What the seeds of one proportion say together."""

    proportion: float
    num_utts: int
    mean: float
    spread: float
    """Standard deviation over seeds (n - 1), NaN of a single one."""
    seeds: int


def summarise(trials: Iterable[Trial]) -> dict[str, list[Point]]:
    """Representation to its points, by rising proportion."""
    groups: dict[str, dict[float, list[Trial]]] = {}
    for trial in trials:
        groups.setdefault(trial.upstream, {}).setdefault(trial.proportion, []).append(trial)
    return {
        upstream: [_point(proportion, group) for proportion, group in sorted(by_share.items())]
        for upstream, by_share in groups.items()
    }


def markdown(points: dict[str, list[Point]]) -> str:
    """A table: representations down, shares across, ``mean ± spread``."""
    shares = sorted({point.proportion for row in points.values() for point in row})
    counts = {point.proportion: point.num_utts for row in points.values() for point in row}
    head = ["representation", *(f"{100 * share:g} % ({counts[share]} utt.)" for share in shares)]
    lines = [head, ["---"] * len(head)]
    for upstream, row in points.items():
        cells = {point.proportion: _cell(point) for point in row}
        lines.append([upstream, *(cells.get(share, "-") for share in shares)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def draw(points: dict[str, list[Point]], title: str) -> Figure:
    """A line for each representation, the spread over seeds as bars; shares on a logarithmic axis."""
    drawn, axes = style.figure(1, heights=[3.0], title=title)
    axis = axes[0, 0]
    for i, (upstream, row) in enumerate(points.items()):
        spreads = np.nan_to_num([point.spread for point in row])
        axis.errorbar(
            [100 * point.proportion for point in row], [point.mean for point in row], yerr=spreads,
            color=style.COLOURS[i % len(style.COLOURS)], marker=style.MARKERS[i % len(style.MARKERS)],
            markersize=4, linewidth=1.2, capsize=2, label=upstream,
        )  # fmt: skip
    axis.set_xscale("log")
    ticks = sorted({100 * point.proportion for row in points.values() for point in row})
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.grid(alpha=0.3)
    style.label(axis, x="share of labelled training utterances, %", y="frame accuracy, %")
    style.legend(axis, loc="lower right")
    return drawn


def _point(proportion: float, trials: list[Trial]) -> Point:
    values = np.array([trial.accuracy for trial in trials])
    spread = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return Point(proportion, trials[0].num_utts, float(values.mean()), spread, len(values))


def _cell(point: Point) -> str:
    return f"{point.mean:.1f}" + (f" ± {point.spread:.1f}" if point.seeds > 1 else "")
