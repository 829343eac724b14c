"""What people have added to grades: reads nbgrader's gradebook."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autograder.course.gradebook import open_gradebook
from autograder.reporting.model import PersonGrade


@dataclass
class Added:
    """What the gradebook knows of a submission.

    Attributes:
        points: Of all cells together, before the penalty.
        max_points: What they could give.
        penalty: For being late.
        waits_for_person: A cell is to be graded by a person.
        people: What a person has added.
    """

    points: float = 0.0
    max_points: float = 0.0
    penalty: float = 0.0
    waits_for_person: bool = False
    people: list[PersonGrade] = field(default_factory=list)


def read_people(coursedir: Any, exercises: Iterable[str]) -> dict[tuple[str, str], Added] | None:
    """Returns what the gradebook knows, by exercise and student; None where there is no gradebook.

    Raises:
        autograder.course.gradebook.GradebookError: It cannot be used.
    """
    url = coursedir.db_url
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).is_file():
        return None  # opening would make one
    found: dict[tuple[str, str], Added] = {}
    with open_gradebook(coursedir) as gradebook:
        for exercise in exercises:
            for student, added in _read(gradebook, exercise).items():
                found[exercise, student] = added
    return found


def _read(gradebook: Any, exercise: str) -> dict[str, Added]:
    """Reads by three queries: nbgrader's own objects would make several for each cell of each submission."""
    from nbgrader.api import (
        Assignment,
        BaseCell,
        Comment,
        Grade,
        MissingEntry,
        Student,
        SubmittedAssignment,
        SubmittedNotebook,
    )

    try:
        notebook = gradebook.find_notebook(exercise, exercise)
    except MissingEntry:
        return {}
    worth = {cell.name: cell.max_score for cell in (*notebook.grade_cells, *notebook.task_cells)}

    def rows(*columns: Any, of: Any) -> list[Any]:
        query = gradebook.db.query(Student.id, *columns).select_from(SubmittedNotebook)
        query = query.join(SubmittedAssignment, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
        query = query.join(Assignment, SubmittedAssignment.assignment_id == Assignment.id)
        query = query.join(Student, SubmittedAssignment.student_id == Student.id)
        if of is not None:
            query = query.join(of, of.notebook_id == SubmittedNotebook.id).join(BaseCell, of.cell_id == BaseCell.id)
        return list(query.filter(Assignment.name == exercise))

    found = {
        student: Added(penalty=penalty or 0.0)
        for student, penalty in rows(SubmittedNotebook.late_submission_penalty, of=None)
    }
    comments = {
        (student, cell): text for student, cell, text in rows(BaseCell.name, Comment.manual_comment, of=Comment) if text
    }
    scores = (Grade.score, Grade.manual_score, Grade.extra_credit, Grade.needs_manual_grade)
    for student, cell, score, manual, extra, needs_person in rows(BaseCell.name, *scores, of=Grade):
        added = found[student]
        added.points += score
        added.max_points += worth.get(cell, 0.0)
        added.waits_for_person = added.waits_for_person or needs_person
        comment = comments.pop((student, cell), "")
        if manual is not None or extra or comment:
            added.people.append(PersonGrade(cell, manual, worth.get(cell), extra or 0.0, comment))
    for (student, cell), text in comments.items():
        found[student].people.append(PersonGrade(cell, None, None, comment=text))
    return found
