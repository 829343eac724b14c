"""Where grades are kept: the records, the graded notebooks, the gradebook. They are written in this order.

So every grade in the gradebook has a record, at any moment. A run that is killed between two of these is taken up
again: what is not in all three places is no finished grade, and writing it again changes nothing that was right.
"""

import errno
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from autograder.course.fingerprint import Fingerprint
from autograder.course.gradebook import PATIENCE, GradebookError, open_gradebook, register
from autograder.course.record import Environment, Record
from autograder.course.records import MAKE_ROOM, Records, notebook_digest
from autograder.course.scores import Scores
from autograder.course.signing import VARIABLE, Key, KeyFileError
from autograder.course.submissions import Submission
from autograder.course.unit import Graded
from autograder.exercises import Exercise

_NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class NoPlaceError(Exception):
    """Grades cannot be kept any more, whoever's they are. The message says what to do."""


@dataclass(frozen=True)
class Kept:
    """The last record of a student, where its signature holds.

    Attributes:
        record: The record.
        whole: Whether the graded notebook and the gradebook are as it says.
    """

    record: Record
    whole: bool


class Ledger:
    """The grades of a course. A context manager; while it is open no other program grades in this course."""

    def __init__(self, coursedir: Any, config: Any, key: Key) -> None:
        """Takes nbgrader's CourseDirectory and configuration, and the grader's key."""
        self._coursedir, self._config, self._key = coursedir, config, key
        self._root = Path(coursedir.root)
        self._scores_of: dict[str, dict[str, dict[str, float | None]]] = {}
        self._unpunished: dict[str, set[str]] = {}

    def __enter__(self) -> Self:
        """Opens it.

        Raises:
            GradebookError: Another program is grading, or the gradebook cannot be used.
            autograder.course.signing.KeyFileError: The records were signed with another key.
            autograder.course.records.RecordsError: The records cannot be used.
        """
        with ExitStack() as stack:
            try:
                lock = FileLock(self._root / "gradebook.db.lock").acquire(timeout=PATIENCE)
            except Timeout:
                raise GradebookError(
                    f"another program is autograding in {self._root}: try again when it is done"
                ) from None
            stack.enter_context(lock)
            self._records = stack.enter_context(Records(self._root))
            self._check_signer()
            self._gradebook = stack.enter_context(open_gradebook(self._coursedir))
            self._scores = Scores(self._gradebook, self._config)
            self._until_end = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._until_end.close()

    def _check_signer(self) -> None:
        """Refuses to go on with another key: it would take no record for one, and grade the class once more."""
        last = self._records.last()
        if last is not None and last.signer != self._key.fingerprint:
            raise KeyFileError(
                f"the records in {self._records.path} are signed with the key {last.signer}, and this is the key "
                f"{self._key.fingerprint}: let {VARIABLE} name that one, or move the records away to begin anew"
            )

    def register(self, exercise: Exercise) -> None:
        """Makes sure that the gradebook knows an exercise; see `autograder.course.gradebook.register`."""
        register(exercise, self._coursedir, self._gradebook)

    def last(self, exercise: str, student: str) -> Kept | None:
        """Returns a student's last record; None where there is none that this key has signed."""
        record = self._records.latest_of(exercise, student)
        if record is None or not self._key.has_signed(record):
            return None
        if exercise not in self._scores_of:  # once: this program alone changes them from here on
            self._scores_of[exercise] = self._scores.of(exercise)
            self._unpunished[exercise] = self._scores.with_another_penalty(exercise)
        scores = self._scores_of[exercise].get(student, {})
        entered = all(scores.get(verdict.criterion) == verdict.points for verdict in record.verdicts)
        entered = entered and self._records.is_entered(record.number) and student not in self._unpunished[exercise]
        return Kept(record, entered and self._notebook_is_there(record))

    def _notebook_is_there(self, record: Record) -> bool:
        try:
            data = (self.folder(record.exercise, record.student) / f"{record.exercise}.ipynb").read_bytes()
        except OSError:
            return False
        return notebook_digest(data) == record.notebook_sha256

    def find(
        self, submission: str, by: Fingerprint, environment: Environment, seed: str | None
    ) -> tuple[Record, str] | None:
        """Returns the last result of equal work that can be used again, with its graded notebook; None for none.

        Args:
            submission: The work's digest.
            by: What it is to be graded by.
            environment: Where.
            seed: Of its inputs; None for any.
        """
        for record in self._records.find(by.key(submission, environment)):
            fits = by.fits(record) and record.submission_sha256 == submission and seed in (None, record.seed)
            fits = fits and record.environment.sha256 == environment.sha256 and record.repeatable
            if fits and self._key.has_signed(record) and (notebook := self.notebook(record)):
                return record, notebook
        return None

    def keep(
        self,
        student: str,
        submission: Submission,
        graded: Graded,
        by: Fingerprint,
        environment: Environment,
    ) -> Record:
        """Keeps a grade, in all places.

        Args:
            student: Whose it is.
            submission: What was graded.
            graded: What came of it.
            by: What it was graded by.
            environment: Where.

        Raises:
            autograder.course.records.RecordsError: It could not be recorded, nor can any other.
            GradebookError: It could not be entered.
            NoPlaceError: The disk is full, or cannot be written.
            OSError: The graded notebook could not be written.
        """
        grade, (last, previous) = graded.grade, self._records.tip()
        record = self._key.sign(
            Record(
                student=student,
                exercise=by.exercise,
                graded=datetime.now(UTC).isoformat(timespec="seconds"),
                submission_sha256=submission.digest,
                submitted=submitted_time(submission),
                release_sha256=by.release,
                criteria_sha256=by.criteria,
                environment=environment,
                seed=grade.seed,
                points=grade.points,
                max_points=grade.max_points,
                verdicts=grade.verdicts,
                problems=graded.problems,
                incidents=grade.incidents,
                notebook_sha256=notebook_digest(graded.notebook),
                seconds=grade.seconds,
                stages=graded.stages,
                memory=grade.memory,
                executed=grade.executed,
                late_cell=grade.late_cell,
                number=last + 1,
                previous_sha256=previous,
            )
        )
        self._records.add(record, graded.notebook, by.key(submission.digest, environment))
        self.enter(record, submission, graded.notebook)
        return record

    def enter(self, record: Record, submission: Submission, notebook: str) -> None:
        """Puts a grade that is recorded where people look for it: in `autograded/` and in the gradebook.

        Raises:
            GradebookError: It could not be entered.
            NoPlaceError: The disk is full, or cannot be written.
            OSError: The graded notebook could not be written.
        """
        from nbformat import v4

        try:
            self._write_folder(record, submission.files, notebook)
            self._scores.enter(record.exercise, record.student, v4.reads(notebook), submission.submitted)
            self._records.mark_entered(record.number)
        except OSError as error:
            if error.errno not in _NO_PLACE:
                raise
            raise NoPlaceError(f"{error.filename or self._root}: {error.strerror}: {MAKE_ROOM}") from error
        except GradebookError as error:
            if not error.for_all:
                raise
            raise NoPlaceError(f"{error}: {MAKE_ROOM}") from error

    def notebook(self, record: Record) -> str | None:
        """Returns the graded notebook of a record, as it was recorded; None where it is not there."""
        return self._records.notebook(record.notebook_sha256)

    def folder(self, exercise: str, student: str) -> Path:
        """Returns where a student's graded notebook of an exercise is."""
        return Path(self._coursedir.format_path(self._coursedir.autograded_directory, student, exercise))

    def _write_folder(self, record: Record, files: Mapping[str, bytes], notebook: str) -> None:
        """Replaces a folder in `autograded/`: it is made beside, and put in its place in one step."""
        place, name = self.folder(record.exercise, record.student), f"{record.exercise}.ipynb"
        place.parent.mkdir(parents=True, exist_ok=True)
        for left in place.parent.glob(f".{record.exercise}-*"):  # by a run that was killed
            shutil.rmtree(left)
        made = Path(tempfile.mkdtemp(prefix=f".{record.exercise}-", dir=place.parent))
        try:
            made.chmod(0o755)
            others = {one: data for one, data in files.items() if PurePosixPath(one).parts[0] != name}
            for one, data in {**others, name: notebook.encode()}.items():
                (made / one).parent.mkdir(parents=True, exist_ok=True)
                (made / one).write_bytes(data)
                (made / one).chmod(self._mode)
            if place.exists():
                shutil.move(place, made.with_name(f"{made.name}-old"))
            made.rename(place)
            shutil.rmtree(made.with_name(f"{made.name}-old"), ignore_errors=True)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise

    @cached_property
    def _mode(self) -> int:
        """Permissions of graded files, as nbgrader gives them."""
        return 0o664 if self._coursedir.groupshared else 0o444


def submitted_time(submission: Submission) -> str:
    """Returns when it was handed in, as records have it."""
    return submission.submitted.isoformat() if submission.submitted else ""
