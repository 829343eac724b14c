"""Where lifted kernels are compiled and run: clean processes, in boxes for the judge, ordinary ones for a student."""

import os
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from autograder.acceptance import NotRun
from autograder.asker import DIED, NO_ANSWER, WorkerLost

if TYPE_CHECKING:
    from workbook.sandbox.isolation.server import ForkServer

_PROJECT = Path(__file__).parents[1]
_FILES = (
    *("autograder/__init__.py", "autograder/kernel_worker.py", "autograder/values.py"),
    *("workbook/gpu/__init__.py", "workbook/gpu/code.py", "workbook/gpu/triton_*.py"),
)
_ENVIRONMENT = {
    "TRITON_INTERPRET": "0",
    "TRITON_DEFAULT_FP_FUSION": "1",  # as in this release where it is not set, without the warning
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_WAITING = 0.5  # seconds that an ordinary process may take to end, once its socket is closed


class KernelWorker(Protocol):
    """A process that answers questions about lifted kernels."""

    def send(self, message: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        """Sends a question."""

    def receive(self, timeout: float) -> tuple[dict[str, Any], list[bytes]]:
        """Waits for the answer."""


class KernelBench(ABC):
    """Gives processes to compile in, and others to run in. A context manager; threads may share it."""

    def ask(
        self, question: dict[str, Any], blobs: Sequence[bytes], *, seconds: float
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Puts a question to a clean process.

        Args:
            question: See `autograder.kernel_worker`.
            blobs: What goes beside it.
            seconds: In which the answer must come.

        Raises:
            NotRun: There can be no such process on this machine.
            WorkerLost: There is no answer: the process died, or took too long.
        """
        if find_spec("triton") is None:
            raise NotRun("this needs Triton, which is not installed here")
        from workbook.sandbox.isolation.channel import ChannelClosed, ChannelError  # here is Linux, as Triton is
        from workbook.sandbox.isolation.server import BoxDied

        end = time.monotonic() + seconds
        doing = f"while it {'ran' if question['verb'] == 'run' else 'compiled'} {question['name']}"
        try:
            with self._worker() as worker:
                worker.send(question, blobs)
                return worker.receive(max(0.0, end - time.monotonic()))
        except TimeoutError:
            raise WorkerLost(NO_ANSWER) from None
        except BoxDied as error:
            raise WorkerLost(f"{DIED}: {error.reason}, {doing}") from error
        except ChannelClosed as error:
            raise WorkerLost(f"{DIED} {doing}") from error
        except ChannelError as error:
            raise WorkerLost(f"the process broke the protocol {doing}: {error}") from error

    @abstractmethod
    def _worker(self) -> AbstractContextManager[KernelWorker]:
        """Gives a process for one question."""

    @abstractmethod
    def close(self) -> None:
        """Ends all processes."""


class BoxBench(KernelBench):
    """For the judge: each question has a box of its own. The fork server is started when first needed.

    That takes seconds, which are of the time of whoever asks first; `start` is there to take them from nobody's.
    """

    def __init__(self, *, filtered: bool = True) -> None:
        """Prepares; `filtered` is whether the boxes are under a system call filter."""
        self._filtered = filtered
        self._server: ForkServer | None = None
        self._starting = threading.Lock()

    def start(self) -> None:
        """Starts the server, if it can be and does not run yet; a question says why it could not."""
        if find_spec("triton") is None:
            return
        from workbook.sandbox.isolation.server import IsolationError

        with suppress(IsolationError):
            self._started()

    @contextmanager
    def _worker(self) -> Iterator[KernelWorker]:
        from workbook.sandbox.isolation.server import IsolationError

        try:
            box = self._started().box()
        except IsolationError as error:
            raise NotRun(f"no clean process for kernels can be made: {error}") from error
        with box:
            yield box

    def _started(self) -> "ForkServer":
        from workbook.sandbox.isolation.server import ForkServer

        with self._starting:
            if self._server is None:
                self._server = ForkServer(
                    "autograder.kernel_worker",
                    library={str(path.relative_to(_PROJECT)): path for name in _FILES for path in _PROJECT.glob(name)},
                    environment=_ENVIRONMENT,
                    filtered=self._filtered,
                )
            return self._server

    def servers(self) -> "list[ForkServer]":
        """Returns the fork servers that run."""
        return [] if self._server is None else [self._server]

    def close(self) -> None:
        """See KernelBench."""
        if self._server is not None:
            self._server.close()
            self._server = None


class LocalBench(KernelBench):
    """For a student's own check: an ordinary process, which lives on from question to question."""

    def __init__(self) -> None:
        self._process: _Process | None = None

    @contextmanager
    def _worker(self) -> Iterator[KernelWorker]:
        if self._process is None:
            self._process = _Process()
        try:
            yield self._process
        except BaseException:  # a deadline too: what it is doing then cannot be told from the next answer
            self.close()
            raise

    def close(self) -> None:
        """See KernelBench."""
        if self._process is not None:
            self._process.close()
            self._process = None


class _Process:
    """An ordinary process that serves `autograder.kernel_worker`."""

    def __init__(self) -> None:
        from workbook.sandbox.isolation.channel import Channel

        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "autograder.kernel_worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**_without_triton(os.environ), "PYTHONPATH": str(_PROJECT), **_ENVIRONMENT},
                start_new_session=True,  # a Ctrl-C is for the notebook
            )
        self._channel = Channel(ours)
        self.send, self.receive = self._channel.send, self._channel.receive

    def close(self) -> None:
        """Ends the process."""
        self._channel.close()
        try:
            self._process.wait(_WAITING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _without_triton(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns what does not decide on how Triton compiles."""
    return {name: value for name, value in environment.items() if not name.startswith("TRITON_")}
