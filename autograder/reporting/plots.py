"""Plots, as pictures to put into a page: SVG in a data URI, which can neither run a script nor load anything.

Colours are names that a style sheet in the picture gives a value, one for light pages and one for dark ones.
"""

import base64
import io
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autograder.reporting.model import ExerciseReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that stand for others; matplotlib takes no names that it does not know.
_INK, _MUTED, _LINE, _BAR, _GOOD = "#010101", "#020202", "#030303", "#040404", "#050505"
_LIGHT = {_INK: "#1c2430", _MUTED: "#5b6675", _LINE: "#dfe3e8", _BAR: "#4668d8", _GOOD: "#1f8a63"}
_DARK = {_INK: "#e8ebf0", _MUTED: "#a3adbb", _LINE: "#333b47", _BAR: "#86a2ff", _GOOD: "#4cc79a"}
_FAILED, _PASSED, _NOT_RUN = (207, 74, 52, 255), (52, 158, 120, 90), (128, 128, 128, 160)  # on light and dark pages

_MOST_BARS = 20
_WIDTH, _HEIGHT = 4.4, 2.5  # inches
_SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "report",  # the same picture has the same bytes
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.parse_math": False,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "axes.titlecolor": _INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
}


@dataclass(frozen=True)
class Plot:
    """A picture.

    Attributes:
        source: The data URI.
        says: What it shows, in words, for who does not see it.
        wide: Whether it needs the page's width.
    """

    source: str
    says: str
    wide: bool = False


def plots_of(report: ExerciseReport) -> list[Plot]:
    """Returns the plots of an exercise; none where nothing is graded."""
    if not report.graded_submissions:
        return []
    found = [_points(report), _stages(report), _memory(report), _heat_map(report)]
    return [plot for plot in found if plot is not None]


def _points(report: ExerciseReport) -> Plot:
    points = [one.points for one in report.graded_submissions]
    top = max(report.max_points, *points, 1.0)
    bins = math.ceil(top) if top <= _MOST_BARS else _MOST_BARS
    counts = [0] * (bins + 1)  # the last one is for full points
    for value in points:
        counts[min(int(value / top * bins), bins)] += 1
    with _figure() as (axes, save):
        width = top / bins
        places = [number * width for number in range(bins + 1)]
        colours = [_BAR] * bins + [_GOOD]
        axes.bar(places, counts, width=width * 0.9, color=colours)
        axes.set(title="Points", xlabel=f"of {report.max_points:g}; the last bar: all points", ylabel="submissions")
        axes.grid(axis="x", visible=False)
        axes.locator_params(axis="y", integer=True)
        if report.median is not None:
            _mark(axes, report.median, f"median {report.median:g}")
        says = f"Points of {len(points)} submissions: median {report.median:g} of {report.max_points:g}; "
        return Plot(save(), says + f"{counts[-1]} have all points, {counts[0]} less than {width:g}.")


def _stages(report: ExerciseReport) -> Plot | None:
    if report.seconds is None:
        return None
    spreads = {"all": report.seconds, **report.stages}
    names = list(spreads)[::-1]
    with _figure() as (axes, save):
        for place, name in enumerate(names):
            spread = spreads[name]
            colour = _INK if name == "all" else _BAR
            axes.barh(place, spread.median, height=0.55, color=colour)
            axes.plot([spread.median, spread.ninetieth], [place, place], color=colour, linewidth=2)
            axes.plot([spread.largest], [place], "o", color=colour, markersize=3.5)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlim(left=0)
        axes.set(title="Time to grade a submission", xlabel="seconds: bar median, line to nine of ten, dot the slowest")
        axes.grid(axis="y", visible=False)
        parts = ", ".join(f"{name} {spread.median:.1f}" for name, spread in spreads.items())
        return Plot(save(), f"Median seconds to grade a submission, by stage: {parts}.")


def _memory(report: ExerciseReport) -> Plot | None:
    used = [one.memory / 2**20 for one in report.graded_submissions if one.memory]
    if report.memory is None or not used:
        return None
    with _figure() as (axes, save):
        axes.hist(used, bins=min(_MOST_BARS, max(5, len(used) // 2)), color=_BAR, rwidth=0.9)
        axes.set(title="Memory at most", xlabel="MiB", ylabel="submissions")
        axes.grid(axis="x", visible=False)
        axes.locator_params(axis="y", integer=True)
        median = report.memory.median / 2**20
        _mark(axes, median, f"median {median:.0f}")
        return Plot(save(), f"Memory: median {median:.0f} MiB, at most {max(used):.0f} MiB.")


def _heat_map(report: ExerciseReport) -> Plot:
    """A row a criterion, a column a student; those with most points come first."""
    import numpy as np

    ordered = sorted(report.graded_submissions, key=lambda one: (-one.judged_points, one.student))
    rows = {criterion.criterion: row for row, criterion in enumerate(report.criteria)}
    colours = {"passed": _PASSED, "failed": _FAILED, "not run": _NOT_RUN}
    picture = np.zeros((len(rows), len(ordered), 4), dtype=np.uint8)
    for column, submission in enumerate(ordered):
        for verdict in submission.verdicts:
            picture[rows[verdict.criterion], column] = colours[verdict.state]
    with _figure(width=2 * _WIDTH, height=0.8 + 0.22 * len(rows)) as (axes, save):
        axes.imshow(picture, aspect="auto", interpolation="none")
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_xticks([])
        axes.set(title="Who fails what", xlabel="students, those with most points first; strong: failed, faint: passed")
        axes.grid(visible=False)
        worst = ", ".join(f"{one.criterion} {one.failing:.0%}" for one in report.criteria[:3])
        return Plot(save(), f"Criteria by student. Those that fail most: {worst}.", wide=True)


@contextmanager
def _figure(width: float = _WIDTH, height: float = _HEIGHT) -> "Iterator[tuple[Axes, Callable[[], str]]]":
    """Yields axes to draw on, and what returns them as a data URI."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")

        def save() -> str:
            file = io.StringIO()
            about = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            figure.savefig(file, format="svg", transparent=True, metadata=about)
            return "data:image/svg+xml;base64," + base64.b64encode(_themed(file.getvalue()).encode()).decode()

        yield figure.add_subplot(), save


def _themed(svg: str) -> str:
    """Gives colours that stand for others their values, light or dark as the reader's system is."""
    for colour in _LIGHT:
        svg = svg.replace(colour, f"var(--c{colour[-1]})")
    light, dark = ("".join(f"--c{colour[-1]}:{value};" for colour, value in theme.items()) for theme in (_LIGHT, _DARK))
    style = f"<style>:root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    start = svg.index("<svg")
    place = svg.index(">", start) + 1
    svg = svg[start:place] + style + svg[place:]
    return re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, 'DejaVu Sans', sans-serif", svg)


def _mark(axes: "Axes", place: float, text: str) -> None:
    axes.axvline(place, color=_INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_title(text, loc="right", fontsize=9, fontweight="normal", color=_MUTED)
