"""nbgrader's autograding, with our reading and our judge in the place of its own.

nbgrader's Autograde executes a submission with the grader's rights in a folder where links of the submission were
followed, takes points from what the student's kernel says, and stops at what it cannot read. So this is a subclass of
it that grades as `autograder grade` does. What stays nbgrader's: its options, the gradebook with manual points and late
penalties, and the outputs as the one source of points.
"""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from nbgrader.converters import Autograde, NbGraderException
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Bool, Integer

from autograder.course.config import students_of
from autograder.course.refusals import REFUSALS
from autograder.exercises import Exercise, find_exercises
from autograder.isolation_check import weakness
from autograder.names import UnknownNameError


class Refuse(NbGraderPreprocessor):  # type: ignore[misc]
    """Stands where nbgrader's own Autograde would execute a submission: it does not come that far."""

    def preprocess(self, nb: Any, resources: Any) -> Any:  # noqa: ARG002 - a preprocessor's arguments
        """Raises NbGraderException."""
        raise NbGraderException(
            "submissions are executed in a sandbox only: call grade_in_sandbox in nbgrader_config.py, as "
            "autograder.course.config has it"
        )


class SandboxedAutograde(Autograde):  # type: ignore[misc]
    """Autogrades submissions of an exercise: `start()` grades those that `coursedir` names, unless they are graded."""

    accept_weak_isolation = Bool(
        False,
        help="Grade also where a layer of the sandbox does not hold (see `autograder doctor`); the graded notebooks "
        "and records then name it.",
    ).tag(config=True)

    jobs = Integer(0, help="How many submissions are graded at a time; 0 for as many as there are cores.").tag(
        config=True
    )

    def start(self) -> None:
        """Grades.

        Raises:
            NbGraderException: A submission could not be graded; the others were, unless the gradebook failed.
        """
        from autograder.course.start import local_engine

        try:
            exercise = find_exercise(self.coursedir.assignment_id, Path(self.coursedir.root))
            pairs = [(exercise, student) for student in self._students(exercise)]
            with local_engine(
                jobs=self.jobs or None, seed=None, accept_weak_isolation=self.accept_weak_isolation, config=self.config
            ) as engine:
                if weak := engine.environment.weak_isolation:
                    self.log.warning(weakness(weak))
                self._grade(pairs, engine)
        except (UnknownNameError, *REFUSALS) as error:
            self.log.error(str(error))
            raise NbGraderException(str(error)) from error

    def _grade(self, pairs: list[tuple[Exercise, str]], engine: Any) -> None:
        from autograder.course.grade_submissions import grade_submissions

        report = grade_submissions(
            pairs,
            engine,
            force=self.force,
            on_start=lambda exercise, student: self.log.info("Grading %s of %s", exercise, student),
            on_grade=lambda grade: self.log.info(
                "%s of %s: %s, %g of %g points",
                grade.exercise,
                grade.student,
                grade.state,
                grade.points,
                grade.max_points,
            ),
            config=self.config,
        )
        if report.interrupted:
            raise KeyboardInterrupt
        failed = [grade for grade in report.submissions if grade.state == "not graded"]
        for grade in failed:
            self.log.error("%s of %s could not be graded: %s", grade.exercise, grade.student, grade.failure)
        if failed:
            raise NbGraderException(f"could not be graded: {', '.join(grade.student for grade in failed)}")

    def _students(self, exercise: Exercise) -> list[str]:
        """Returns whose submissions are meant.

        Raises:
            NbGraderException: There is none.
        """
        wanted = self.coursedir.student_id  # one, or a pattern: "*" is every student
        found = students_of(exercise, self.coursedir)
        chosen = [wanted] if wanted in found else [student for student in found if fnmatchcase(student, wanted)]
        if not chosen:
            message = f"no submission in {self._format_source(exercise.name, wanted)}"
            self.log.error(message)
            raise NbGraderException(message)
        return chosen


def find_exercise(name: str, root: Path) -> Exercise:
    """Returns the exercise that nbgrader calls an assignment of that name.

    Raises:
        UnknownNameError: There is none.
    """
    for exercise in find_exercises(root):
        if exercise.name == name:
            return exercise
    raise UnknownNameError(f"'{name}' is no exercise of {root / 'solutions'}")
