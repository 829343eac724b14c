"""Where lifted kernels are compiled and run: clean processes, in boxes for the judge, ordinary ones for a student."""

import os
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from autograder.acceptance import NotRun
from autograder.asker import DIED, NO_ANSWER, WorkerLost

if TYPE_CHECKING:
    from workbook.sandbox.isolation.server import ForkServer

_HERE = Path(__file__).parent
_FILES = ("__init__.py", "kernel_memory.py", "kernel_numbers.py", "kernel_worker.py", "values.py")
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
        self, question: dict[str, Any], blobs: Sequence[bytes], *, interpret: bool, seconds: float
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Puts a question to a clean process.

        Args:
            question: See `autograder.kernel_worker`.
            blobs: What goes beside it.
            interpret: Whether it is to run a kernel, not to compile one.
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
        doing = f"while it {'ran' if interpret else 'compiled'} {question['name']}"
        try:
            with self._worker(interpret=interpret) as worker:
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
    def _worker(self, *, interpret: bool) -> AbstractContextManager[KernelWorker]:
        """Gives a process for one question."""

    @abstractmethod
    def close(self) -> None:
        """Ends all processes."""


class BoxBench(KernelBench):
    """For the judge: each question has a box of its own. The two fork servers are started when first needed.

    That takes seconds, which are of the time of whoever asks first; `start` is there to take them from nobody's.
    """

    def __init__(self, *, filtered: bool = True) -> None:
        """Prepares; `filtered` is whether the boxes are under a system call filter."""
        self._filtered = filtered
        self._servers: dict[bool, ForkServer] = {}
        self._starting = threading.Lock()

    def start(self) -> None:
        """Starts both servers, if they can be and do not run yet; a question says why they could not."""
        if find_spec("triton") is None:
            return
        from workbook.sandbox.isolation.server import IsolationError

        with suppress(IsolationError):
            for interpret in (False, True):
                self._server(interpret=interpret)

    @contextmanager
    def _worker(self, *, interpret: bool) -> Iterator[KernelWorker]:
        from workbook.sandbox.isolation.server import IsolationError

        try:
            box = self._server(interpret=interpret).box()
        except IsolationError as error:
            raise NotRun(f"no clean process for kernels can be made: {error}") from error
        with box:
            yield box

    def _server(self, *, interpret: bool) -> "ForkServer":
        from workbook.sandbox.isolation.server import ForkServer

        with self._starting:
            if interpret not in self._servers:
                self._servers[interpret] = ForkServer(
                    "autograder.kernel_worker",
                    library={f"autograder/{name}": _HERE / name for name in _FILES},
                    environment=_environment(interpret=interpret) | {"TRITON_CACHE_DIR": "/tmp/triton"},
                    filtered=self._filtered,
                )
            return self._servers[interpret]

    def servers(self) -> "list[ForkServer]":
        """Returns the fork servers that run."""
        return list(self._servers.values())

    def close(self) -> None:
        """See KernelBench."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()


class LocalBench(KernelBench):
    """For a student's own check: two ordinary processes, which live on from question to question."""

    def __init__(self) -> None:
        self._workers: dict[bool, _Process] = {}

    @contextmanager
    def _worker(self, *, interpret: bool) -> Iterator[KernelWorker]:
        if interpret not in self._workers:
            self._workers[interpret] = _Process(interpret=interpret)
        try:
            yield self._workers[interpret]
        except BaseException:  # a deadline too: what it is doing then cannot be told from the next answer
            self._workers.pop(interpret).close()
            raise

    def close(self) -> None:
        """See KernelBench."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()


class _Process:
    """An ordinary process that serves `autograder.kernel_worker`."""

    def __init__(self, *, interpret: bool) -> None:
        from workbook.sandbox.isolation.channel import Channel

        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "autograder.kernel_worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": str(_HERE.parent), **_environment(interpret=interpret)},
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


def _environment(*, interpret: bool) -> dict[str, str]:
    return {
        "TRITON_INTERPRET": "1" if interpret else "0",
        "TRITON_DEFAULT_FP_FUSION": "1",  # as in this release where it is not set, without the warning
        "TRITON_DISABLE_LINE_INFO": "1",  # it names the file: the same text would not give the same code
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
