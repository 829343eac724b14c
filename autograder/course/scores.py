"""Enters grades in nbgrader's gradebook: one transaction a submission, so that it holds all of a grade or nothing."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nbgrader.preprocessors import AssignLatePenalties, NbGraderPreprocessor, SaveAutoGrades

from autograder.course.gradebook import GradebookError


class Scores:
    """The scores in an open gradebook. For one thread.

    Attributes:
        create_students: Whether a student who is not in the gradebook is added to it.
    """

    def __init__(self, gradebook: Any, config: Any) -> None:
        """Takes nbgrader's Gradebook and configuration."""
        from nbgrader.converters import Autograde

        self._gradebook = gradebook
        self._save, self._penalize = _Save(config=config), _Penalize(config=config)
        self.create_students: bool = Autograde(config=config).create_student

    def enter(self, exercise: str, student: str, notebook: Any, submitted: datetime | None) -> None:
        """Enters a submission with what nbgrader reads in its graded notebook, and the penalty if it came late.

        Raises:
            GradebookError: It could not be entered; the gradebook is as it was.
        """
        from nbgrader.api import InvalidEntry

        try:
            with self._transaction():
                if self.create_students:
                    self._gradebook.update_or_create_student(student)
                elif student not in {one.id for one in self._gradebook.students}:
                    raise GradebookError(f"no student {student} in the gradebook")
                # Where the work does not say when it was handed in, it counts as in time, whatever the last one said.
                self._gradebook.update_or_create_submission(exercise, student, timestamp=submitted)
                self._save.enter(self._gradebook, exercise, student, notebook)
                self._gradebook.db.expire_all()  # a sum of scores is computed when it is read
                self._penalize.enter(self._gradebook, exercise, student)
        except InvalidEntry as error:
            raise GradebookError(f"the gradebook does not take it: {error}", for_all=_is_for_all(error)) from error

    def of(self, exercise: str) -> dict[str, dict[str, float | None]]:
        """Returns the judge's scores of an exercise, by student and cell."""
        scores: dict[str, dict[str, float | None]] = {}
        for row in rows_of(self._gradebook, exercise):
            scores.setdefault(row.student, {})[row.cell] = row.judged
        return scores

    def with_another_penalty(self, exercise: str) -> set[str]:
        """Returns whose penalty is not what the due date and the plugin give now."""
        due = self._gradebook.find_assignment(exercise).duedate
        found = submissions_in(self._gradebook, exercise)
        # An extension only makes it later: who is in time without one, and has no penalty, needs no further look.
        doubtful = [one for one, (time, has) in found.items() if has or (time and due and time > due)]
        return {student for student in doubtful if self.penalty(exercise, student) != found[student][1]}

    def penalty(self, exercise: str, student: str) -> float | None:
        """Returns the penalty of a submission, as the due date and the plugin give it now."""
        from nbgrader.api import MissingEntry

        try:
            return self._penalize.of(self._gradebook, exercise, student)
        except MissingEntry:  # an assignment whose notebook has another name is none of ours
            return None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Makes one transaction of all that nbgrader commits in the block."""
        from sqlalchemy.exc import DBAPIError

        session = self._gradebook.db()
        commit = session.commit
        session.commit = session.flush
        try:
            with _quiet():
                yield
                commit()
        except DBAPIError as error:
            session.rollback()
            raise GradebookError(f"the gradebook: {error.orig}", for_all=_is_for_all(error)) from error
        except BaseException:
            session.rollback()
            raise
        finally:
            session.commit = commit
            session.expunge_all()  # memory is not to grow with the class


@dataclass(frozen=True)
class GradeRow:
    """What the gradebook has of a graded cell of a submission.

    Attributes:
        student: Whose.
        notebook: Of which notebook of the assignment; exercises have one, of their own name.
        cell: Its grade_id.
        judged: The score that was read in the graded notebook.
        by_hand: The one that a person gave instead.
        extra: What a person added.
    """

    student: str
    notebook: str
    cell: str
    judged: float | None
    by_hand: float | None
    extra: float | None


def rows_of(gradebook: Any, assignment: str) -> list[GradeRow]:
    """Returns the graded cells of all submissions of an assignment.

    One query for all of them: nbgrader's own ways take one for each cell.
    """
    from nbgrader.api import Assignment, BaseCell, Grade, Notebook, SubmittedAssignment, SubmittedNotebook

    columns = (Grade.auto_score, Grade.manual_score, Grade.extra_credit)
    rows = (
        gradebook.db.query(SubmittedAssignment.student_id, Notebook.name, BaseCell.name, *columns)
        .join(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
        .join(Notebook, Notebook.id == SubmittedNotebook.notebook_id)
        .join(Grade, Grade.notebook_id == SubmittedNotebook.id)
        .join(BaseCell, BaseCell.id == Grade.cell_id)
        .join(Assignment, Assignment.id == SubmittedAssignment.assignment_id)
        .filter(Assignment.name == assignment)
    )
    return [GradeRow(*row) for row in rows]


def submissions_in(gradebook: Any, assignment: str) -> dict[str, tuple[datetime | None, float | None]]:
    """Returns when each submission of an assignment was handed in, and its penalties together, by student."""
    from nbgrader.api import Assignment, SubmittedAssignment, SubmittedNotebook

    rows = (
        gradebook.db.query(
            SubmittedAssignment.student_id, SubmittedAssignment.timestamp, SubmittedNotebook.late_submission_penalty
        )
        .join(Assignment, Assignment.id == SubmittedAssignment.assignment_id)
        .join(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
        .filter(Assignment.name == assignment)
    )
    found: dict[str, tuple[datetime | None, float | None]] = {}
    for student, time, penalty in rows:
        before = found.get(student, (None, None))[1]
        found[student] = time, penalty if before is None else before + (penalty or 0)
    return found


class _Save(SaveAutoGrades):  # type: ignore[misc]
    """nbgrader's step that reads points and comments, on a gradebook that is open."""

    def enter(self, gradebook: Any, exercise: str, student: str, notebook: Any) -> None:
        self.gradebook, self.notebook_id, self.assignment_id, self.student_id = gradebook, exercise, exercise, student
        NbGraderPreprocessor.preprocess(self, notebook, {})


class _Penalize(AssignLatePenalties):  # type: ignore[misc]
    """nbgrader's step that takes points off for late submissions, on a gradebook that is open."""

    def of(self, gradebook: Any, exercise: str, student: str) -> float | None:
        self.init_plugin()
        late = gradebook.find_submission(exercise, student).total_seconds_late
        notebook = gradebook.find_submission_notebook(exercise, exercise, student)
        penalty = self.plugin_inst.late_submission_penalty(student, notebook.score, late) if late > 0 else None
        return None if penalty is None else float(self._check_late_penalty(notebook, penalty))

    def enter(self, gradebook: Any, exercise: str, student: str) -> None:
        penalty = self.of(gradebook, exercise, student)
        gradebook.find_submission_notebook(exercise, exercise, student).late_submission_penalty = penalty
        gradebook.db.flush()


_FOR_ALL = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_CORRUPT", "SQLITE_NOTADB")


def _is_for_all(error: BaseException | None) -> bool:
    """Whether an error says that the file takes nothing any more."""
    while error is not None:
        original = getattr(error, "orig", error)
        if isinstance(original, sqlite3.Error):
            return str(getattr(original, "sqlite_errorname", "")).startswith(_FOR_ALL)
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps nbgrader from logging errors with tracebacks: they are raised as well, and told in plain words."""
    from nbgrader import api

    before, api.app_log.disabled = api.app_log.disabled, True
    try:
        yield
    finally:
        api.app_log.disabled = before
