"""Grades the submissions in a course's `submitted/<student>/<exercise>/`: plans, has an engine work, keeps grades."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from autograder.course.engines import Engine
from autograder.course.fingerprint import Fingerprint, fingerprint
from autograder.course.grade_report import GradeReport, SubmissionGrade
from autograder.course.ledger import Ledger, NoPlaceError, submitted_time
from autograder.course.record import Record
from autograder.course.records import RecordsError
from autograder.course.submissions import Submission, read_submission
from autograder.course.unit import Graded, Unit, finish
from autograder.exercises import Exercise, ExerciseError, points_of
from autograder.grading import Grade, with_points, write_verdicts
from autograder.judge import Verdict, is_repeatable, with_hint
from autograder.printable import is_text


class NoSubmissionError(LookupError):
    """There is nothing to grade, or a student who was named has not submitted."""


def submissions_of(exercises: Sequence[Exercise], students: Sequence[str]) -> list[tuple[Exercise, str]]:
    """Returns who has submitted which exercises.

    Args:
        exercises: Of one course.
        students: Who is looked for; all if empty.

    Raises:
        NoSubmissionError: There is no submission, or none of a student who was named.
    """
    from autograder.course.config import course_directory, students_of

    coursedir = course_directory(exercises[0].root)
    pairs = [
        (exercise, student)
        for exercise in exercises
        for student in students_of(exercise, coursedir)
        if not students or student in students
    ]
    submitted = Path(coursedir.root) / coursedir.submitted_directory
    named = ", ".join(exercise.name for exercise in exercises)
    missing = [student for student in students if student not in {student for _, student in pairs}]
    if missing:
        raise NoSubmissionError(f"no submission of {named} by {', '.join(missing)} in {submitted}")
    if not pairs:
        raise NoSubmissionError(f"no submission of {named} in {submitted}/<student>/<exercise>/")
    return pairs


def grade_submissions(
    pairs: Sequence[tuple[Exercise, str]],
    engine: Engine,
    *,
    force: bool = False,
    seed: str | None = None,
    on_start: Callable[[str, str], None],
    on_grade: Callable[[SubmissionGrade], None],
    config: Any = None,
) -> GradeReport:
    """Grades each submission that is not graded yet, or only in part; what one of them does never stops the others.

    What is graded stays as it is while the submission, the exercise and the environment are what they were. Where only
    criteria have changed, only those are run again, with the inputs that the others had.

    Args:
        pairs: Exercises of one course, each with a student who has submitted it; see `submissions_of`.
        engine: Grades them.
        force: Also what is graded, and what could come from an earlier result.
        seed: Of the inputs, where the engine was given one: a result with others is none.
        on_start: Is called with an exercise's and a student's name.
        on_grade: Is called with what came of it.
        config: nbgrader's; as the course has it if it is left out.

    Raises:
        GradebookError: The gradebook cannot be used, or an exercise is not released. Nothing was graded.
        autograder.course.records.RecordsError: The records cannot be used, or not any more.
        autograder.course.ledger.NoPlaceError: The disk is full. What was graded before is kept.
        autograder.course.signing.KeyFileError: The grader's key cannot be read or made. Nothing was graded.
        autograder.exercises.ExerciseError: An exercise is not as it must be. Nothing was graded.
    """
    run = _Run(pairs, engine, force=force, seed=seed, on_grade=on_grade, config=config)
    began, interrupted = time.monotonic(), False
    try:
        with run.ledger:
            run.prepare()
            for unit, came in engine.run(run, lambda unit: on_start(unit.exercise.name, unit.student)):
                run.take(unit, came)
    except KeyboardInterrupt:
        interrupted = True
        with _deaf():
            engine.stop()
    order = {(exercise.name, student): number for number, (exercise, student) in enumerate(pairs)}
    grades = sorted(run.grades, key=lambda grade: order[grade.exercise, grade.student])
    return GradeReport(
        complete=not interrupted and all(grade.state != "not graded" for grade in grades),
        interrupted=interrupted,
        seconds=round(time.monotonic() - began, 3),
        submissions=grades,
        weak_isolation=list(dict.fromkeys(layer for grade in grades for layer in grade.weak_isolation)),
    )


class _Run:
    """One run over submissions: what is to be graded, and what came of it."""

    def __init__(
        self,
        pairs: Sequence[tuple[Exercise, str]],
        engine: Engine,
        *,
        force: bool,
        seed: str | None,
        on_grade: Callable[[SubmissionGrade], None],
        config: Any,
    ) -> None:
        from nbgrader.coursedir import CourseDirectory

        from autograder.course.config import load_config
        from autograder.course.signing import load_key

        self._exercises = {exercise.name: exercise for exercise, _ in pairs}
        self._config = config or load_config(pairs[0][0].root)
        self._coursedir = CourseDirectory(config=self._config)
        self._releases: dict[str, Any] = {}
        self._by: dict[str, Fingerprint] = {}
        self._pairs, self._engine, self._force, self._seed, self._on_grade = pairs, engine, force, seed, on_grade
        self._before: dict[tuple[str, str], Record | None] = {}  # of what is being graded
        self._planned, self._once_more = self._units(), list[Unit]()
        self.ledger = Ledger(self._coursedir, self._config, load_key(make=True))
        self.grades: list[SubmissionGrade] = []

    def prepare(self) -> None:
        """Reads the exercises, and makes sure that the gradebook knows them."""
        from autograder.course.released import read_release

        for name, exercise in self._exercises.items():
            self.ledger.register(exercise)
            self._releases[name] = read_release(exercise)
            self._by[name] = fingerprint(exercise, self._releases[name], self._config)
            _check_points(exercise, self._releases[name])

    def __iter__(self) -> Iterator[Unit]:
        return self

    def __next__(self) -> Unit:
        """Returns what is to be graded next; all else is dealt with meanwhile. After the end there may be more."""
        return self._once_more.pop() if self._once_more else next(self._planned)

    def _units(self) -> Iterator[Unit]:
        for exercise, student in self._pairs:
            began = time.monotonic()
            try:
                unit = self._plan(exercise, student, began)
            except (RecordsError, NoPlaceError):
                raise
            except Exception as error:  # noqa: BLE001 - the next submission is another matter
                self._add(_not_graded(exercise.name, student, error, began))
                continue
            if unit is not None:
                yield unit

    def _plan(self, exercise: Exercise, student: str, began: float) -> Unit | None:
        """Returns what is to be done for a submission; None where nothing is, or where that is done already."""
        if not is_text(student):
            raise ValueError("the name of its folder is no text in UTF-8: rename it")
        folder = Path(self._coursedir.format_path(self._coursedir.submitted_directory, student, exercise.name))
        submission = read_submission(folder, exercise.name)
        by, last = self._by[exercise.name], self.ledger.last(exercise.name, student)
        before = last.record if last else None
        same = before is not None and before.submission_sha256 == submission.digest
        earlier = _failures(before, again=same)
        self._before[exercise.name, student] = before if same else None
        unit = Unit(exercise, self._releases[exercise.name], student, submission, earlier, seed=self._seed)
        if self._force:
            return unit
        if last and same and self._holds(last.record, by, submission):
            if last.whole:
                self._add(_grade_of(last.record, "graded before"))
                return None
            if notebook := self.ledger.notebook(last.record):  # a run was killed, or the gradebook is another
                self.ledger.enter(last.record, submission, notebook)
                self._add(replace(_grade_of(last.record, "from an earlier result"), seconds=_since(began)))
                return None
        if found := self.ledger.find(submission.digest, by, self._engine.environment, self._seed):
            graded = _again(*found, exercise, earlier, self._config)
            self._keep(exercise.name, student, submission, graded, "from an earlier result", began)
            return None
        if before and same and self._seed in (None, before.seed):
            return replace(unit, known=self._known(before, by), seed=before.seed)
        return unit

    def _holds(self, record: Record, by: Fingerprint, submission: Submission) -> bool:
        """Returns whether a record is of just this work, under just these conditions."""
        return (
            by.fits(record)
            and record.environment.sha256 == self._engine.environment.sha256
            and record.submitted == submitted_time(submission)
            and self._seed in (None, record.seed)
        )

    def _known(self, before: Record, by: Fingerprint) -> Mapping[str, Verdict]:
        """Returns the verdicts of a record that still hold, since only other criteria have changed."""
        if (
            before.release_sha256 != by.release
            or before.environment.sha256 != self._engine.environment.sha256
            or before.late_cell
        ):
            return {}
        return {
            verdict.criterion: verdict
            for verdict in before.verdicts
            if is_repeatable(verdict)
            and before.criteria_sha256.get(verdict.criterion) == by.criteria.get(verdict.criterion)
        }

    def take(self, unit: Unit, came: Graded | Exception) -> None:
        """Keeps what came of a unit."""
        began = time.monotonic()
        if isinstance(came, Exception):
            self._add(_not_graded(unit.exercise.name, unit.student, came, began))
            return
        if unit.known and self._has_lost(unit, came):
            # It may have leaned on what the criteria that were left out leave in the process.
            self._once_more.append(replace(unit, known={}))
            return
        try:
            self._keep(unit.exercise.name, unit.student, unit.submission, came, "graded", began - came.grade.seconds)
        except (RecordsError, NoPlaceError):  # the next one would fare alike
            raise
        except Exception as error:  # noqa: BLE001 - the next submission is another matter
            self._add(_not_graded(unit.exercise.name, unit.student, error, began))

    def _has_lost(self, unit: Unit, came: Graded) -> bool:
        """Returns whether criteria that were run again, alone, give less than before."""
        before = self._before.get((unit.exercise.name, unit.student))
        fractions = {verdict.criterion: verdict.fraction for verdict in (before.verdicts if before else [])}
        again = [verdict for verdict in came.grade.verdicts if verdict.criterion in came.grade.executed]
        return any(verdict.fraction < fractions.get(verdict.criterion, 0.0) for verdict in again)

    def _keep(
        self, exercise: str, student: str, submission: Submission, graded: Graded, state: Any, began: float
    ) -> None:
        keeping = time.monotonic()
        record = self.ledger.keep(student, submission, graded, self._by[exercise], self._engine.environment)
        stages = {**record.stages, "gradebook": _since(keeping)} if record.executed else {}
        before = self._before.pop((exercise, student), None)
        changes = _changes(before, record) if before else []
        self._add(replace(_grade_of(record, state), changes=changes, stages=stages, seconds=_since(began)))

    def _add(self, grade: SubmissionGrade) -> None:
        self.grades.append(grade)
        self._on_grade(grade)


def _again(record: Record, notebook: str, exercise: Exercise, earlier: Mapping[str, int], config: Any) -> Graded:
    """Makes a new grade of an earlier result: the verdicts are the same, the hints are this student's next."""
    from nbformat import v4

    criteria = exercise.acceptance.criteria
    verdicts = [
        with_points(
            with_hint(verdict, criteria[verdict.criterion], earlier.get(verdict.criterion, 0)),
            exercise.points[verdict.criterion],
        )
        for verdict in record.verdicts
    ]
    graded = v4.reads(notebook)
    write_verdicts(graded, verdicts)
    finish(graded, config)
    grade = Grade(
        exercise=record.exercise,
        points=sum(verdict.points for verdict in verdicts),
        max_points=sum(verdict.max_points for verdict in verdicts),
        verdicts=verdicts,
        seed=record.seed,
        seconds=record.seconds,
        weak_isolation=record.environment.weak_isolation,
        memory=record.memory,
        incidents=record.incidents,
    )
    return Graded(grade, v4.writes(graded), record.problems, record.stages)


