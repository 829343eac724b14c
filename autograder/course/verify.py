"""Holds the gradebook against the records: a grade that nobody computed, or that was changed since, shows."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autograder.course.record import Record
from autograder.course.records import Records, notebook_digest
from autograder.course.signing import Key
from autograder.exercises import Exercise

if TYPE_CHECKING:
    from rich.table import Table

Kind = Literal["no record", "forged record", "another score", "set by hand", "another notebook", "another submission"]


@dataclass(frozen=True)
class Finding:
    """Something that no record supports.

    Attributes:
        exercise: its name.
        student: whose grade it is.
        kind: "no record" of a grade; "forged record", one that the grader's key has not signed as it is; "another
            score" in the gradebook than the judge gave; a score that was "set by hand" over the judge's; "another
            notebook" in `autograded/` than was graded; "another submission" in `submitted/` than was graded, which is
            no fault: it waits to be graded.
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
        grades: how many grades of submissions were looked at.
        key: the fingerprint of the key that the signatures were held against.
        findings: what was found, by exercise and student.
    """

    holds: bool
    grades: int
    key: str
    findings: list[Finding]

    def to_json(self) -> str:
        """Returns the report as one JSON object."""
        return json.dumps(asdict(self), indent=2)


def verify(exercises: Sequence[Exercise], key: Key) -> VerifyReport:
    """Looks for grades that no record supports.

    Args:
        exercises: Of one course.
        key: That records must be signed with.

    Raises:
        GradebookError: The gradebook cannot be used.
        autograder.course.records.RecordsError: The records cannot be used.
    """
    from autograder.course.config import course_directory
    from autograder.course.gradebook import open_gradebook

    root = exercises[0].root
    coursedir = course_directory(root)
    grades, findings = 0, []
    with Records(root) as records, open_gradebook(coursedir) as gradebook:
        for exercise in exercises:
            scores = _scores(gradebook, exercise.name)
            last = records.latest(exercise.name)
            for student in sorted(scores.keys() | last.keys()):
                grades += 1
                found = _findings(last.get(student), scores.get(student, {}), student, exercise, coursedir, key)
                findings += [Finding(exercise.name, student, kind, detail) for kind, detail in found]
    return VerifyReport(
        holds=all(finding.kind == "another submission" for finding in findings),
        grades=grades,
        key=key.fingerprint,
        findings=findings,
    )


@dataclass(frozen=True)
class _Score:
    """What the gradebook has of a judged cell."""

    judged: float | None
    by_hand: float | None
    extra: float | None


def _scores(gradebook: Any, name: str) -> dict[str, dict[str, _Score]]:
    """Returns the scores of judged cells, by student and criterion."""
    from autograder.course.scores import rows_of

    found: dict[str, dict[str, _Score]] = {}
    for row in rows_of(gradebook, name):
        found.setdefault(row.student_id, {})[row.name] = _Score(row.auto_score, row.manual_score, row.extra_credit)
    return found


def _findings(
    record: Record | None,
    scores: dict[str, _Score],
    student: str,
    exercise: Exercise,
    coursedir: Any,
    key: Key,
) -> Iterator[tuple[Kind, str]]:
    criteria = exercise.points
    entered = {name: score for name, score in scores.items() if name in criteria}
    if record is None:
        if any(score != _Score(None, None, None) for score in entered.values()):
            total = sum(score.by_hand or score.judged or 0 for score in entered.values())
            yield "no record", f"the gradebook has {total:g} points, and nothing says where they come from"
        return
    if (record.student, record.exercise) != (student, exercise.name) or not key.has_signed(record):
        yield "forged record", f"the record of {record.graded} is not as the key {key.fingerprint} signed it"
        return
    given = {verdict.criterion: verdict.points for verdict in record.verdicts}
    for name, points in given.items():
        score = entered.get(name, _Score(None, None, None))
        if score.judged != points:
            shown = "none" if score.judged is None else f"{score.judged:g}"
            yield "another score", f"{name}: the judge gave {points:g}, the gradebook has {shown}"
    for name, score in entered.items():
        if name not in given and score.judged is not None:
            yield "another score", f"{name}: the judge gave nothing, the gradebook has {score.judged:g}"
        if score.by_hand is not None:
            yield "set by hand", f"{name}: the judge gave {given.get(name, 0):g}, a person {score.by_hand:g}"
        if score.extra:
            yield "set by hand", f"{name}: a person added {score.extra:g}"
    yield from _files(record, exercise, coursedir)


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

    lines = Table("exercise", "student", "found", "what", box=None, pad_edge=False)
    for finding in report.findings:
        style = "" if finding.kind == "another submission" else "red"
        lines.add_row(finding.exercise, Text(finding.student), Text(finding.kind, style), Text(finding.detail))
    return lines
