"""What grading a course's submissions found: as data, as JSON, and as a table."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

from autograder.judge import Verdict
from autograder.printable import one_line

if TYPE_CHECKING:
    from rich.table import Table

State = Literal["graded", "graded before", "from an earlier result", "not graded"]


@dataclass(frozen=True)
class SubmissionGrade:
    """A student's submission of an exercise.

    Attributes:
        exercise: its name.
        student: whose it is.
        state: "graded"; "graded before", and nothing has changed since; "from an earlier result" of equal work, without
            executing it again; "not graded": see failure.
        points: earned from the judge; what a person grades comes on top, late penalties go off in the gradebook.
        max_points: what the judge could give.
        verdicts: one a criterion, in order.
        problems: what was found wrong with the submission and repaired or left out, a sentence each.
        failure: why it could not be graded; empty where it was.
        seconds: how long it took.
        weak_isolation: layers of the sandbox that did not hold when it was graded, which was accepted.
        changes: what is different from the last grade of the same work, a line a criterion.
        stages: seconds by stage, where it was executed: restore, fork, cells, judge, write, gradebook.
    """

    exercise: str
    student: str
    state: State
    points: float = 0.0
    max_points: float = 0.0
    verdicts: list[Verdict] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    failure: str = ""
    seconds: float = 0.0
    weak_isolation: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def first_failed(self) -> str:
        """Returns the first criterion that is not met, or why there is no verdict."""
        unmet = (verdict for verdict in self.verdicts if verdict.state != "passed")
        first = next((f"{verdict.criterion} ({verdict.state})" for verdict in unmet), "")
        return self.failure or first


@dataclass(frozen=True)
class GradeReport:
    """A run of `autograder grade`.

    Attributes:
        complete: every submission is graded, whatever its points.
        interrupted: it was ended by Ctrl-C; submissions after that are not listed.
        seconds: wall time.
        submissions: by exercise and student.
        weak_isolation: layers of the sandbox that did not hold when one of them was graded, which was accepted.
    """

    complete: bool
    interrupted: bool
    seconds: float
    submissions: list[SubmissionGrade]
    weak_isolation: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Returns how many submissions there are of each state."""
        return dict(Counter(grade.state for grade in self.submissions))

    def to_json(self) -> str:
        """Returns the report as one JSON object."""
        return json.dumps(asdict(self), indent=2)


def slowest(report: GradeReport, most: int = 5) -> list[SubmissionGrade]:
    """Returns the submissions that took longest, of those that were executed."""
    executed = [grade for grade in report.submissions if grade.state == "graded"]
    return sorted(executed, key=lambda grade: -grade.seconds)[:most]


def table(report: GradeReport) -> "Table":
    """Returns a line a submission."""
    from rich.table import Table
    from rich.text import Text

    lines = Table("exercise", "student", box=None, pad_edge=False)
    for name in ("points", "of"):
        lines.add_column(name, justify="right")
    lines.add_column("what failed first")
    lines.add_column("seconds", justify="right")
    for grade in report.submissions:
        graded = grade.state != "not graded"
        style = "" if graded else "red"
        lines.add_row(
            grade.exercise,
            Text(one_line(grade.student)),
            f"{grade.points:g}" if graded else "–",
            f"{grade.max_points:g}" if graded else "–",
            Text(one_line(grade.first_failed), style),
            f"{grade.seconds:.1f}" if grade.state == "graded" else grade.state,
        )
    return lines
