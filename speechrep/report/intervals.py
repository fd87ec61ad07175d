"""The table of results as a picture: every value with its interval."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from speechrep.report import style
from speechrep.report.table import Result, is_control, over_seeds, titled


def draw(results: Sequence[Result], title: str = "") -> Figure:
    """A panel for each task, set and metric, a line for each representation; controls hollow and grey."""
    summaries = over_seeds(results)
    columns = list(dict.fromkeys(summary.column for summary in summaries))
    members = [[summary for summary in summaries if summary.column == column] for column in columns]
    for rows in members:
        rows.sort(key=lambda result: is_control(result.upstream))
    heights = [0.42 + 0.21 * len(rows) for rows in members]
    drawn, axes = style.figure(len(columns), heights=heights, title=title)
    several = len({result.features for result in results}) > 1
    for axis, rows in zip(axes[:, 0], members, strict=True):
        for place, result in enumerate(rows):
            control = is_control(result.upstream)
            colour = "#777777" if control else style.COLOURS[0]
            axis.plot(result.ci95, (place, place), color=colour, linewidth=1.6, solid_capstyle="butt")
            axis.plot(
                result.value,
                place,
                "o",
                color=colour,
                markersize=5,
                markerfacecolor="white" if control else colour,
            )
        names = [f"{row.upstream} ({row.features})" if several else row.upstream for row in rows]
        axis.set_yticks(range(len(rows)), map(style.literal, names))
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.margins(x=0.08)
        axis.grid(axis="x", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        style.label(axis, f"{rows[0].task}, {titled(rows[0])}, {rows[0].set}")
    return drawn
