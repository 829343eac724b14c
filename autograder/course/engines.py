"""Who does the work: an engine grades units, several at a time, and hands out what came of each as it comes."""

import getpass
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from autograder.course.record import Environment
from autograder.course.unit import Graded, Unit, grade_unit
from autograder.exercises import Exercise
from autograder.grading import Grader

Outcome = tuple[Unit, Graded | Exception]


class Engine(Protocol):
    """Grades units.

    Attributes:
        environment: In which it grades.
    """

    environment: Environment

    def run(self, units: Iterable[Unit], on_start: Callable[[Unit], None]) -> Iterator[Outcome]:
        """Yields what came of each unit, in the order in which they end; an error that is no submission's fault, too.

        Args:
            units: Are taken a few ahead, so that they may be made as they are needed.
            on_start: Is called with a unit when it is taken up, in whatever thread.
        """

    def stop(self) -> None:
        """Ends what is under way, in no time; nothing can be run after that."""


class LocalEngine:
    """Grades on this machine, in threads over one grader: what takes time happens in the boxes' processes.

    A context manager: leaving it ends what it has started.
    """

    def __init__(self, grader: Grader, environment: Environment, *, jobs: int, config: Any = None) -> None:
        """Takes the grader, its environment, how many units are graded at a time, and nbgrader's configuration."""
        self.environment = environment
        self._grader, self._jobs, self._config = grader, jobs, config
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="grader")
        self._stopped = threading.Event()

    def run(self, units: Iterable[Unit], on_start: Callable[[Unit], None]) -> Iterator[Outcome]:
        """See Engine."""
        running: dict[Future[Graded], Unit] = {}
        source = iter(units)
        while True:
            # One more than can run, so that no thread waits for this one.
            while len(running) <= self._jobs and (unit := next(source, None)) is not None:
                running[self._pool.submit(self._grade, unit, on_start)] = unit
            if not running:
                return
            current = {unit.exercise.name for unit in running.values()}
            ended = wait(running, return_when=FIRST_COMPLETED).done  # a set, in no order
            for done in [one for one in running if one in ended]:
                unit = running.pop(done)
                error = done.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield unit, error or done.result()
            self._grader.keep_only(current)

    def warm(self, exercise: Exercise) -> Future[None]:
        """Starts, in the background, what an exercise's boxes are forked from: else its first submission waits."""
        return self._pool.submit(self._grader.start, exercise)

    def stop(self) -> None:
        """See Engine."""
        self._stopped.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._grader.abort()
        self._pool.shutdown()

    def _grade(self, unit: Unit, on_start: Callable[[Unit], None]) -> Graded:
        on_start(unit)
        with its_turn(unit.exercise, self._stopped):
            return grade_unit(self._grader, unit, self._config)

    def __enter__(self) -> "LocalEngine":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self.stop()
        self._pool.shutdown()


def device_lock() -> FileLock:
    """Returns the lock of this machine's device."""
    return FileLock(Path(tempfile.gettempdir(), f"workbook-device-{getpass.getuser()}.lock"), thread_local=False)


@contextmanager
def its_turn(exercise: Exercise, stopped: threading.Event | None = None) -> Iterator[None]:
    """Has this machine's device alone in the block if the exercise needs it, also among several graders.

    Args:
        exercise: What is graded in the block.
        stopped: Ends the waiting when it is set.

    Raises:
        InterruptedError: It was.
    """
    if "device" not in exercise.acceptance.needs:
        yield
        return
    lock = device_lock()
    while True:
        if stopped is not None and stopped.is_set():
            raise InterruptedError("the grader was ended while it waited for the device")
        with suppress(Timeout):
            lock.acquire(timeout=0.5)
            break
    try:
        yield
    finally:
        lock.release()
