"""Enters grades in nbgrader's gradebook: one transaction a submission, so that it holds all of a grade or nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
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

        times = {"timestamp": submitted} if submitted else {}
        try:
            with self._transaction():
                if self.create_students:
                    self._gradebook.update_or_create_student(student)
                elif student not in {one.id for one in self._gradebook.students}:
                    raise GradebookError(f"no student {student} in the gradebook")
                self._gradebook.update_or_create_submission(exercise, student, **times)
                self._save.enter(self._gradebook, exercise, student, notebook)
                self._gradebook.db.expire_all()  # a sum of scores is computed when it is read
                self._penalize.enter(self._gradebook, exercise, student)
        except InvalidEntry as error:
            raise GradebookError(f"the gradebook does not take it: {error}") from error

    def of(self, exercise: str) -> dict[str, dict[str, float | None]]:
        """Returns the judge's scores of an exercise, by student and cell."""
        scores: dict[str, dict[str, float | None]] = {}
        for row in rows_of(self._gradebook, exercise):
            scores.setdefault(row.student_id, {})[row.name] = row.auto_score
        return scores

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Makes one transaction of all that nbgrader commits in the block."""
        from sqlalchemy.exc import DBAPIError

        session = self._gradebook.db()
        commit = session.commit
        session.commit = session.flush
        try:
            yield
            commit()
        except DBAPIError as error:
            session.rollback()
            raise GradebookError(f"the gradebook: {error.orig}") from error
        except BaseException:
            session.rollback()
            raise
        finally:
            session.commit = commit
            session.expunge_all()  # memory is not to grow with the class


def rows_of(gradebook: Any, exercise: str) -> Any:
    """Returns a row for each graded cell of each submission: student_id, name, auto_score, manual_score, extra_credit.

    One query for all of them: nbgrader's own ways take one for each cell.
    """
    from nbgrader.api import Assignment, BaseCell, Grade, SubmittedAssignment, SubmittedNotebook

    columns = (Grade.auto_score, Grade.manual_score, Grade.extra_credit)
    return (
        gradebook.db.query(SubmittedAssignment.student_id, BaseCell.name, *columns)
        .join(SubmittedNotebook, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
        .join(Grade, Grade.notebook_id == SubmittedNotebook.id)
        .join(BaseCell, BaseCell.id == Grade.cell_id)
        .join(Assignment, Assignment.id == SubmittedAssignment.assignment_id)
        .filter(Assignment.name == exercise)
    )


class _Save(SaveAutoGrades):  # type: ignore[misc]
    """nbgrader's step that reads points and comments, on a gradebook that is open."""

    def enter(self, gradebook: Any, exercise: str, student: str, notebook: Any) -> None:
        self.gradebook, self.notebook_id, self.assignment_id, self.student_id = gradebook, exercise, exercise, student
        NbGraderPreprocessor.preprocess(self, notebook, {})


class _Penalize(AssignLatePenalties):  # type: ignore[misc]
    """nbgrader's step that takes points off for late submissions, on a gradebook that is open."""

    def enter(self, gradebook: Any, exercise: str, student: str) -> None:
        self.init_plugin()
        late = gradebook.find_submission(exercise, student).total_seconds_late
        notebook = gradebook.find_submission_notebook(exercise, exercise, student)
        penalty = self.plugin_inst.late_submission_penalty(student, notebook.score, late) if late > 0 else None
        notebook.late_submission_penalty = None if penalty is None else self._check_late_penalty(notebook, penalty)
        gradebook.db.flush()
