"""Holds the gradebook against the records: a grade that nobody computed, or that was changed since, shows."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autograder.course.record import Record
from autograder.course.records import Records, notebook_digest
from autograder.course.signing import Key
from autograder.exercises import Exercise

if TYPE_CHECKING:
    from rich.table import Table

    from autograder.course.scores import GradeRow, Scores

Kind = Literal[
    "no record",
    "forged record",
    "broken chain",
    "another score",
    "set by hand",
    "another penalty",
    "another time",
    "another notebook",
    "another submission",
]


@dataclass(frozen=True)
class Finding:
    """Something that no record supports.

    Attributes:
        exercise: its name, as the gradebook or the record has it; empty where it is about all of them.
        student: whose grade it is.
        kind: "no record" of a grade; "forged record", one that the grader's key has not signed as it is; "broken
            chain", a record that was taken out, put back or put in; "another score" in the gradebook than the judge
            gave; a score that was "set by hand" over the judge's; "another penalty" than the due date and the plugin
            give; "another time" of handing in than was recorded; "another notebook" in `autograded/` than was graded;
            "another submission" in `submitted/` than was graded, which is no fault: it waits to be graded.
        detail: a sentence.
    """

    exercise: str
    student: str
    kind: Kind
    detail: str


@dataclass(frozen=True)
class VerifyReport:
    """A run of `autograder verify`.

    Attributes:
        holds: nothing was found, but for submissions that wait to be graded.
        grades: how many submissions with a grade or a record were looked at.
        records: how many records there are in all.
        key: the fingerprint of the key that the signatures were held against.
        findings: what was found, by exercise and student.
    """

    holds: bool
    grades: int
    records: int
    key: str
    findings: list[Finding]

    def to_json(self) -> str:
        """Returns the report as one JSON object."""
        return json.dumps(asdict(self), indent=2)


def verify(exercises: Sequence[Exercise], key: Key, *, others: bool = True) -> VerifyReport:
    """Looks for grades that no record supports.

    Args:
        exercises: Of one course.
        key: That records must be signed with.
        others: Look at all that the gradebook has, also of other assignments than these.

    Raises:
        GradebookError: The gradebook cannot be used.
        autograder.course.records.RecordsError: The records cannot be used.
    """
    from autograder.course.config import course_directory, load_config
    from autograder.course.gradebook import open_gradebook
    from autograder.course.scores import Scores

    root = exercises[0].root
    coursedir = course_directory(root)
    by_name = {exercise.name: exercise for exercise in exercises}
    with Records(root) as records, open_gradebook(coursedir) as gradebook:
        count, broken = _chain(records, key)
        book = _Book(gradebook, Scores(gradebook, load_config(root)))
        names = set(by_name) | (book.assignments if others else set())
        findings, grades = list(broken), 0
        for name in sorted(names):
            last, rows = records.latest(name), book.rows(name)
            for student in sorted(last.keys() | rows.keys()):
                grades += 1
                found = list(_findings(last.get(student), rows.get(student, []), by_name.get(name), key))
                found += _entry(last.get(student), book, name, student)
                if (record := last.get(student)) is not None and (exercise := by_name.get(name)) is not None:
                    found += _files(record, exercise, coursedir)
                findings += [Finding(name, student, kind, detail) for kind, detail in found]
    return VerifyReport(
        holds=all(finding.kind == "another submission" for finding in findings),
        grades=grades,
        records=count,
        key=key.fingerprint,
        findings=findings,
    )


def _chain(records: Records, key: Key) -> tuple[int, list[Finding]]:
    """Follows the records from the first to the last; returns how many there are, and where the chain is broken.

    What was cut off at its end shows only in the grades that have no record any more.
    """
    findings: list[Finding] = []
    before, count = "", 0
    for count, (number, record) in enumerate(records.everything(), 1):
        place = f"record {number}"
        if record is None:
            findings.append(Finding("", "", "forged record", f"{place} is none"))
            before = ""
            continue
        wrong: tuple[Kind, str] | None = None
        if not key.has_signed(record):
            wrong = "forged record", f"{place} is not as the key {key.fingerprint} signed it"
        elif record.number != count or number != count:
            wrong = "broken chain", f"{place} stands where record {count} should, and says that it is {record.number}"
        elif record.previous_sha256 != before:
            wrong = "broken chain", f"{place} does not follow the record before it"
        if wrong is not None:
            findings.append(Finding(record.exercise, record.student, *wrong))
        before = record.sha256()
    return count, findings


class _Book:
    """What the gradebook has."""

    def __init__(self, gradebook: Any, scores: "Scores") -> None:
        from autograder.course.scores import submissions_in

        self._gradebook, self._scores = gradebook, scores
        self.assignments: set[str] = {assignment.name for assignment in gradebook.assignments}
        self._entries = {name: submissions_in(gradebook, name) for name in self.assignments}

    def rows(self, name: str) -> "dict[str, list[GradeRow]]":
        """Returns graded cells of an assignment, by student."""
        from autograder.course.scores import rows_of

        found: dict[str, list[GradeRow]] = {}
        for row in rows_of(self._gradebook, name):
            found.setdefault(row.student, []).append(row)
        return found

    def entry(self, name: str, student: str) -> tuple[datetime | None, float | None] | None:
        """Returns when a submission was handed in, and its penalty; None where there is none."""
        return self._entries.get(name, {}).get(student)

    def penalty(self, name: str, student: str) -> float | None:
        """Returns the penalty that it should have."""
        return self._scores.penalty(name, student)


def _findings(
    record: Record | None, rows: "Sequence[GradeRow]", exercise: Exercise | None, key: Key
) -> Iterator[tuple[Kind, str]]:
    """Holds the scores of a submission against its record."""
    if record is None:
        given = [row for row in rows if row.judged or row.by_hand is not None or row.extra]
        if given:
            total = sum(row.by_hand if row.by_hand is not None else row.judged or 0 for row in given)
            yield "no record", f"the gradebook has {total:g} points, and nothing says where they come from"
        return
    if not key.has_signed(record):
        yield "forged record", f"the record of {record.graded} is not as the key {key.fingerprint} signed it"
        return
    given_by_judge = {verdict.criterion: verdict.points for verdict in record.verdicts}
    judged = set(exercise.points) if exercise is not None else set(given_by_judge)
    found = {row.cell: row for row in rows if row.notebook == record.exercise}
    for name, points in given_by_judge.items():
        has = found[name].judged if name in found else None
        if has != points:
            yield "another score", f"{name}: the judge gave {points:g}, the gradebook has {_shown(has)}"
    for row in rows:
        ours = row.notebook == record.exercise
        if (not ours or row.cell not in given_by_judge) and row.judged:
            yield "another score", f"{row.cell}: the judge gave nothing, the gradebook has {row.judged:g}"
        if (ours and row.cell in judged) or not ours:
            if row.by_hand is not None:
                by_judge = given_by_judge.get(row.cell, 0.0)
                yield "set by hand", f"{row.cell}: the judge gave {by_judge:g}, a person {row.by_hand:g}"
            if row.extra:
                yield "set by hand", f"{row.cell}: a person added {row.extra:g}"


def _entry(record: Record | None, book: _Book, name: str, student: str) -> Iterator[tuple[Kind, str]]:
    """Holds the time and the penalty of a submission against the record and the due date."""
    entry = book.entry(name, student)
    if entry is None:
        return
    time, penalty = entry
    recorded = record.submitted if record else ""
    shown = time.replace(tzinfo=None).isoformat() if time else ""
    if record is not None and _plain(recorded) != shown:
        yield "another time", f"handed in {recorded or 'at no known time'}, the gradebook has {shown or 'none'}"
    wanted = book.penalty(name, student)
    if (penalty or 0) != (wanted or 0):
        yield "another penalty", f"{_shown(penalty)}, where the due date gives {_shown(wanted)}"


def _plain(time: str) -> str:
    """Returns a recorded time as the gradebook has it: in UTC, without saying so."""
    if not time:
        return ""
    parsed = datetime.fromisoformat(time)
    return (parsed.astimezone(UTC) if parsed.tzinfo else parsed).replace(tzinfo=None).isoformat()


def _shown(number: float | None) -> str:
    return "none" if number is None else f"{number:g}"


def _files(record: Record, exercise: Exercise, coursedir: Any) -> Iterator[tuple[Kind, str]]:
    from autograder.course.submissions import read_submission

    graded = Path(coursedir.format_path(coursedir.autograded_directory, record.student, exercise.name))
    try:
        digest = notebook_digest((graded / f"{exercise.name}.ipynb").read_bytes())
    except OSError as error:
        yield "another notebook", f"the graded notebook cannot be read: {error.strerror}"
    else:
        if digest != record.notebook_sha256:
            yield "another notebook", f"{graded.name}/{exercise.name}.ipynb is not as it was graded"
    submitted = Path(coursedir.format_path(coursedir.submitted_directory, record.student, exercise.name))
    if submitted.is_dir() and read_submission(submitted, exercise.name).digest != record.submission_sha256:
        yield "another submission", f"what is submitted now is not what was graded {record.graded}"


def table(report: VerifyReport) -> "Table":
    """Returns a line a finding."""
    from rich.table import Table
    from rich.text import Text

    from autograder.printable import one_line

    lines = Table("exercise", "student", "found", "what", box=None, pad_edge=False)
    for finding in report.findings:
        style = "" if finding.kind == "another submission" else "red"
        cells = [Text(one_line(text)) for text in (finding.exercise, finding.student)]
        lines.add_row(*cells, Text(finding.kind, style), Text(one_line(finding.detail)))
    return lines
