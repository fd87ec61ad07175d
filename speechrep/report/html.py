"""The report of an experiment: one page that shows what came out, what it looks like and how it was made."""

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from speechrep.downstream.layer_sum import learned_weights
from speechrep.errors import InputError
from speechrep.io.model_files import TRAIN_LOG
from speechrep.report import curves, intervals, label_share, layers, mistakes, paper, runs, style
from speechrep.report.page import (
    Html,
    element,
    escape,
    figures,
    folded,
    join,
    note,
    page,
    picture,
    section,
    table,
)  # fmt: skip
from speechrep.report.runs import Run
from speechrep.report.table import Result, how_to_read, is_control, layout
from speechrep.score.details import operation

SECONDS = 3.0  # of an utterance in a picture
WORST = 5  # utterances of each recogniser
CONFUSED = 8  # pairs of phones


class Experiment(NamedTuple):
    """What the sections are made from."""

    folder: Path
    results: list[Result]
    runs: list[Run]
    only: Collection[str] = ()


def report(
    exp: str | os.PathLike[str],
    results: Sequence[Result],
    about: dict[str, str],
    order: Sequence[str],
    reused: Sequence[str] = (),
    only: Collection[str] = (),
) -> str:
    """The page's HTML.

    What is not there, such as features that were removed, is told in its place; it does not stop the report.

    Args:
        exp: the experiment's folder.
        results: in the order of the table.
        about: what to tell above the table, such as date and command.
        order: upstreams and tasks in the order of the table.
        reused: folders of the upstreams of other experiments that this one uses.
        only: names of results with parts of the labels, as :func:`label_share.read_shares` takes them.
    """
    shown = {f"{result.task}_{result.upstream}" for result in results}
    found = runs.read_runs(exp, order, reused)
    models = [run for run in found if run.is_upstream or run.damage or run.name in shown]
    it = Experiment(Path(exp), list(results), models, only)
    told = [
        element("li", join([element("b", name), escape(f": {value}")], "")) for name, value in about.items()
    ]
    return page(
        f"Experiment {it.folder.resolve().name}",
        [element("ul", join(told))],
        [section(name, _guarded(make, it)) for name, make in SECTIONS.items()],
    )


def _guarded(make: Callable[..., list[Html]], *what: Any) -> list[Html]:
    """A section's content or a part of it, or what keeps it from being made."""
    try:
        return make(*what)
    except InputError as error:
        return [note(f"Not shown: {error}")]


def _drawn(caption: str, draw: Callable[[], Figure]) -> Html:
    """A picture, or what keeps it from being drawn."""
    try:
        return picture(style.png(draw()), caption)
    except InputError as error:
        return note(f"{caption}: not drawn. {error}")


def _results(it: Experiment) -> list[Html]:
    header, body = layout(it.results)
    titles = ["\n".join(filter(None, cells)) for cells in zip(*header, strict=True)]
    body = [[_together(cell) for cell in row] for row in body]
    controls = [is_control(row[0].split(" ")[0]) for row in body]
    hollow = "; controls are hollow" if any(controls) else ""
    return [
        table(titles, body, dim=controls),
        note(" ".join(how_to_read(it.results))),
        figures([_drawn(f"Values and their intervals{hollow}.", lambda: intervals.draw(it.results))]),
    ]


def _fewer_labels(it: Experiment) -> list[Html]:
    order = [result.upstream for result in it.results]  # not that in which steps happened to end
    names = it.only or {result.name for result in it.results}
    shares = label_share.read_shares(it.folder, names)
    found = label_share.main_columns(label_share.curves(shares, order))
    if not found or (it.only and not any("@" in name for name in it.only)):  # those there are of other runs
        return [note("Trained on all labels only; --label-shares trains on parts of them, too.")]
    caption = "{}, {}: mean and spread over draws of the training utterances"
    return [
        figures([_drawn(caption.format(*one.column), lambda one=one: label_share.draw(one)) for one in found])
    ]


def _together(cell: str) -> str:
    """A value whose interval no line break parts."""
    return cell.replace(", ", ",\u00a0")


