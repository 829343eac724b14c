"""The unit of grading: one submission of one exercise. It writes nothing, so it may be done anywhere, and twice."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autograder.course.presentation import make_presentable
from autograder.course.restoration import restored
from autograder.course.submissions import Submission
from autograder.exercises import Exercise, is_judged
from autograder.judge import Verdict
from autograder.stages import Stages

if TYPE_CHECKING:
    from autograder.grading import Grade, Grader


class UnfitNotebookError(Exception):
    """nbgrader would read other points from a graded notebook than the judge's, or none."""


@dataclass(frozen=True)
class Unit:
    """A submission that is to be graded.

    Attributes:
        exercise: What it is a submission of.
        release: The released notebook.
        student: Whose it is.
        submission: What was handed in.
        earlier: By criterion, how many submissions in a row have failed it before.
        known: Verdicts by criterion that hold for this work.
        seed: Of the inputs, where it is not to be the grader's.
    """

    exercise: Exercise
    release: Any
    student: str
    submission: Submission
    earlier: Mapping[str, int] = field(default_factory=dict)
    known: Mapping[str, Verdict] = field(default_factory=dict)
    seed: str | None = None


@dataclass(frozen=True)
class Graded:
    """What came of it.

    Attributes:
        grade: Points and verdicts.
        notebook: The text of the graded notebook, as the gradebook and the feedback take it.
        problems: What was found wrong with the submission and repaired or left out, a sentence each.
        stages: Seconds by stage.
    """

    grade: "Grade"
    notebook: str
    problems: list[str]
    stages: dict[str, float]


def grade_unit(
    grader: "Grader",
    unit: Unit,
    config: Any = None,
    only: Collection[str] | None = None,
    criterion_timeout: float = math.inf,
) -> Graded:
    """Grades a submission.

    Args:
        grader: Executes and judges it.
        unit: What is to be graded.
        config: nbgrader's, for how much of the outputs is kept.
        only: The criteria to run; None for all.
        criterion_timeout: Seconds that a criterion may take, where its own limit is higher.

    Raises:
        UnfitNotebookError: nbgrader would read other points from it than the judge's.
        autograder.exercises.ExerciseError: The exercise is not as it must be.
        workbook.sandbox.isolation.server.IsolationError: No box can be made: nothing was executed.
    """
    from nbformat import v4

    stages = Stages()
    with stages("restore"):
        notebook, problems = restored(unit.release, unit.submission)
    grade = grader.grade(
        notebook,
        unit.exercise,
        files=unit.submission.files,
        only=only,
        earlier=unit.earlier,
        known=unit.known,
        seed=unit.seed,
        criterion_timeout=criterion_timeout,
    )
    with stages("write"):
        finish(notebook, config)
        text = v4.writes(notebook)
    return Graded(grade, text, problems, {**grade.stages, **stages.rounded()})


def finish(notebook: Any, config: Any = None) -> None:
    """Makes a graded notebook fit for the gradebook and for people's eyes.

    Raises:
        UnfitNotebookError: nbgrader would read other points from it than the judge's.
    """
    from nbgrader.preprocessors import CheckCellMetadata, LimitOutput

    check_outputs(notebook)
    make_presentable(notebook)
    LimitOutput(config=config).preprocess(notebook, {})
    CheckCellMetadata(config=config).preprocess(notebook, {})


def check_outputs(notebook: Any) -> None:
    """Makes sure that nbgrader reads the judge's points and nothing else in a graded notebook.

    It takes an empty output for full marks, anything on stderr for none, and the first result for the points.

    Raises:
        UnfitNotebookError: A judged cell has other outputs than one result with points from 0 to its maximum.
    """
    for cell in filter(is_judged, notebook.cells):
        settings = cell.metadata["nbgrader"]
        try:
            (output,) = cell.outputs
            right = (
                output.output_type == "execute_result" and 0 <= float(output.data["text/plain"]) <= settings["points"]
            )
        except (ValueError, KeyError):
            right = False
        if not right:
            raise UnfitNotebookError(
                f"the cell '{settings['grade_id']}' has no points from 0 to {settings['points']:g}: is exercises/ as "
                "`autograder release` makes it now?"
            )
