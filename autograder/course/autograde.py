"""nbgrader's autograding, with our reading and our judge in the place of its own.

nbgrader's Autograde executes a submission with the grader's rights in a folder where links of the submission were
followed, takes points from what the student's kernel says, and stops at what it cannot read. Its preprocessors are
configurable, but which files it copies and which submissions it takes up are not, nor does it say when a run begins and
ends, which is as long as a grader must live. So this is a subclass of it. What it leaves to nbgrader: late
penalties, the gradebook, the loop over submissions, and the outputs as the one source of points.
"""

import contextlib
import json
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from nbgrader.converters import Autograde, NbGraderException
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    LimitOutput,
    NbGraderPreprocessor,
    SaveAutoGrades,
)
from traitlets import Bool, List

from autograder.course.config import RECORD, students_of
from autograder.course.gradebook import PATIENCE, GradebookError, open_gradebook, register
from autograder.course.presentation import make_presentable
from autograder.course.released import NotReleasedError, read_release
from autograder.course.restoration import restored
from autograder.course.submissions import Submission, read_submission
from autograder.exercises import Exercise, find_exercises, is_judged
from autograder.files import write_atomically
from autograder.isolation_check import WeakIsolationError, check_isolation, weakness
from autograder.names import UnknownNameError

if TYPE_CHECKING:
    from autograder.grading import Grade, Grader


class Refuse(NbGraderPreprocessor):  # type: ignore[misc]
    """Stands where nbgrader's own Autograde would execute a submission: it does not come that far."""

    def preprocess(self, nb: Any, resources: Any) -> Any:  # noqa: ARG002 - a preprocessor's arguments
        """Raises NbGraderException."""
        raise NbGraderException(
            "submissions are executed in a sandbox only: call grade_in_sandbox in nbgrader_config.py, as "
            "autograder.course.config has it"
        )


class SandboxedAutograde(Autograde):  # type: ignore[misc]
    """Autogrades submissions of an exercise: `start()` grades those that `coursedir` names and that are not graded yet.

    Attributes:
        grader: Grades all of them; where it is None, `start()` makes one and closes it at its end.
        graded: Students whose submissions were graded, not passed over.
    """

    preprocessors = List([LimitOutput, SaveAutoGrades, AssignLatePenalties, CheckCellMetadata])
    accept_weak_isolation = Bool(
        False,
        help="Grade also where a layer of the sandbox does not hold (see `autograder doctor`); the graded notebooks "
        "and records then name it.",
    ).tag(config=True)
    grader: "Grader | None" = None

    def start(self) -> None:
        """Grades.

        Raises:
            NbGraderException: A submission could not be graded; the others were, unless the gradebook failed.
        """
        self.graded: list[str] = []
        try:
            self._exercise = find_exercise(self.coursedir.assignment_id, Path(self.coursedir.root))
            register(self._exercise, self.coursedir)
            self._release = read_release(self._exercise)
            if self.grader is None:
                weak = check_isolation(accept_weak=self.accept_weak_isolation)
                if weak:
                    self.log.warning(weakness(weak))
        except (UnknownNameError, GradebookError, NotReleasedError, WeakIsolationError) as error:
            self.log.error(str(error))
            raise NbGraderException(str(error)) from error
        with contextlib.ExitStack() as self._until_end:
            self._until_end.enter_context(self._lock())
            super().start()

    def init_notebooks(self) -> None:
        """Finds the submissions: folders, also those without a notebook in them.

        Raises:
            NbGraderException: There is none.
        """
        name = self._exercise.name
        wanted = self.coursedir.student_id  # one, or a pattern: "*" is every student
        found = students_of(self._exercise, self.coursedir)
        chosen = [wanted] if wanted in found else [student for student in found if fnmatchcase(student, wanted)]
        folders = [self._format_source(name, student) for student in chosen]
        self.assignments = {folder: [f"{folder}/{name}.ipynb"] for folder in folders}
        if not folders:
            message = f"no submission in {self._format_source(name, wanted)}"
            self.log.error(message)
            raise NbGraderException(message)

    def init_destination(self, assignment_id: str, student_id: str) -> bool:
        """Says whether to grade a submission: unless it was graded to the end, with these contents; or by force."""
        self._submission = read_submission(Path(self._format_source(assignment_id, student_id)), assignment_id)
        folder = Path(self._format_dest(assignment_id, student_id))
        record = read_record(folder)
        same = record.get("submission_sha256") == self._submission.digest
        self._earlier = failures(record, again=same)
        if same and not self.force and self._is_in_gradebook(student_id):
            self.log.info("Skipping %s: graded before", folder)
            return False
        if folder.exists():
            from nbgrader.utils import rmtree

            rmtree(folder)
        return True

    def init_assignment(self, assignment_id: str, student_id: str) -> None:
        """Enters the submission in the gradebook, and copies its regular files.

        Raises:
            NbGraderException: The student is unknown, and `create_student` is off.
        """
        with open_gradebook(self.coursedir) as gradebook:
            if self.create_student:
                gradebook.update_or_create_student(student_id)
            elif student_id not in {student.id for student in gradebook.students}:
                raise NbGraderException(f"no student {student_id} in the gradebook")
            submitted = self._submission.submitted
            times = {"timestamp": submitted} if submitted else {}
            gradebook.update_or_create_submission(assignment_id, student_id, **times)
        folder = Path(self._format_dest(assignment_id, student_id))
        folder.mkdir(parents=True)
        for name, data in self._submission.files.items():
            if PurePosixPath(name).parts[0] not in (RECORD, f"{assignment_id}.ipynb"):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data)

    def convert_single_notebook(self, notebook_filename: str) -> None:
        """Grades a submission; its record is written last, so that it says that all else is done."""
        resources = self.init_single_notebook_resources(notebook_filename)
        notebook, grade = grade_one(
            self._a_grader(), self._exercise, self._release, self._submission, earlier=self._earlier
        )
        output, resources = self.exporter.from_notebook_node(notebook, resources)
        self.write_single_notebook(output, resources)
        record = {
            "submission_sha256": self._submission.digest,
            "problems": self._submission.problems,
            **asdict(grade),
        }
        write_atomically(Path(self.writer.build_directory) / RECORD, json.dumps(record, indent=2) + "\n")
        self.graded.append(resources["nbgrader"]["student"])

    def _lock(self) -> contextlib.AbstractContextManager[Any]:
        """Keeps others from grading in this course meanwhile: they would take our half for what a killed run left.

        Raises:
            NbGraderException: Another program does not come to its end.
        """
        with contextlib.suppress(Timeout):
            return FileLock(Path(self.coursedir.root) / "gradebook.db.lock").acquire(timeout=PATIENCE)
        message = f"another program is autograding in {self.coursedir.root}: try again when it is done"
        self.log.error(message)
        raise NbGraderException(message)

    def _is_in_gradebook(self, student: str) -> bool:
        with open_gradebook(self.coursedir) as gradebook:
            submissions = gradebook.assignment_submissions(self._exercise.name)
            return student in {submission.student.id for submission in submissions}

    def _a_grader(self) -> "Grader":
        if self.grader is None:
            from autograder.grading import Grader

            self.grader = self._until_end.enter_context(Grader(accept_weak_isolation=self.accept_weak_isolation))
            self._until_end.callback(setattr, self, "grader", None)
        return self.grader


