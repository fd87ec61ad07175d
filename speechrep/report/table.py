"""The table the recipe is about: representations down, tasks across, each value with its interval."""

import dataclasses
import logging
import math
import os
import re
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from speechrep.config import from_dict
from speechrep.errors import InputError
from speechrep.io.files import read_json
from speechrep.report import paper
from speechrep.report.runs import found_above

logger = logging.getLogger(__name__)
RATES = ("wer", "cer", "eer", "accuracy", "acc2", "acc2_non0", "f1", "f1_non0", "acc5", "acc7")  # in percent
ARROWS = {"higher": "↑", "lower": "↓"}
MISSING = "-"
_HOW_TO_READ = (
    "In brackets: the 95 % bootstrap interval over test utterances. ↑ more is better, ↓ less is better.",
)
_CONTROLS = (
    "Controls show what comes for free: context frames alone, the same network with random weights, or "
    "always the same answer.",
    "A representation has learnt something for a task where it beats them by more than the intervals.",
)
_OF_SEEDS = "± the standard deviation over {} seeds; value and interval are then the means over them."
_DIFFERENCE = (
    "Differences (accuracy - name) are in points; their intervals are paired: a draw takes the same "
    "utterances of both."
)
# Rows that are there to keep the others honest: plain context, the same networks with random weights, and
# always the same answer.
_CONTROL = re.compile(r"_ctx\d+$|_untrained(_layer(\d+|s)|_average)?$|^majority$")


@dataclasses.dataclass(frozen=True)
class Result:
    """One entry of results.json."""

    task: str
    upstream: str
    features: str
    set: str
    metric: str
    value: float
    ci95: tuple[float, ...]  # low, high
    n: int
    better: str  # lower | higher
    checkpoint: str
    seed: int
    commit: str
    created: str

    @property
    def name(self) -> str:
        """What is scored: ``task/upstream/set``."""
        return f"{self.task}/{self.upstream}/{self.set}"

    @property
    def row(self) -> tuple[str, str]:
        """Upstream and the acoustic features below it."""
        return self.upstream, self.features

    @property
    def column(self) -> tuple[str, str, str]:
        """Task, set and metric."""
        return self.task, self.set, self.metric


def read_results(path: str | os.PathLike[str]) -> list[Result]:
    """Read results.json; checkpoints, which count from the recipe's folder, as paths from anywhere.

    Raises:
        InputError: it is not a list of results, naming the entry that is wrong.
    """
    entries = read_json(path)
    if not isinstance(entries, list):
        raise InputError("want a list of results", where=path)
    results = []
    for number, entry in enumerate(entries, start=1):
        where = f"{path}: result {number}"
        if not isinstance(entry, dict):
            raise InputError(f"want an object, got {entry!r}", where=where)
        result = from_dict(Result, entry, where)
        result = dataclasses.replace(result, checkpoint=found_above(path, result.checkpoint))
        if len(result.ci95) != 2:
            raise InputError(f"ci95 is {list(result.ci95)}, want [low, high]", where=where)
        if result.better not in ARROWS:
            raise InputError(f"better is {result.better!r}, want one of {sorted(ARROWS)}", where=where)
        results.append(result)
    return results


@dataclasses.dataclass(frozen=True)
class Summary(Result):
    """What all seeds say of one cell of the table: means of values and of bounds."""

    spread: float = math.nan
    """Standard deviation over seeds (n - 1), NaN of a single one."""
    seeds: int = 1


def over_seeds(results: Iterable[Result]) -> list[Summary]:
    """One summary for each row and column, in the order in which they first come."""
    groups: dict[tuple[tuple[str, str], tuple[str, str, str]], list[Result]] = {}
    for result in results:
        groups.setdefault((result.row, result.column), []).append(result)
    return [_summary(group) for group in groups.values()]


def _summary(group: Sequence[Result]) -> Summary:
    values = [result.value for result in group]
    bounds = zip(*(result.ci95 for result in group), strict=True)
    means = {"value": statistics.fmean(values), "ci95": tuple(map(statistics.fmean, bounds))}
    spread = statistics.stdev(values) if len(values) > 1 else math.nan
    return Summary(**(dataclasses.asdict(group[0]) | means), spread=spread, seeds=len(values))


def is_rate(metric: str) -> bool:
    """Whether a figure is in percent, or a difference of such in points."""
    return metric.partition(" - ")[0] in RATES


def titled(result: Result) -> str:
    """A metric with its unit and an arrow where to."""
    unit = "points " if " - " in result.metric else "%" if is_rate(result.metric) else ""
    return f"{result.metric} {unit}{ARROWS[result.better]}"


def how_to_read(results: Sequence[Result]) -> list[str]:
    """Sentences that explain what a table of these results holds."""
    seeds = sorted({summary.seeds for summary in over_seeds(results)} - {1})
    told = [*_HOW_TO_READ, *(_CONTROLS if any(is_control(result.upstream) for result in results) else ())]
    if seeds:
        told.insert(1, _OF_SEEDS.format(" or ".join(map(str, seeds))))
    if any(" - " in result.metric for result in results):
        told.append(_DIFFERENCE)
    return told


