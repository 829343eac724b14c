"""What a profile of an agent's context holds, as tables; `workbook.context.profile_page` draws it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbook.context.cost import Cost, Prices
from workbook.context.diagnosis import Break
from workbook.context.metrics import Metrics, Rate
from workbook.show import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class StepProfile:
    """One request of a run.

    Attributes:
        run: The run.
        number: Its number in the run, from 1.
        request: Its id.
        messages: How many messages were sent.
        input_tokens: Tokens of the prompt; None where nobody counted, as with all numbers here.
        cached_tokens: Those that were read from the cache.
        written_tokens: Those that were written to it.
        output_tokens: Tokens generated.
        reusable_tokens: Those that the run's request before this one had at its beginning too: what a cache that never
            evicts, on the same instance, would have read.
        replayed: Whether the numbers are a replay's, and not an engine's.
        seconds: How long the response took.
        tool_seconds: How long its tools ran.
        tools: Their names.
        broke: What broke the cache between the request before and this one; None where it goes on from that.
        cost: What it cost; None without prices or numbers.
    """

    run: str
    number: int
    request: str
    messages: int
    input_tokens: int | None
    cached_tokens: int | None
    written_tokens: int | None
    output_tokens: int | None
    reusable_tokens: int | None
    replayed: bool
    seconds: float | None
    tool_seconds: float
    tools: tuple[str, ...]
    broke: Break | None
    cost: Cost | None

    @property
    def uncached_tokens(self) -> int | None:
        """Tokens of the prompt that were neither read nor written."""
        if self.input_tokens is None or self.cached_tokens is None:
            return None
        return self.input_tokens - self.cached_tokens - (self.written_tokens or 0)


@dataclass(frozen=True)
class ToolUse:
    """How a tool was used: the seconds of each execution, and how many failed."""

    name: str
    seconds: tuple[float, ...]
    errors: int


@dataclass(frozen=True)
class FileUse:
    """How often a file was used, in which way: "read", "write" and the like."""

    path: str
    uses: dict[str, int]

    @property
    def total(self) -> int:
        """All uses together."""
        return sum(self.uses.values())


@dataclass(frozen=True)
class Profile:
    """How an agent's context fared. In a notebook it shows itself; `print` shows its tables.

    Attributes:
        name: What it is a profile of.
        steps: The requests, in the order in which they were sent.
        tools: The tools, the one that took longest in all first.
        files: The files, the one used most often first.
        metrics: The five numbers.
        prices: What tokens cost; None where costs are left out.
        overhead_seconds: What profiling itself took, replays not counted.
    """

    name: str
    steps: tuple[StepProfile, ...]
    tools: tuple[ToolUse, ...]
    files: tuple[FileUse, ...]
    metrics: Metrics
    prices: Prices | None
    overhead_seconds: float

    @property
    def runs(self) -> dict[str, list[StepProfile]]:
        """The steps of each run."""
        runs = dict[str, list[StepProfile]]()
        for step in self.steps:
            runs.setdefault(step.run, []).append(step)
        return runs

    @property
    def cost(self) -> Cost | None:
        """What all steps cost together; None without prices."""
        return None if self.prices is None else sum((one.cost for one in self.steps if one.cost), Cost())

    @property
    def effectiveness(self) -> Rate:
        """Cached tokens of those that could have been; evictions, other instances and ends of blocks make it less."""
        known = [
            (step.cached_tokens, step.reusable_tokens)
            for step in self.steps
            if step.cached_tokens is not None and step.reusable_tokens
        ]
        return Rate(sum(min(one, other) for one, other in known), sum(other for _, other in known))

    @property
    def breaks(self) -> list[StepProfile]:
        """The steps that did not go on from the one before them."""
        return [step for step in self.steps if step.broke is not None]

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it for JSON; `python -m workbook.context profile --help` lists the fields."""
        numbers = self.metrics
        return {
            "name": self.name,
            "hit_rate": numbers.hit_rate.to_dict(),
            "mean_context": numbers.lengths.mean,
            "tool_success": numbers.tool_success.to_dict(),
            "error_recovery": numbers.recovery.to_dict(),
            "stickiness": numbers.stickiness.to_dict(),
            "effectiveness": self.effectiveness.to_dict(),
            "cost": _dollars(self.cost),
            "prices": None if self.prices is None else f"{self.prices.model}, {self.prices.on}, {self.prices.source}",
            "steps": [
                {
                    **asdict(step),
                    "broke": None if step.broke is None else step.broke.to_dict(),
                    "cost": _dollars(step.cost),
                }
                for step in self.steps
            ],
            "tools": [{"name": tool.name, "seconds": list(tool.seconds), "errors": tool.errors} for tool in self.tools],
            "files": [{"path": file.path, "uses": file.uses} for file in self.files],
        }

    def summary(self) -> Table:
        """The numbers that matter, one a line."""
        replayed = sum(step.replayed for step in self.steps)
        whose = "a replay" if replayed == len(self.steps) else f"a replay for {replayed}" if replayed else "the engine"
        rows: list[tuple[object, ...]] = [
            *map(tuple, self.metrics.table().rows),
            ("cache effectiveness", self.effectiveness),
            ("steps that broke the cache", f"{len(self.breaks)} of {len(self.steps)}"),
            ("tokens counted by", whose),
        ]
        if self.prices is not None:
            rows.append(("cost", f"{self.cost} at {self.prices.model}, {self.prices.on}, {self.prices.source}"))
        return Table(("metric", "value"), rows)

    def growth(self) -> Table:
        """How each run's context grew."""
        rows = []
        for run, steps in self.runs.items():
            sizes = [step.input_tokens for step in steps if step.input_tokens is not None]
            rate = f"{np.diff(sizes).mean():+,.0f}" if len(sizes) > 1 else "-"
            ends = (f"{sizes[0]:,}", f"{sizes[-1]:,}", f"{max(sizes):,}") if sizes else ("-", "-", "-")
            rows.append((run, len(steps), *ends, rate))
        return Table(("run", "steps", "first", "last", "longest", "tokens a step"), rows)

    def step_table(self, run: str | None = None) -> Table:
        """Tokens and cost, step by step."""
        rows = [
            (
                step.run,
                step.number,
                *map(
                    _number,
                    (
                        step.input_tokens,
                        step.cached_tokens,
                        step.written_tokens,
                        step.uncached_tokens,
                        step.output_tokens,
                    ),
                ),
                "-" if step.cost is None else f"{step.cost.total * 100:.3f}",
                ", ".join(step.tools),
                f"{step.tool_seconds * 1000:.1f}",
                "" if step.broke is None else step.broke.place + f": {step.broke.cause}",
            )
            for step in self.steps
            if run is None or step.run == run
        ]
        header = (
            "run",
            "step",
            "prompt",
            "cached",
            "written",
            "uncached",
            "output",
            "cents",
            "tools",
            "ms",
            "broke at",
        )
        return Table(header, rows)

    def break_table(self) -> Table:
        """What broke the cache, by message and cause: how often, the tokens computed then, and the first one."""
        groups = dict[tuple[str, str], list[StepProfile]]()
        for step in self.breaks:
            assert step.broke is not None
            where = "tools" if step.broke.message is None else f"{step.broke.role}, message {step.broke.message}"
            groups.setdefault((where, str(step.broke.cause)), []).append(step)
        rows = []
        for (where, cause), steps in sorted(groups.items(), key=lambda item: -len(item[1])):
            recomputed = sum((step.input_tokens or 0) - (step.cached_tokens or 0) for step in steps)
            rows.append((where, cause, len(steps), f"{recomputed:,}", str(steps[0].broke)))
        return Table(("where", "cause", "steps", "tokens computed", "the first one"), rows)

    def tool_table(self) -> Table:
        """How often each tool ran, failed, and how long it took."""
        rows = []
        for tool in self.tools:
            middle, high = np.quantile(tool.seconds, [0.5, 0.9]) * 1000
            rows.append(
                (tool.name, len(tool.seconds), tool.errors, f"{middle:.2f}", f"{high:.2f}", f"{sum(tool.seconds):.3f}")
            )
        return Table(("tool", "runs", "errors", "median ms", "nine of ten ms", "seconds in all"), rows)

    def file_table(self, most: int = 15) -> Table:
        """Which files were used most, and how."""
        rows = [(file.path, file.total, _uses(file.uses)) for file in self.files[:most]]
        left = len(self.files) - most
        if left > 0:
            rows.append((f"({left} others)", sum(file.total for file in self.files[most:]), ""))
        return Table(("file", "uses", "how"), rows)

    def tables(self) -> dict[str, Table]:
        """All tables but the one of single steps, by title; those with nothing in them are left out."""
        tables = {
            "Summary": self.summary(),
            "Growth": self.growth(),
            "What broke the cache": self.break_table(),
            "Tools": self.tool_table(),
            "Files": self.file_table(),
        }
        return {title: table for title, table in tables.items() if table.rows}

    def figure(self) -> "Figure":
        """Draws growth, tokens by step, cost and tools."""
        from workbook.context.profile_page import draw

        return draw(self)

    def page(self) -> str:
        """Returns a page of HTML that needs nothing else."""
        from workbook.context.profile_page import page

        return page(self)

    def save(self, path: Path | str) -> None:
        """Writes that page."""
        Path(path).write_text(self.page(), encoding="utf-8")

    def __str__(self) -> str:
        return "\n\n".join(f"{title}\n{table}" for title, table in self.tables().items())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from workbook.context.profile_page import fragment

        return fragment(self)


def _dollars(cost: Cost | None) -> float | None:
    return None if cost is None else float(cost.total)


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _uses(uses: dict[str, int]) -> str:
    return ", ".join(f"{how} {count}" for how, count in sorted(uses.items(), key=lambda item: -item[1]))
