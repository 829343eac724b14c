"""Shows on stderr how far a run of grading is: a live line in a terminal, a plain line a submission everywhere."""

import time
from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from autograder.course.grade_report import SubmissionGrade
from autograder.printable import one_line

_RECENT = 30  # seconds that the rate is taken over, so that a slow start is soon forgotten


class Tally:
    """A context manager around a run; `starts` and `ends` are called for each submission."""

    def __init__(self, console: Console) -> None:
        """Shows it on `console`."""
        self._console = console
        self._live: Progress | None = None
        if console.is_terminal:
            columns = (BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._live = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
        self._running: dict[tuple[str, str], float] = {}
        self._counts: Counter[str] = Counter()
        self._ends: list[float] = []
        self._total = 0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
            self._task = self._live.add_task("trying the sandbox", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def begin(self, total: int) -> None:
        """So many submissions are about to be graded."""
        self._total = total
        self._ends.append(time.monotonic())
        self._show()

    def starts(self, exercise: str, student: str) -> None:
        """A submission is taken up."""
        self._running[exercise, student] = time.monotonic()
        self._show()

    def ends(self, grade: SubmissionGrade) -> None:
        """A submission is dealt with."""
        self._running.pop((grade.exercise, grade.student), None)
        self._ends.append(time.monotonic())
        self._counts[_kind(grade)] += 1
        came = grade.failure or f"{grade.points:g} of {grade.max_points:g}"
        head = f"{self._counts.total():{len(str(self._total))}}/{self._total}"
        self._print(f"{head}  ", f"{grade.exercise}: {grade.student}: {grade.state}: {came}")
        for line in [*grade.problems, *grade.changes]:
            self._print("    ", line)
        self._show()

    def _print(self, begin: str, text: str) -> None:
        self._console.print(begin + one_line(text), markup=False, highlight=False, soft_wrap=True)

    def _show(self) -> None:
        if self._live is None:
            return
        counts = [f"{count} {kind}" for kind, count in sorted(self._counts.items())]
        self._live.update(
            self._task,
            total=self._total,
            completed=self._counts.total(),
            description=escape(" · ".join(filter(None, [*counts, self.left(), self._longest()]))),
        )

    def left(self) -> str:
        """Returns how long the rest will take, at the rate of the last half minute; empty where nobody can tell yet."""
        now = time.monotonic()
        recent = [end for end in self._ends if now - end <= _RECENT]
        if len(recent) < 2 or now <= recent[0]:
            return ""
        seconds = (self._total - self._counts.total()) * (now - recent[0]) / (len(recent) - 1)
        return f"{int(seconds // 60)}:{int(seconds % 60):02} left"

    def _longest(self) -> str:
        if not self._running:
            return ""
        (exercise, student), since = min(self._running.items(), key=lambda item: item[1])
        return one_line(f"{exercise}: {student} for {time.monotonic() - since:.0f} s")


def _kind(grade: SubmissionGrade) -> str:
    if grade.state == "not graded":
        return "not graded"
    return (
        "passed" if grade.verdicts and all(one.state == "passed" for one in grade.verdicts) else "with points missing"
    )
