"""How a training went: its log as curves over linear and logarithmic steps."""

import os
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from speechrep.errors import InputError
from speechrep.io.files import read_train_log
from speechrep.io.model_files import TRAIN_LOG
from speechrep.report import style

# Losses of knowing nothing that are logged beside the loss.
REFERENCES = {"zero": "predicting 0", "copy": "repeating the last frame"}
# What says nothing of the model: speed, and the loss once more as a ratio.
_UNSHOWN = {
    "part",
    "step",
    "epoch",
    "loss",
    "frames_per_s",
    "data_wait",
    "grad_norm",
    "lr",
    "l2",
    *REFERENCES,
}

Line = dict[str, Any]


def read_log(exp_dir: str | os.PathLike[str]) -> list[Line]:
    """The lines of an experiment's training log; one that is still being written is left out.

    Raises:
        InputError: no such folder or log, a line that is not a log line, or no line at all: a solved probe
            and untrained models log nothing but, if anything, one validation.
    """
    folder = Path(exp_dir)
    path = folder / TRAIN_LOG
    if not path.is_file():
        what = "no training log" if folder.is_dir() else "no such experiment"
        raise InputError(what, where=path if folder.is_dir() else folder,
                         mend="give a folder that pretrain or train_downstream wrote")  # fmt: skip
    lines = read_train_log(path)
    if not lines:
        raise InputError("an empty log: nothing was trained", where=path)
    return lines


def best_line(lines: list[Line]) -> Line | None:
    """The validation with the lowest loss."""
    valid = [line for line in lines if line["part"] == "valid"]
    return min(valid, key=lambda line: line["loss"]) if valid else None


def draw(lines: list[Line], title: str, parts: bool = True) -> Figure:
    """The loss over linear and logarithmic steps, and below that every other validation metric and the
    learning rate.

    Args:
        lines: of :func:`read_log`.
        title: above all.
        parts: False for the loss alone.
    """
    train, valid = ([line for line in lines if line["part"] == part] for part in ("train", "valid"))
    others = sorted({key for line in valid for key in line} - _UNSHOWN - REFERENCES.keys()) if parts else []
    others = [key for key in others if not key.startswith("loss_over")]
    if parts and any("lr" in line for line in train):
        others.append("lr")
    rows = 1 + (len(others) + 1) // 2
    drawn, axes = style.figure(rows, 2, heights=[2.0] + [1.5] * (rows - 1), title=title)
    first = min((line["step"] for line in lines if line["step"] > 0), default=1)
    for axis, scale in zip(axes[0], ("linear", "log"), strict=True):
        _loss(axis, train, valid)
        if scale == "log":
            axis.set_xscale("symlog", linthresh=first, linscale=0.4)  # step 0 has its place too
            axis.set_xlim(left=-0.2 * first)
            last = max(line["step"] for line in lines)
            powers = [10**k for k in range(12) if first <= 10**k <= last]
            axis.set_xticks([0, *(powers or [last])])
        style.label(axis, "loss" if scale == "linear" else "loss, logarithmic steps", x="step")
    drawn.legend(
        handles=axes[0, 0].get_legend_handles_labels()[0], fontsize=style.FONT - 1, frameon=False, ncols=3,
        loc="outside lower center",
    )  # fmt: skip
    for axis, key in zip(axes[1:].flat, others, strict=False):
        source = train if key == "lr" else valid
        points = [(line["step"], line[key]) for line in source if key in line]
        axis.plot(*zip(*points, strict=True), color=style.COLOURS[2], marker=_marker(points), markersize=3)
        style.label(axis, "learning rate" if key == "lr" else f"{key}, validation", x="step")
    for axis in axes[1:].flat[len(others) :]:
        axis.set_visible(False)
    return drawn


def _loss(axis: Any, train: list[Line], valid: list[Line]) -> None:
    for lines, name, colour in ((train, "training", 5), (valid, "validation", 0)):
        points = [(line["step"], line["loss"]) for line in lines]
        if points:
            marker = _marker(points) if name == "validation" else ""
            axis.plot(
                *zip(*points, strict=True), color=style.COLOURS[colour], linewidth=1.2, marker=marker,
                markersize=3.5, label=name,
            )  # fmt: skip
    for key, name in REFERENCES.items():
        values = [line[key] for line in valid if key in line]
        if values:
            axis.axhline(values[-1], color=style.COLOURS[4], linestyle="--", linewidth=1, label=name)


def _marker(points: list[tuple[int, float]]) -> str:
    return "o" if len(points) <= 40 else ""
