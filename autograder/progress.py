"""Shows on stderr how far a run is: a live line in a terminal, a plain line a cell elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class RunProgress:
    """A context manager around a run; `begin`, `cell` and `end` are called for each chapter."""

    def __init__(self, console: Console) -> None:
        """Shows progress on `console`."""
        self._console = console
        self._live: Progress | None = None
        if console.is_terminal:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn())
            self._live = Progress(*columns, console=console, transient=True)
        self._task = TaskID(0)
        self._chapter, self._cells, self._began = "", 0, 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def begin(self, chapter: str, cells: int) -> None:
        """A chapter's kernel is about to start."""
        self._chapter, self._cells, self._began = chapter, cells, time.monotonic()
        if self._live:
            self._task = self._live.add_task(f"{chapter}: the kernel starts", total=cells)
        else:
            self._line("the kernel starts")

    def cell(self, number: int, first_line: str) -> None:
        """A code cell, the `number`-th, is about to execute."""
        if self._live:
            text = f"{self._chapter}: cell {number} of {self._cells}"
            self._live.update(self._task, description=text, completed=number - 1)
        else:
            self._line(f"cell {number} of {self._cells}: {first_line}")

    def end(self, passed: bool) -> None:
        """The chapter is done."""
        if self._live:
            self._live.remove_task(self._task)
        self._line("passed" if passed else "failed")

    def _line(self, text: str) -> None:
        elapsed = time.monotonic() - self._began
        self._console.print(f"{elapsed:6.1f} s  {self._chapter}  {text}", markup=False, highlight=False, no_wrap=True)
