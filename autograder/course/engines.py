"""Who does the work: an engine grades units, several at a time, and hands out what came of each as it comes."""

import getpass
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from autograder.course.record import Environment
from autograder.course.unit import Graded, Unit, grade_unit
from autograder.exercises import Exercise
from autograder.grading import Grader

Outcome = tuple[Unit, Graded | Exception]


class Engine(Protocol):
    """Grades units.

    Attributes:
        environment: In which it grades.
        seed: Of the inputs of units that have none of their own.
    """

    environment: Environment
    seed: str

    def run(self, units: Iterable[Unit], on_start: Callable[[Unit], None]) -> Iterator[Outcome]:
        """Yields what came of each unit, in the order in which they end; an error that is no submission's fault, too.

        Args:
            units: Are taken a few ahead, so that they may be made as they are needed.
            on_start: Is called with a unit when it is taken up.
        """

    def stop(self) -> None:
        """Ends what is under way, in no time; nothing can be run after that."""


class LocalEngine:
    """Grades on this machine, in threads over one grader: what takes time happens in the boxes' processes.

    A context manager: leaving it ends what it has started.
    """

    def __init__(self, grader: Grader, environment: Environment, *, jobs: int, config: Any = None) -> None:
        """Takes the grader, its environment, how many units are graded at a time, and nbgrader's configuration."""
        self.environment, self.seed = environment, grader.seed
        self._grader, self._jobs, self._config = grader, jobs, config
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="grader")

    def run(self, units: Iterable[Unit], on_start: Callable[[Unit], None]) -> Iterator[Outcome]:
        """See Engine."""
        running: dict[Future[Graded], Unit] = {}
        source = iter(units)
        while True:
            # One more than can run, so that no thread waits for this one.
            while len(running) <= self._jobs and (unit := next(source, None)) is not None:
                on_start(unit)
                running[self._pool.submit(self._grade, unit)] = unit
            if not running:
                return
            current = {unit.exercise.name for unit in running.values()}
            for done in wait(running, return_when=FIRST_COMPLETED).done:
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
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._grader.abort()

    def _grade(self, unit: Unit) -> Graded:
        with device_lock() if "device" in unit.exercise.acceptance.needs else nullcontext():
            return grade_unit(self._grader, unit, self._config)

    def __enter__(self) -> "LocalEngine":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            self.stop()
        self._pool.shutdown()


def device_lock() -> FileLock:
    """Returns the lock of this machine's device: what measures on it must be alone, also among several graders."""
    return FileLock(Path(tempfile.gettempdir(), f"workbook-device-{getpass.getuser()}.lock"), thread_local=False)
