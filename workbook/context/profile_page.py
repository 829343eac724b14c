"""Draws a profile, and puts it on a page of HTML that needs nothing else."""

import base64
import html
import io
from typing import TYPE_CHECKING

import numpy as np

from workbook.context.profile import Profile, StepProfile
from workbook.show import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that are told apart without colour vision, too; what is cheap is pale.
_KINDS = {"cached": "#a6cee3", "written": "#1f78b4", "uncached": "#e66101", "output": "#404040"}
_LABELS = {
    "cached": "read from the cache",
    "written": "written to it",
    "uncached": "neither",
    "output": "generated",
}

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; font-size: 0.85rem; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: 0.25rem 0.75rem 0.25rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #888; } td { overflow-wrap: anywhere; }
img { max-width: 100%; }
"""


def draw(profile: Profile) -> "Figure":
    """Draws growth, tokens by step, cost by step and tool times."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    (growth, tokens), (cost, tools) = figure.subplots(2, 2)
    for run, steps in sorted(profile.runs.items()):
        sizes = [np.nan if step.input_tokens is None else step.input_tokens for step in steps]
        growth.plot([step.number for step in steps], sizes, label=_text(run), linewidth=1.5)
        broken = [step for step in steps if step.broke is not None and step.input_tokens is not None]
        growth.plot(
            [one.number for one in broken],
            [one.input_tokens or 0 for one in broken],
            "x",
            markersize=4,
            color="#b2182b",
        )
    if profile.breaks:
        growth.plot([], [], "x", markersize=4, color="#b2182b", label="the cache broke here")
    growth.set(title="Context length", xlabel="step of the run", ylabel="prompt tokens", ylim=(0, None))
    if len(profile.runs) <= 12:
        growth.legend(fontsize="small", frameon=False)
    _stack(tokens, profile, {kind: _tokens(profile.steps, kind) for kind in _KINDS}, "tokens")
    tokens.set_title("Tokens by step")
    if profile.prices is not None:
        _stack(cost, profile, {kind: _cents(profile.steps, kind) for kind in _KINDS}, "US cents")
        cost.set_title(
            _text(f"Cost by step: {profile.cost} in all\n{profile.prices.model}, {profile.prices.on}"),
            fontsize="medium",
        )
    else:
        cost.text(0.5, 0.5, "no prices were given", ha="center", color="grey")
        cost.set_axis_off()
    _tool_times(tools, profile)
    for axes in (growth, tokens):
        axes.yaxis.set_major_formatter("{x:,.0f}")
    for axes in (growth, tokens, cost, tools):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _text(name: str) -> str:
    """Returns a name as Matplotlib writes it as it stands: between two dollars it would read a formula."""
    return name.replace("$", r"\$")


def _stack(axes: "Axes", profile: Profile, values: dict[str, list[float]], unit: str) -> None:
    """Draws bars, one a step, in the order in which they were sent, one part on another."""
    below = np.zeros(len(profile.steps))
    edges = np.arange(len(profile.steps) + 1) + 0.5
    for kind, colour in _KINDS.items():
        above = below + values[kind]
        axes.stairs(above, edges, baseline=below, fill=True, color=colour, label=_LABELS[kind], linewidth=0)
        below = above
    of = "" if len(profile.runs) == 1 else ", all runs"
    axes.set(xlabel=f"step{of}", ylabel=unit, xlim=(0.5, len(profile.steps) + 0.5))
    axes.legend(fontsize="small", frameon=False, loc="upper left")
    axes.set_ylim(0, 1.3 * max(below.max(initial=0.0), 1e-9))  # room for the legend


def _tokens(steps: tuple[StepProfile, ...], kind: str) -> list[float]:
    return [float(getattr(step, f"{kind}_tokens") or 0) for step in steps]


def _cents(steps: tuple[StepProfile, ...], kind: str) -> list[float]:
    return [0.0 if step.cost is None else float(getattr(step.cost, kind)) * 100 for step in steps]


def _tool_times(axes: "Axes", profile: Profile) -> None:
    shown = profile.tools[:12]
    if not shown:
        axes.text(0.5, 0.5, "no tools ran", ha="center", color="grey")
        axes.set_axis_off()
        return
    times = [[max(one, 1e-6) * 1000 for one in tool.seconds] for tool in shown]
    labels = [_text(tool.name) + f" ({len(tool.seconds)}, {tool.errors} failed)" for tool in shown]
    axes.boxplot(times, orientation="horizontal", tick_labels=labels, whis=(0, 100), widths=0.6)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set(title="Tool times", xlabel="milliseconds (median, middle half, extremes)")


def page(profile: Profile) -> str:
    """Returns the whole page."""
    title = html.escape(f"Profile of {profile.name}")
    body = _sections(profile) + f"<h2>Step by step</h2>{_table(profile.step_table())}"
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{title}</h1>{body}</body></html>'


def fragment(profile: Profile) -> str:
    """Returns what a notebook shows."""
    return f"<div>{_sections(profile)}</div>"


def _sections(profile: Profile) -> str:
    tables = dict(profile.tables())
    summary = tables.pop("Summary")
    picture = _picture(profile) if profile.steps else ""
    rest = "".join(f"<h2>{html.escape(title)}</h2>{_table(table)}" for title, table in tables.items())
    return f"{_table(summary)}{picture}{rest}"


def _picture(profile: Profile) -> str:
    stream = io.BytesIO()
    draw(profile).savefig(stream, format="png", dpi=110)
    data = base64.b64encode(stream.getvalue()).decode()
    what = "Context length, tokens and cost by step, tool times; the tables say the same in numbers."
    return f'<p><img alt="{what}" src="data:image/png;base64,{data}"></p>'


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(str(cell))}</th>" for cell in table.header)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
