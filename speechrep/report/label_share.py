"""Scores against the share of labelled training utterances: the comparison that pre-training is for.

An experiment has ``results.json`` of all labels and ``label_share/<share>.json``, of the same form, of a part
of them; there ``seed`` is that of the draw.
"""

import dataclasses
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from speechrep.errors import InputError
from speechrep.report import style
from speechrep.report.table import (
    MISSING,
    Result,
    Summary,
    barred,
    in_order,
    is_rate,
    over_seeds,
    read_results,
    rounded,
    titled,
)

FOLDER = "label_share"


@dataclasses.dataclass(frozen=True)
class Curves:
    """What one column of the table becomes with fewer labels.

    Attributes:
        column: task, set and metric.
        rows: representation to its scores by rising share.
    """

    column: tuple[str, str, str]
    rows: dict[str, dict[float, Summary]]

    @property
    def first(self) -> Summary:
        """One of the scores; they agree in metric and unit."""
        return next(score for row in self.rows.values() for score in row.values())


def read_shares(exp: str | os.PathLike[str], names: Collection[str] = ()) -> dict[float, list[Result]]:
    """The results of an experiment by share, rising; 1 is all labels. Empty if no part of them was tried.

    Args:
        exp: the experiment.
        names: only results of these names, ``task/upstream/set``, with a part of the labels and its draw
            ``task/upstream/set@0.1#2``; if there are none of the latter, all parts and draws. Empty: all.

    Raises:
        InputError: a file there that is named by no share, or holds no results.
    """
    draws = {name for name in names if "@" in name}
    found = {}
    for path in Path(exp, FOLDER).glob("*.json"):
        try:
            share = float(path.stem)
        except ValueError:
            raise InputError("is not named by a share, such as 0.1.json", where=path) from None
        results = read_results(path)
        wanted = [result for result in results if f"{result.name}@{path.stem}#{result.seed}" in draws]
        found[share] = wanted if draws else _of_names(results, names)
    if found:
        found[1.0] = _of_names(read_results(Path(exp, "results.json")), names)
    return dict(sorted(found.items()))


def _of_names(results: list[Result], names: Collection[str]) -> list[Result]:
    return [result for result in results if not names or result.name in names]


def curves(shares: dict[float, list[Result]], order: Sequence[str] = ()) -> list[Curves]:
    """One for each column of which a part of the labels was tried.

    Args:
        shares: results by share.
        order: representations and sets in the order of the tables; others behind, as they come.
    """
    columns: dict[tuple[str, str, str], dict[str, dict[float, Summary]]] = {}
    for share, results in shares.items():
        for score in over_seeds(in_order(results, order)):
            columns.setdefault(score.column, {}).setdefault(score.upstream, {})[share] = score
    found = []
    for column, rows in columns.items():
        rows = {name: row for name, row in rows.items() if min(row) < 1}
        if rows:
            found.append(Curves(column, rows))
    return found


def main_columns(found: Sequence[Curves]) -> list[Curves]:
    """Those of the first metric of each task and set."""
    return list({one.column[:2]: one for one in reversed(found)}.values())[::-1]


def markdown(found: Sequence[Curves]) -> str:
    """A table for each column: representations down, shares across, ``mean ± standard deviation``."""
    lines = []
    for one in found:
        task, set_name, _ = one.column
        shares = sorted({share for row in one.rows.values() for share in row})
        lines += [f"## {task}, {titled(one.first)}, {set_name}", ""]
        table = [["representation", *(f"{100 * share:g} %" for share in shares)], ["---"] * (len(shares) + 1)]
        table += [[name, *(_cell(row.get(share)) for share in shares)] for name, row in one.rows.items()]
        lines += [*(f"| {' | '.join(map(barred, cells))} |" for cells in table), ""]
    return "\n".join(lines)


def draw(one: Curves) -> Figure:
    """A line for each representation, the spread over draws as bars; shares on a logarithmic axis."""
    task, set_name, _ = one.column
    drawn, axes = style.figure(1, heights=[3.0], title=f"{task}, {set_name}")
    axis = axes[0, 0]
    for i, (name, row) in enumerate(one.rows.items()):
        axis.errorbar(
            [100 * share for share in row], [score.value for score in row.values()],
            yerr=np.nan_to_num([score.spread for score in row.values()]),
            color=style.COLOURS[i % len(style.COLOURS)], marker=style.MARKERS[i % len(style.MARKERS)],
            markersize=4, linewidth=1.2, capsize=2, label=style.literal(name),
        )  # fmt: skip
    axis.set_xscale("log")
    ticks = sorted({100 * share for row in one.rows.values() for share in row})
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.grid(alpha=0.3)
    style.label(axis, x="share of labelled training utterances, %", y=titled(one.first))
    style.legend(axis, loc="best")
    return drawn


def _cell(score: Summary | None) -> str:
    if score is None:
        return MISSING
    digits = 1 if is_rate(score.metric) else 3
    return rounded(score.value, digits) + (f" ± {score.spread:.{digits}f}" if score.seeds > 1 else "")
