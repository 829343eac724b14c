"""Where lifted kernels are compiled and run: clean processes, in boxes for the judge, ordinary ones for a student."""

import os
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from autograder.acceptance import NotRun
from autograder.kernel_boxes import KernelBoxes, answering

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
        end = time.monotonic() + seconds
        doing = f"while it {'ran' if question['verb'] == 'run' else 'compiled'} {question['name']}"
        with answering(doing), self._worker() as worker:
            worker.send(question, blobs)
            return worker.receive(max(0.0, end - time.monotonic()))

    @abstractmethod
    def _worker(self) -> AbstractContextManager[KernelWorker]:
        """Gives a process for one question."""

    @abstractmethod
    def close(self) -> None:
        """Ends all processes."""


class BoxBench(KernelBench):
    """For the judge: each question has a box of its own."""

    def __init__(self, *, filtered: bool = True) -> None:
        """Prepares; `filtered` is whether the boxes are under a system call filter."""
        self._boxes = KernelBoxes("autograder.kernel_worker", _FILES, filtered=filtered, environment=_ENVIRONMENT)
        self.servers = self._boxes.servers

    def start(self) -> None:
        """See KernelBoxes."""
        if find_spec("triton") is not None:
            self._boxes.start()

    def _worker(self) -> AbstractContextManager[KernelWorker]:
        return self._boxes.box()

    def close(self) -> None:
        """See KernelBench."""
        self._boxes.close()


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