def grade_one(
    grader: "Grader", exercise: Exercise, release: Any, submission: Submission, **options: Any
) -> tuple[Any, "Grade"]:
    """Returns a submission's graded notebook, as the gradebook and the feedback take it, and its grade.

    Args:
        grader: Executes and judges it.
        exercise: What it is a submission of.
        release: The exercise's released notebook.
        submission: What was handed in.
        options: Of `Grader.grade`.

    Raises:
        NbGraderException: nbgrader would read other points from it than the judge's.
        workbook.sandbox.isolation.server.IsolationError: No box can be made: nothing was executed.
    """
    notebook = restored(release, submission)
    grade = grader.grade(notebook, exercise, files=submission.files, **options)
    check_outputs(notebook)
    make_presentable(notebook)
    return notebook, grade


def find_exercise(name: str, root: Path) -> Exercise:
    """Returns the exercise that nbgrader calls an assignment of that name.

    Raises:
        UnknownNameError: There is none.
    """
    for exercise in find_exercises(root):
        if exercise.name == name:
            return exercise
    raise UnknownNameError(f"'{name}' is no exercise of {root / 'solutions'}")


def check_outputs(notebook: Any) -> None:
    """Makes sure that nbgrader reads the judge's points and nothing else in a graded notebook.

    It takes an empty output for full marks, anything on stderr for none, and the first result for the points.

    Raises:
        NbGraderException: A judged cell has other outputs than one result with points from 0 to its maximum.
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
            raise NbGraderException(
                f"the cell '{settings['grade_id']}' has no points from 0 to {settings['points']:g}: is exercises/ as "
                "`autograder release` makes it now?"
            )


def failures(record: dict[str, Any], *, again: bool) -> dict[str, int]:
    """Returns how many submissions in a row have failed each criterion, from a record; `again` leaves its own out."""
    verdicts = record.get("verdicts", [])
    return {verdict["criterion"]: max(0, verdict.get("attempts", 0) - again) for verdict in verdicts}


def read_record(folder: Path) -> dict[str, Any]:
    """Returns the record of a submission that was graded to the end; empty where there is none."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
