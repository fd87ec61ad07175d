"""How our pictures look: narrow enough for a telephone, colours that all eyes can tell apart.

Figures are drawn without pyplot, hence without a window system and without state that outlives them.
"""

import io
import os
import re

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from speechrep.io.files import atomic_open

WIDTH = 4.8  # inches; at the usual 96 pixels per inch a page shows 461, a telephone about 360
DPI = 170
FONT = 9.0  # points
# Okabe and Ito's palette without its yellow, which is too light for lines on white.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SEQUENTIAL, DIVERGING = "viridis", "PuOr"  # both safe for the colour-blind


def figure(
    rows: int, columns: int = 1, *, heights: list[float] | None = None, sharex: bool = False, title: str = ""
) -> tuple[Figure, NDArray[np.object_]]:
    """A figure of :data:`WIDTH` and its axes, (rows, columns).

    Args:
        rows, columns: of axes.
        heights: of each row, in inches; 1.4 each if not given.
        sharex: whether all axes have one x axis.
        title: above all; long ones are broken.
    """
    heights = heights or [1.4] * rows
    drawn = Figure(figsize=(WIDTH, sum(heights) + 0.5), dpi=DPI, layout="constrained")
    axes = drawn.subplots(rows, columns, squeeze=False, sharex=sharex, gridspec_kw={"height_ratios": heights})
    if title:
        drawn.suptitle("\n".join(_broken(title)), fontsize=FONT + 1)
    for axis in axes.flat:
        axis.tick_params(labelsize=FONT - 1, length=2.5)
    return drawn, axes


def label(axis: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Title and labels in the house's sizes."""
    if title:
        axis.set_title(literal(title), fontsize=FONT, loc="left", pad=3)
    if x:
        axis.set_xlabel(literal(x), fontsize=FONT)
    if y:
        axis.set_ylabel(literal(y), fontsize=FONT)


def legend(axis: Axes, **where: object) -> None:
    """A legend in the house's size."""
    axis.legend(fontsize=FONT - 1, frameon=False, **where)


def png(drawn: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    stream = io.BytesIO()
    drawn.savefig(stream, format="png")
    return stream.getvalue()


def pixels(drawn: Figure) -> NDArray[np.uint8]:
    """A figure as red, green and blue, (height, width, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save(drawn: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG; the file appears whole or not at all."""
    content = png(drawn)
    with atomic_open(path, "wb") as stream:
        stream.write(content)


def literal(text: str) -> str:
    """``text`` that matplotlib shows as it is: no mathematics, nor left out of a legend for its ``_``."""
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def file_name(text: str) -> str:
    """``text`` with whatever a file name had better not hold replaced by ``_``."""
    return re.sub(r"[^\w.+-]", "_", text)


def _broken(title: str, most: int = 62) -> list[str]:
    """Lines of at most so many characters, if the words allow."""
    lines = [""]
    for word in literal(title).split():
        if len(lines[-1]) + len(word) >= most and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
