"""Grading in a process of another machine: what is sent there, and what is done with it there.

Nothing of the course lies on that machine, so an exercise is sent whole, as bytes. No student's name is sent.
"""

import atexit
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.course.record import Environment
from autograder.course.submissions import Submission
from autograder.course.unit import Graded, Unit
from autograder.exercises import Exercise
from autograder.isolation_check import WeakIsolationError
from autograder.judge import Verdict

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
    """A process's engine, and the exercises that it has got. Threads may share it."""

    def __init__(self, terms: Terms, jobs: int | None) -> None:
        """Starts the engine; it ends with the process.

        Args:
            terms: Of the run.
            jobs: How many submissions are graded at a time; None for as many as there are cores.

        Raises:
            WeakIsolationError: A layer of the sandbox does not hold here.
        """
        from traitlets.config import Config

        from autograder.course.start import local_engine

        # A cluster's daemons block it, and with it all that they start: but it is how a box's cell is interrupted.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        self._stack, self._unpacking = ExitStack(), threading.Lock()
        try:
            self._engine = self._stack.enter_context(
                local_engine(
                    jobs=jobs,
                    seed=None,
                    accept_weak_isolation=terms.accept_weak_isolation,
                    config=Config(terms.config),
                )
            )
        except WeakIsolationError as error:
            raise WeakIsolationError(f"{socket.gethostname()}: {error}") from error
        atexit.register(self.close)
        self._root = vanishing_folder()
        self.exercises: dict[str, tuple[Exercise, Any]] = {}

    def grade(self, parcel: Parcel, job: Job) -> Came:
        """Grades a submission.

        Raises:
            OSError: There is no room for the exercise.
        """
        exercise, release = self._unpacked(parcel)
        unit = Unit(exercise, release, "", job.submission, job.earlier, job.known, job.seed)
        ((_, graded),) = self._engine.run([unit], lambda _: None)
        return Came(graded, self._engine.environment, socket.gethostname())

    def _unpacked(self, parcel: Parcel) -> tuple[Exercise, Any]:
        import nbformat

        with self._unpacking:
            if parcel.name not in self.exercises:
                for name, data in parcel.files.items():
                    path = self._root / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
                exercise = Exercise(self._root / "solutions" / parcel.name)
                self.exercises[parcel.name] = exercise, nbformat.reads(parcel.release, as_version=4)
            return self.exercises[parcel.name]

    def close(self) -> None:
        """Ends the engine and all that it has started."""
        self._stack.close()


_here: Workplace | None = None


def grade_alone(parcel: Parcel, job: Job, terms: Terms) -> Came:
    """Grades a submission in this process, which grades nothing else meanwhile and is ready for the next one.

    It holds what one exercise needs at a time: there may be as many such processes on a machine as it has cores.

    Raises:
        WeakIsolationError: A layer of the sandbox does not hold here.
        OSError: There is no room for the exercise.
    """
    global _here  # noqa: PLW0603 - this is what a process is kept for
    if _here is not None and parcel.name not in _here.exercises:
        _here.close()
        _here = None
    _here = _here or Workplace(terms, jobs=1)
    return _here.grade(parcel, job)


def vanishing_folder() -> Path:
    """Makes a temporary folder that is removed when this process ends, in whatever way: clusters kill theirs."""
    folder = tempfile.mkdtemp(prefix="workbook-exercises-")
    # Waits for this process's end of the pipe to close. As nobody's child it is not killed along with this process.
    waiting = 'exec 3<&0; { cat <&3; rm -rf -- "$0"; } > /dev/null 2>&1 &'
    process = subprocess.Popen(["sh", "-c", waiting, folder], stdin=subprocess.PIPE, start_new_session=True)
    process.wait()
    _pipes.append(process.stdin)
    return Path(folder)


_pipes: list[Any] = []
"""They close with this process."""