def is_control(upstream: str) -> bool:
    """Whether a row is a control: what the others must beat to mean something."""
    return bool(_CONTROL.search(upstream))


def named(results: Sequence[Result], names: Sequence[str]) -> list[Result]:
    """The results of the names, and a line of the log on the others.

    Raises:
        InputError: a name of which there is no result.
    """
    there = {result.name for result in results}
    if missing := sorted(set(names) - there):
        raise InputError(f"no result of {', '.join(missing)}", mend="run stages 4 and 5 of the recipe")
    if others := sorted(there - set(names)):
        told = ", ".join(others)
        logger.info("of earlier commands, not shown: %s (ask for them again to have them here)", told)
    return [result for result in results if result.name in names]


def in_order(results: Sequence[Result], names: Sequence[str]) -> list[Result]:
    """The results in the order in which ``names`` has task, upstream and set; others behind, as they come."""
    place = {name: number for number, name in reversed(list(enumerate(names)))}

    def key(result: Result) -> list[int]:
        return [place.get(name, len(names)) for name in (result.task, result.upstream, result.set)]

    return sorted(results, key=key)


def layout(results: Sequence[Result]) -> tuple[list[list[str]], list[list[str]]]:
    """The header lines and the rows of the table as text; the same number of cells in each.

    Rows and columns keep the order in which they first come, controls below the rest. Where the protocol is a
    paper's, its figures stand beside ours.
    """
    columns = list(dict.fromkeys(result.column for result in results))
    rows = sorted(dict.fromkeys(result.row for result in results), key=lambda row: is_control(row[0]))
    cells = {(result.row, result.column): result for result in over_seeds(results)}
    header = [["representation", "features"], ["", ""], ["", ""]]
    for column in columns:
        task, set_name, metric = column
        members = [result for result in results if result.column == column]
        header[0].append(task)
        header[1].append(titled(members[0]))
        header[2].append(f"{set_name}, n = {_range(result.n for result in members)}")
        if _beside(members):
            for line, cell in zip(header, (task, metric, paper.SOURCE), strict=True):
                line.append(cell)
    body = []
    for row in rows:
        upstream, features = row
        body.append([upstream + (" (control)" if is_control(upstream) else ""), features])
        for column in columns:
            body[-1].append(_cell(cells.get((row, column))))
            if _beside([result for result in results if result.column == column]):
                body[-1].append(paper.figure(column[0], column[2], upstream) or MISSING)
    return header, body


def _beside(members: Sequence[Result]) -> bool:
    """Whether a column is measured as the paper measures, and the paper has figures for it."""
    task, set_name, metric = members[0].column
    if not any(paper.figure(task, metric, result.upstream) for result in members):
        return False
    return paper.comparable(task, [set_name], [result.checkpoint for result in members]).startswith("yes")


def published(results: Sequence[Result]) -> list[str]:
    """A sentence for each task of which the paper has figures: whether ours may be held against them."""
    told = []
    for task in dict.fromkeys(item.task for item in paper.PUBLISHED):
        members = [result for result in results if result.task == task]
        if members:
            sets = sorted({result.set for result in members})
            verdict = paper.comparable(task, sets, [result.checkpoint for result in members])
            told.append(f"Comparable with {paper.SOURCE}, {task}: {verdict.rstrip('.')}.")
    return told


def terminal(results: Sequence[Result]) -> str:
    """The table for a terminal, columns aligned."""
    header, body = layout(results)
    widths = [max(map(len, column)) for column in zip(*header, *body, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [*header, ["-" * width for width in widths], *body]
    ]
    return "\n".join(lines) + "\n"


def markdown(results: Sequence[Result], about: dict[str, Any]) -> str:
    """RESULTS.md: how the numbers were made, the table, and how to read it.

    Args:
        about: what to tell above the table, such as date and command.
    """
    header, body = layout(results)
    titles = [" <br> ".join(filter(None, cells)) for cells in zip(*header, strict=True)]
    lines = [
        "# Results",
        "",
        *(f"- {name}: {barred(str(value))}" for name, value in about.items()),
        "",
        *(f"| {' | '.join(map(barred, line))} |" for line in [titles, ["---"] * len(titles), *body]),
        "",
        *how_to_read(results),
        *published(results),
    ]
    return "\n".join(lines) + "\n"


def barred(text: str) -> str:
    """``text`` whose bars do not end a cell of a Markdown table."""
    return text.replace("|", "\\|")


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return MISSING
    digits = 1 if is_rate(summary.metric) else 3
    value, low, high = (rounded(number, digits) for number in (summary.value, *summary.ci95))
    spread = f" ±{summary.spread:.{digits}f}" if summary.seeds > 1 else ""
    return f"{value}{spread} [{low}, {high}]"


def rounded(value: float, digits: int) -> str:
    """``value`` with so many digits; no sign on a zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _range(counts: Iterable[int]) -> str:
    """``66``, or ``60-66`` where rows differ."""
    seen = sorted(set(counts))
    return "-".join(map(str, (seen[0], seen[-1])[: len(seen)]))