def _check_points(exercise: Exercise, release: Any) -> None:
    """Refuses an exercise that was given other points since its release: the gradebook has those of the release.

    Raises:
        ExerciseError: It was.
    """
    if points_of(release.cells) != exercise.points:
        raise ExerciseError(f"{exercise.name} has other points than its release: run `autograder release`")


@contextmanager
def _deaf() -> Iterator[None]:
    """Lets a second Ctrl-C wait: what it would ask for is being done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _failures(record: Record | None, *, again: bool) -> dict[str, int]:
    """Returns how many submissions in a row have failed each criterion, from a record; `again` leaves its own out."""
    return {verdict.criterion: max(0, verdict.attempts - again) for verdict in (record.verdicts if record else [])}


def _changes(before: Record, after: Record) -> list[str]:
    """Says what is different in two grades of the same work."""
    points = {verdict.criterion: verdict for verdict in before.verdicts}
    changes = []
    for verdict in after.verdicts:
        old = points.get(verdict.criterion)
        was = (old.points, old.max_points, old.state) if old else (0.0, 0.0, "not run")
        if was != (verdict.points, verdict.max_points, verdict.state):
            changes.append(
                f"{verdict.criterion}: {was[0]:g} of {was[1]:g} ({was[2]}) → "
                f"{verdict.points:g} of {verdict.max_points:g} ({verdict.state})"
            )
    return changes


def _grade_of(record: Record, state: Any) -> SubmissionGrade:
    return SubmissionGrade(
        exercise=record.exercise,
        student=record.student,
        state=state,
        points=record.points,
        max_points=record.max_points,
        verdicts=record.verdicts,
        problems=record.problems,
        weak_isolation=record.environment.weak_isolation,
        seconds=record.seconds,
    )


def _not_graded(exercise: str, student: str, error: Exception, began: float) -> SubmissionGrade:
    said = str(error) or type(error).__name__
    return SubmissionGrade(exercise, student, "not graded", failure=said, seconds=_since(began))


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