def _published(it: Experiment) -> list[Html]:
    tasks = {result.task for result in it.results}
    rows = []
    for item in paper.PUBLISHED:
        if item.task in tasks:
            members = [result for result in it.results if result.task == item.task]
            sets = sorted({result.set for result in members})
            values = "; ".join(f"{name} {value}" for name, value in item.figures)
            rows.append(
                [
                    item.task,
                    f"{item.metric} %: {values}",
                    item.what,
                    paper.comparable(item.task, sets, [result.checkpoint for result in members]),
                ]
            )
    without = sorted(tasks - {item.task for item in paper.PUBLISHED})
    parts = (
        [table(["task", paper.SOURCE, "its protocol", "comparable with the table above?"], rows)]
        if rows
        else []
    )
    if rows:
        parts.append(note("“(sum)”: the paper gives the difference from Mel, the figure is the sum."))
    if without:
        parts.append(note(f"No published figures are known here for: {', '.join(without)}."))
    return parts


def _curves(it: Experiment) -> list[Html]:
    pictures, still, damaged = [], [], []
    for run in it.runs:
        try:
            lines = curves.read_log(run.folder)
        except InputError as error:
            lines, log = [], run.folder / TRAIN_LOG
            if log.is_file() and log.stat().st_size:
                damaged.append(note(f"Not shown: {error}"))
                continue
        if len({line["step"] for line in lines}) < 2:
            still.append(run.name)
            continue
        best = curves.best_line(lines)
        told = f", lowest validation loss {best['loss']:.4f} at step {best['step']}" if best else ""
        pictures.append(
            _drawn(
                f"{run.name}{told}",
                lambda lines=lines, run=run: curves.draw(lines, run.name, parts=not run.is_upstream),
            )
        )
    parts = [figures(pictures)] if pictures else [note("No model was trained step by step.")]
    if still:
        parts.append(
            note(f"Without steps (untrained, or solved to the optimum at once): {', '.join(still)}.")
        )
    return parts + damaged


def _reconstructions(it: Experiment) -> list[Html]:
    from speechrep.report import spectrogram  # imports torch, which takes seconds
    from speechrep.report.utterance import read_utterance
    from speechrep.upstream.checkpoint import load

    def draw(run: Run) -> Figure:
        features = runs.path_option(run, "valid-dir")
        if not features:
            raise InputError("no valid-dir", where=run.folder / "config.yaml")
        model = load(run.folder)
        utterance = read_utterance(model, features, end_s=SECONDS, where=run.folder)
        other = spectrogram.target_of(run.info, run.folder)
        done = spectrogram.reconstruct(model, utterance, other=other)
        return spectrogram.draw(done, model.meta, f"{run.name}: {utterance.utt_id}", other)

    trained = [run for run in it.runs if run.is_upstream and run.info.get("upstream") != "surface"]
    trained = [run for run in trained if not is_control(run.folder.name)]
    if not trained:
        return [note("This experiment has no trained upstream.")]
    caption = "{}: its pre-training task on the first validation utterance"
    return [figures([_drawn(caption.format(run.name), lambda run=run: draw(run)) for run in trained])]


def _layers(it: Experiment) -> list[Html]:
    pictures = []
    for run in it.runs:
        if run.is_upstream:
            continue
        try:
            weights = learned_weights(run.folder)
        except InputError:
            continue
        pictures.append(_drawn(f"{run.name}: how it mixes its upstream's layers",
                               lambda weights=weights, run=run: layers.draw(weights, run.name)))  # fmt: skip
    if pictures:
        return [figures(pictures)]
    return [note("No task of this experiment mixes layers: each reads one layer of its upstream.")]


def _phones(it: Experiment) -> list[Html]:
    found = [(run, folder) for run, folder in _decoded(it, "phone") if not is_control(run.name)]
    if not found:
        return [note("No phone task in this experiment.")]
    pictures, lists, damaged = [], [], []
    for run, folder in found:
        name = f"{run.name} on {folder.name.removeprefix('decode_')}"
        try:
            counted = mistakes.confusion(folder / "ref", folder / "hyp")
        except InputError as error:
            damaged.append(note(f"Not shown: {error}"))
            continue
        pictures.append(
            _drawn(name, lambda counted=counted, name=name: mistakes.draw_confusion(counted, name))
        )
        rows = [
            [f"{said} as {heard}", frames, f"{share:.0f}"]
            for said, heard, frames, share in mistakes.most_confused(counted, CONFUSED)
        ]
        listed = table(["said as heard", "frames", "% of the frames of what was said"], rows)
        lists.append(folded(f"{name}: the commonest mistakes", listed))
    return [figures(pictures), *lists, *damaged]


