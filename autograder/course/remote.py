"""Grading in a process of another machine: what is sent there, and what is done with it there.

Nothing of the course lies on that machine, so an exercise is sent whole, as bytes. No student's name is sent.
"""

import pickle
import socket
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traitlets.config import Config

from autograder.course import fingerprint
from autograder.course.engines import its_turn
from autograder.course.record import Environment
from autograder.course.submissions import Submission
from autograder.course.unit import Graded, Unit, grade_unit
from autograder.exercises import Exercise
from autograder.grading import Grader
from autograder.isolation_check import WeakIsolationError
from autograder.judge import Verdict
from workbook import hardware

_LEFT_OUT = {"__pycache__", ".ipynb_checkpoints"}


@dataclass(frozen=True)
class Terms:
    """What holds for all that a run grades.

    Attributes:
        accept_weak_isolation: Grade also where a layer of the sandbox does not hold.
        config: Of nbgrader's configuration, what has a say in a graded notebook.
    """

    accept_weak_isolation: bool
    config: dict[str, Any]


@dataclass(frozen=True)
class Parcel:
    """An exercise.

    Attributes:
        name: Its name.
        files: What lies in its folders in `solutions/` and `exercises/`, by path in the course.
        release: The text of the released notebook.
    """

    name: str
    files: dict[str, bytes]
    release: str

    @classmethod
    def of(cls, exercise: Exercise, release: Any) -> "Parcel":
        """Packs an exercise with its released notebook.

        Raises:
            OSError: A file of it cannot be read.
        """
        import nbformat

        found = (path for folder in (exercise.folder, exercise.released) for path in sorted(folder.rglob("*")))
        files = {
            path.relative_to(exercise.root).as_posix(): path.read_bytes()
            for path in found
            if path.is_file() and not _LEFT_OUT & set(path.parts)
        }
        return cls(exercise.name, files, nbformat.writes(release))


@dataclass(frozen=True)
class Job:
    """A submission that is to be graded; see `autograder.course.unit.Unit`."""

    submission: Submission
    earlier: Mapping[str, int]
    known: Mapping[str, Verdict]
    seed: str


@dataclass(frozen=True)
class Came:
    """What came of it.

    Attributes:
        graded: The grade, or the error that is no submission's fault.
        environment: In which it was made.
        host: Where.
    """

    graded: Graded | Exception
    environment: Environment
    host: str


class Workplace:
    """What a process grades in: a grader, and the exercises that it has got. Threads may share it."""

    def __init__(self, terms: Terms, jobs: int | None) -> None:
        """Starts nothing yet.

        Args:
            terms: Of the run.
            jobs: How many submissions are graded at a time; None for as many as there are cores.
        """
        self._terms, self._turns = terms, threading.Semaphore(jobs or hardware.cores())
        self._exercises: dict[str, tuple[Exercise, Any]] = {}
        self._busy: Counter[str] = Counter()  # exercises that are being graded
        self._stack, self._changing = ExitStack(), threading.Lock()
        self._started: tuple[Grader, Environment, Path] | None = None

    def grade(self, parcel: Parcel, job: Job) -> Came:
        """Grades a submission. The first one starts what it takes; that ends with this process, in whatever way.

        Raises:
            WeakIsolationError: A layer of the sandbox does not hold here.
            OSError: There is no room for the exercise.
        """
        with self._changing:
            grader, environment, folder = self._started = self._started or self._start()
            if parcel.name not in self._exercises:
                self._exercises[parcel.name] = _unpack(parcel, folder)
            self._busy[parcel.name] += 1
        exercise, release = self._exercises[parcel.name]
        unit = Unit(exercise, release, "", job.submission, job.earlier, job.known, job.seed)
        graded: Graded | Exception
        try:
            with self._turns, its_turn(exercise):
                graded = grade_unit(grader, unit, Config(self._terms.config))
        except Exception as error:  # noqa: BLE001 - it is handed out, as by every engine
            graded = _sendable(error)
        with self._changing:
            self._busy[parcel.name] -= 1
            grader.keep_only({parcel.name, *+self._busy})
        return Came(graded, environment, socket.gethostname())

    def _start(self) -> tuple[Grader, Environment, Path]:
        try:
            grader = Grader(accept_weak_isolation=self._terms.accept_weak_isolation)
        except WeakIsolationError as error:
            raise WeakIsolationError(f"{socket.gethostname()}: {error}") from error
        self._stack.enter_context(grader)
        folder = self._stack.enter_context(vanishing_folder())
        return grader, fingerprint.environment(grader.weak_isolation), folder

    def close(self) -> None:
        """Ends what it has started."""
        self._stack.close()


def _unpack(parcel: Parcel, folder: Path) -> tuple[Exercise, Any]:
    import nbformat

    for name, data in parcel.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return Exercise(folder / "solutions" / parcel.name), nbformat.reads(parcel.release, as_version=4)


_here: Workplace | None = None


def grade_alone(parcel: Parcel, job: Job, terms: Terms) -> Came:
    """Grades a submission in this process, which grades nothing else meanwhile and stays ready for the next one.

    Raises:
        WeakIsolationError: A layer of the sandbox does not hold here.
        OSError: There is no room for the exercise.
    """
    global _here  # noqa: PLW0603 - this is what a process is kept for
    _here = _here or Workplace(terms, jobs=1)
    return _here.grade(parcel, job)


def _sendable(error: Exception) -> Exception:
    """Returns an error as it is, if it survives being sent; else one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - what a class does there is its own affair
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


@contextmanager
def vanishing_folder() -> Iterator[Path]:
    """Makes a temporary folder that is removed with the block or with this process: clusters just kill theirs."""
    folder = tempfile.mkdtemp(prefix="workbook-")
    # It waits for this process's end of the pipe to close. As nobody's child it is not killed along with this process.
    waiting = 'exec 3<&0; { cat <&3; rm -rf -- "$0"; } > /dev/null 2>&1 &'
    with subprocess.Popen(["sh", "-c", waiting, folder], stdin=subprocess.PIPE, start_new_session=True):
        yield Path(folder)
