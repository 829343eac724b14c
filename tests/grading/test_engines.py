"""The engine on this machine, several at a time and with the device one by one; and what a run shows meanwhile."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from autograder.asker import AnswerRefused, BoxAsker, WorkerLost
from autograder.course.engines import LocalEngine, device_lock
from autograder.course.fingerprint import environment
from autograder.course.grade_report import GradeReport, SubmissionGrade, slowest
from autograder.course.released import read_release
from autograder.course.submissions import read_submission
from autograder.course.tally import Tally
from autograder.course.unit import Unit
from autograder.exercises import Exercise, find_exercises
from autograder.grading import Grader
from autograder.judge import Verdict
from tests.grading.course import NAME, Course
from tests.grading.stand_in import StandIn
from tests.system import unavailable
from workbook.sandbox.isolation.server import IsolationError, available


class Watched(StandIn):
    """Takes a moment for each submission, and notes how many are being graded at once, by exercise."""

    def __init__(self) -> None:
        super().__init__()
        self.now: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.most_of_all = 0
        self.kept: list[set[str]] = []
        self._lock = threading.Lock()

    def grade(self, notebook: Any, exercise: Exercise, **options: Any) -> Any:
        with self._lock:
            self.now[exercise.name] = self.now.get(exercise.name, 0) + 1
            self.most[exercise.name] = max(self.most.get(exercise.name, 0), self.now[exercise.name])
            self.most_of_all = max(self.most_of_all, sum(self.now.values()))
        time.sleep(0.05)
        with self._lock:
            self.now[exercise.name] -= 1
        return super().grade(notebook, exercise, **options)

    def keep_only(self, names: Any) -> None:
        self.kept.append(set(names))


def units(course: Course, number: int, taken: list[str]) -> Iterator[Unit]:
    for exercise in find_exercises(course.root):
        release = read_release(exercise)
        for count in range(number):
            student = f"s{count}"
            folder = course.submit(student, course.solved(exercise.name), exercise.name)
            taken.append(student)
            yield Unit(exercise, release, student, read_submission(folder, exercise.name))


def engine_of(grader: Any, jobs: int) -> LocalEngine:
    return LocalEngine(grader, environment([]), jobs=jobs)


def test_so_many_at_a_time_and_taken_as_they_are_needed(course: Course) -> None:
    grader, taken = Watched(), []  # type: tuple[Watched, list[str]]
    done = 0
    with engine_of(grader, jobs=3) as engine:
        for _, came in engine.run(units(course, 12, taken), lambda unit: None):
            assert not isinstance(came, Exception)
            done += 1
            assert len(taken) - done <= 4, "no more are made than can run, and one"
    assert done == 12
    assert grader.most_of_all == 3


def test_what_needs_the_device_has_it_alone(course: Course) -> None:
    name = "ch02_ex1_measures"
    exercise = course.add_exercise(name)
    acceptance = exercise.folder / "acceptance.py"
    acceptance.write_text(acceptance.read_text() + '\nNEEDS = ("device",)\n')
    assert course.autograder("release", name).returncode == 0
    grader, taken = Watched(), []  # type: tuple[Watched, list[str]]
    with engine_of(grader, jobs=4) as engine:
        came = list(engine.run(units(course, 6, taken), lambda unit: None))
    assert [error for _, error in came if isinstance(error, Exception)] == []
    assert grader.most[NAME] > 1
    assert grader.most[name] == 1
    assert grader.most_of_all > 1, "others are graded meanwhile"


def test_another_grader_on_this_machine_waits_for_the_device(course: Course) -> None:
    (exercise,) = find_exercises(course.root)
    acceptance = exercise.folder / "acceptance.py"
    acceptance.write_text(acceptance.read_text() + '\nNEEDS = ("device",)\n')
    grader, taken = Watched(), []  # type: tuple[Watched, list[str]]
    with engine_of(grader, jobs=1) as engine:
        with device_lock():
            thread = threading.Thread(target=lambda: list(engine.run(units(course, 1, taken), lambda unit: None)))
            thread.start()
            time.sleep(0.5)
            assert grader.seen == []
        thread.join(30)
    assert len(grader.seen) == 1


def test_what_exercises_that_are_done_have_started_is_ended(course: Course) -> None:
    course.add_exercise("ch02_ex1_second")
    assert course.autograder("release", "ch02_ex1_second").returncode == 0
    grader, taken = Watched(), []  # type: tuple[Watched, list[str]]
    with engine_of(grader, jobs=1) as engine:
        list(engine.run(units(course, 3, taken), lambda unit: None))
    assert grader.kept[0] == {NAME}
    assert grader.kept[-1] == {"ch02_ex1_second"}


def test_an_error_is_that_units_alone(course: Course) -> None:
    grader, taken = Watched(), []  # type: tuple[Watched, list[str]]
    grader.fails_on = "nothing has this"
    course.submit("s0", course.solved())
    with engine_of(grader, jobs=2) as engine:
        outcomes = list(engine.run(failing(units(course, 4, taken)), lambda unit: None))
    failed = [unit.student for unit, came in outcomes if isinstance(came, Exception)]
    assert failed == ["s1"]
    assert len(outcomes) == 4


def failing(found: Iterator[Unit]) -> Iterator[Unit]:
    """Gives the second one an exercise that is none."""
    from dataclasses import replace

    for number, unit in enumerate(found):
        yield replace(unit, release=None) if number == 1 else unit


# What is shown.


def grade_of(student: str, points: float, **more: Any) -> SubmissionGrade:
    state = "passed" if points else "failed"
    verdict = Verdict("adds-up", state, float(bool(points)), points=points, max_points=5)  # type: ignore[arg-type]
    more = {"state": "graded", "seconds": 1.0, **more}
    return SubmissionGrade(NAME, student, points=points, max_points=5, verdicts=[verdict], **more)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("autograder.course.tally.time.monotonic", lambda: now[0])
    return now


def test_a_line_a_submission_where_there_is_no_terminal(clock: list[float]) -> None:
    output = StringIO()
    with Tally(Console(file=output, width=100)) as tally:
        tally.begin(12)
        tally.starts(NAME, "ann")
        tally.ends(grade_of("ann", 5, problems=["The cell [b] is missing."]))
        tally.ends(grade_of("[bold]", 0, state="not graded", failure="no room"))
        tally.ends(grade_of("bob", 0, changes=["adds-up: 5 → 0"]))
    lines = [line.rstrip() for line in output.getvalue().splitlines()]
    assert lines == [
        f" 1/12  {NAME}: ann: graded: 5 of 5",
        "    The cell [b] is missing.",
        f" 2/12  {NAME}: [bold]: not graded: no room",
        f" 3/12  {NAME}: bob: graded: 0 of 5",
        "    adds-up: 5 → 0",
    ]


def test_the_time_left_goes_by_the_last_half_minute(clock: list[float]) -> None:
    with Tally(Console(file=StringIO())) as tally:
        tally.begin(100)
        assert tally.left() == "", "nobody can tell yet"
        clock[0] += 40  # the first one waits for all that is started
        for number in range(10):
            tally.ends(grade_of(f"s{number}", 5))
            clock[0] += 2
        assert tally.left() == "3:20 left"  # of 90, each of which takes 20 / 9 s


def test_the_live_line_counts(clock: list[float]) -> None:
    output = StringIO()
    with Tally(Console(file=output, force_terminal=True, width=140)) as tally:
        tally.begin(5)
        tally.starts(NAME, "ann")
        tally.starts(NAME, "[red]bob")
        tally.ends(grade_of("ann", 5))
        tally.ends(grade_of("carl", 0))
        clock[0] += 3
        tally.starts(NAME, "dora")
        assert tally._live is not None
        shown = tally._live.tasks[0].description
    assert "1 passed · 1 with points missing" in shown
    assert "left" in shown
    assert f"{NAME}: \\[red]bob for 3 s" in shown, "the one that takes longest"


def test_the_slowest_are_those_that_were_executed() -> None:
    grades = [grade_of(f"s{number}", 5, seconds=float(number)) for number in range(8)]
    grades.append(grade_of("before", 5, seconds=99.0, state="graded before"))
    report = GradeReport(True, False, 1.0, grades)
    assert [grade.student for grade in slowest(report)] == ["s7", "s6", "s5", "s4", "s3"]
    assert report.counts == {"graded": 8, "graded before": 1}


def test_a_fork_server_that_has_died_is_replaced(course: Course) -> None:
    if reason := available():
        unavailable(reason)
    (exercise,) = find_exercises(course.root)
    with Grader() as grader:
        course.submit("alice", course.solved())
        assert course.grade(grader).complete
        server = grader._server(exercise)
        server._process.kill()
        server._process.wait()
        course.submit("bob", course.solved(add="def add(a, b): return b + a"))
        assert [grade.state for grade in course.grade(grader).submissions] == ["graded before", "graded"]


def test_stopping_ends_who_waits_for_the_device_and_what_is_being_started(course: Course) -> None:
    if reason := available():
        unavailable(reason)
    (exercise,) = find_exercises(course.root)
    acceptance = exercise.folder / "acceptance.py"
    acceptance.write_text(acceptance.read_text() + '\nNEEDS = ("device",)\n')
    taken: list[str] = []
    outcomes: list[Any] = []
    with Grader() as grader, engine_of(grader, jobs=1) as engine:
        with device_lock():
            thread = threading.Thread(
                target=lambda: outcomes.extend(engine.run(units(course, 1, taken), lambda unit: None))
            )
            thread.start()
            time.sleep(0.5)
            engine.stop()
            thread.join(10)
        assert not thread.is_alive()
        assert isinstance(outcomes[0][1], InterruptedError)
        with pytest.raises(IsolationError, match="the grader was ended"):
            grader.start(exercise)


def test_what_the_judge_does_by_itself_is_not_the_students_time() -> None:
    class Line:
        def __init__(self) -> None:
            self.waits: list[float] = []

        def send(self, message: dict[str, Any], blobs: Any) -> None:  # noqa: ARG002 - a box's
            self.asked = message["id"]

        def receive(self, timeout: float) -> tuple[dict[str, Any], list[bytes]]:
            self.waits.append(timeout)
            time.sleep(0.05)
            return {"id": self.asked, "value": ["int", 1]}, []

    line = Line()
    asker = BoxAsker(line)
    with asker.deadline(0.3):
        for _ in range(3):
            with suppress(AnswerRefused):
                asker.ask("get", "x")
            time.sleep(0.2)  # the judge's own work
    assert 0.15 < line.waits[-1] < 0.25
    with asker.deadline(0.1):
        for _ in range(2):
            with suppress(AnswerRefused):
                asker.ask("get", "x")
        with pytest.raises(WorkerLost):
            asker.ask("get", "x")