def _worst(it: Experiment) -> list[Html]:
    found = _decoded(it, "asr")
    if not found:
        return [note("No speech recognition in this experiment.")]
    parts = [
        note(
            "Above what was said, below what was recognised. Struck out: left out by the recogniser; "
            "underlined: put in by it; both coloured: one for the other."
        )
    ]
    for run, folder in found:
        parts.append(element("h3", f"{run.name} on {folder.name.removeprefix('decode_')}"))
        parts += _guarded(_worst_of, folder)
    return parts


def _worst_of(folder: Path) -> list[Html]:
    worst = mistakes.worst_utterances(folder / "ref", folder / "hyp", WORST)
    return [_aligned(utterance) for utterance in worst] or [note("Without an error.")]


def _aligned(utterance: mistakes.WrongUtterance) -> Html:
    title = f"{utterance.utt_id}: {utterance.errors} errors in {utterance.ref_units} words"
    pairs = [
        element(
            "span",
            join([element("b", "·" if ref is None else ref), element("i", "·" if hyp is None else hyp)], ""),
            class_=operation(ref, hyp),
        )
        for ref, hyp in utterance.pairs
    ]
    return join([element("div", title), element("div", join(pairs), class_="pairs")])


def _decoded(it: Experiment, task: str) -> list[tuple[Run, Path]]:
    """The task's models with each folder of something they decoded."""
    return [
        (run, folder)
        for run in it.runs
        if not run.is_upstream and run.info.get("task") == task
        for folder in sorted(run.folder.glob("decode_*"))
        if (folder / "hyp").is_file() and (folder / "ref").is_file()
    ]


def _configuration(it: Experiment) -> list[Html]:
    parts = []
    for run in it.runs:
        if run.damage:
            parts.append(note(f"Not shown: {run.damage}"))
            continue
        sha = str(run.info.get("weights_sha256", ""))[:16]
        made = f"weights {sha}, made {run.info.get('created', '?')}, commit {run.info.get('commit', '?')}"
        text = runs.read_options(run) or "no config.yaml"
        parts.append(folded(run.name, join([note(made), element("pre", text)])))
    return parts or [note("No model in this experiment's folder.")]


def _times(it: Experiment) -> list[Html]:
    steps = runs.read_steps(it.folder / "logs")
    if not steps:
        return [note(f"No logs in {it.folder / 'logs'}.")]
    stages = []
    for number, name in enumerate(runs.STAGES):
        members = [step for step in steps if step.stage == number]
        if not members:
            stages.append([f"{number} {name}", "none here", "-", "-"])
            continue
        seconds = [step.seconds for step in members if step.seconds is not None]
        slowest = max(members, key=lambda step: step.seconds or 0)
        stages.append(
            [
                f"{number} {name}",
                len(members),
                f"{sum(seconds):.0f}",
                f"{slowest.name}, {slowest.seconds or 0:.0f} s",
            ]
        )
    rows = [
        [
            step.name,
            "not ended" if step.seconds is None else f"{step.seconds:.0f}",
            element("code", step.command),
        ]
        for step in steps
    ]
    return [
        table(["stage", "steps", "seconds, steps added up", "slowest step"], stages),
        note(
            "Steps of a stage run side by side where there are cores: a stage takes less than its steps "
            "together. Of a step that was interrupted only the time since it went on counts. What another "
            "experiment made before, data and features above all, is not made again: "
            "its logs are there."
        ),
        folded("Every step: seconds and command", table(["step", "seconds", "command"], rows)),
    ]


def _versions(it: Experiment) -> list[Html]:
    return [table(["", "the report was made with"], runs.versions())]


SECTIONS: dict[str, Callable[[Experiment], list[Html]]] = {
    "Results": _results,
    "Fewer labels": _fewer_labels,
    "Published figures": _published,
    "Training": _curves,
    "Reconstructions": _reconstructions,
    "Layers": _layers,
    "Phones": _phones,
    "Worst utterances": _worst,
    "Configuration": _configuration,
    "Commands and times": _times,
    "Versions": _versions,
}
