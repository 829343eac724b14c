"""What a run of chapters found: as data, as JSON, and as tables."""

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.table import Table

Kind = Literal["notebook", "error", "exit", "timeout", "kernel", "not executed", "no error", "interrupted"]
_PLAIN: dict[str, Any] = {"title_justify": "left", "box": None, "pad_edge": False}


@dataclass(frozen=True)
class Failure:
    """Why a chapter failed.

    Attributes:
        kind: "notebook": not made from its .py, unreadable; "error": a cell raised; "exit": a cell asked its kernel to
            exit; "timeout"; "kernel": it died or did not start; "not executed": a cell was passed over; "no error": a
            cell tagged raises-exception did not raise; "interrupted": by Ctrl-C or a signal.
        message: One sentence.
        cell: Which code cell it was, from 1, or null where it was none.
        details: A traceback or the end of the kernel's log; often empty.
    """

    kind: Kind
    message: str
    cell: int | None = None
    details: str = ""


@dataclass(frozen=True)
class CellRun:
    """A code cell that was started.

    Attributes:
        cell: Which code cell it is, from 1; empty ones are not counted.
        first_line: Of its source.
        seconds: Wall time.
        completed: It ran to its end, and is not the one that failed the chapter.
    """

    cell: int
    first_line: str
    seconds: float
    completed: bool


@dataclass(frozen=True)
class ChapterRun:
    """A chapter's run.

    Attributes:
        chapter: Its name.
        passed: Every code cell was executed, completed, without error.
        failure: Null where it passed.
        seconds: Wall time, with the start and the end of its kernel.
        code_cells: How many it has.
        cells: Those that were started, in order.
        executed_copy: Path of the notebook with its outputs; null where nothing was executed.
        left_behind: Processes that it had started and that outlived its kernel; they were ended. No failure.
    """

    chapter: str
    passed: bool
    failure: Failure | None
    seconds: float = 0.0
    code_cells: int = 0
    cells: list[CellRun] = field(default_factory=list)
    executed_copy: str | None = None
    left_behind: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RunReport:
    """A run of chapters.

    Attributes:
        passed: All of the chapters were run, and passed.
        interrupted: It was ended by Ctrl-C or a signal; chapters after that are not listed.
        seconds: Wall time.
        timeout: Limit of a cell, in seconds.
        parameters: What was given with -p, by name.
        chapters: One entry a chapter, in the order of running.
    """

    passed: bool
    interrupted: bool
    seconds: float
    timeout: int
    parameters: dict[str, bool | int | float | str]
    chapters: list[ChapterRun]

    def to_json(self) -> str:
        """Returns the report as one JSON object."""
        return json.dumps(asdict(self), indent=2)


def tables(report: RunReport, slowest: int = 8) -> "list[Table]":
    """Returns the times by chapter, and of the slowest cells of all chapters together."""
    from rich.table import Table
    from rich.text import Text

    chapters = Table("chapter", title="Chapters", **_PLAIN)
    for name in ("cells", "seconds"):
        chapters.add_column(name, justify="right")
    chapters.add_column("result")
    for run in report.chapters:
        completed = sum(cell.completed for cell in run.cells)
        result = Text("passed", "green") if run.failure is None else Text(f"failed: {run.failure.kind}", "red")
        chapters.add_row(run.chapter, f"{completed}/{run.code_cells}", f"{run.seconds:.1f}", result)

    cells = Table(title="Slowest cells", **_PLAIN)
    cells.add_column("seconds", justify="right")
    cells.add_column("chapter")
    cells.add_column("cell", justify="right")
    cells.add_column("begins with", no_wrap=True, overflow="ellipsis")
    started = [(cell, run.chapter) for run in report.chapters for cell in run.cells]
    for cell, chapter in sorted(started, key=lambda pair: -pair[0].seconds)[:slowest]:
        cells.add_row(f"{cell.seconds:.1f}", chapter, str(cell.cell), Text(cell.first_line))
    return [chapters, cells] if started else [chapters]
