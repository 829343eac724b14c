"""Where CUDA kernels are compiled and run: in boxes for the judge, in ordinary processes for a student's own check."""

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.acceptance import NotRun
from autograder.asker import DIED, NO_ANSWER, WorkerLost

if TYPE_CHECKING:
    from workbook.sandbox.isolation.server import ForkServer

Answer = tuple[dict[str, Any], list[bytes]]

_PROJECT = Path(__file__).parents[1]
_FILES = (
    *("autograder/__init__.py", "autograder/cuda_worker.py"),
    *("workbook/gpu/__init__.py", "workbook/gpu/code.py", "workbook/gpu/cuda_arguments.py"),
    *("workbook/gpu/cuda_assembly.py", "workbook/gpu/cuda_build.py", "workbook/gpu/cuda_launch.py"),
    *("workbook/gpu/cuda_nvrtc.py", "workbook/gpu/cuda_source.py", "workbook/gpu/include/*"),
)


class CudaBench(ABC):
    """Compiles and runs kernels. Threads may share it."""

    @abstractmethod
    def ask(self, message: dict[str, Any], blobs: Sequence[bytes], *, seconds: float) -> Answer:
        """Puts a question; see `autograder.cuda_worker.answered`.

        Raises:
            NotRun: That cannot be done on this machine.
            WorkerLost: There is no answer: the process died, or took too long.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends all processes."""


class CudaBoxBench(CudaBench):
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
        if not sys.platform.startswith("linux"):
            return
        from workbook.sandbox.isolation.server import IsolationError

        with suppress(IsolationError):
            self._started()

    def ask(self, message: dict[str, Any], blobs: Sequence[bytes], *, seconds: float) -> Answer:
        """See CudaBench."""
        from workbook.sandbox.isolation.channel import ChannelClosed, ChannelError
        from workbook.sandbox.isolation.server import BoxDied, IsolationError

        end = time.monotonic() + seconds
        doing = f"while it had to {message['verb']} {message['asked']['name']}"
        try:
            box = self._started().box()
        except IsolationError as error:
            raise NotRun(f"no clean process for kernels can be made: {error}") from error
        try:
            with box:
                box.send(message, blobs)
                answer = box.receive(max(0.0, end - time.monotonic()))
        except TimeoutError:
            raise WorkerLost(NO_ANSWER) from None
        except BoxDied as error:
            raise WorkerLost(f"{DIED}: {error.reason}, {doing}") from error
        except ChannelClosed as error:
            raise WorkerLost(f"{DIED} {doing}") from error
        except ChannelError as error:
            raise WorkerLost(f"the process broke the protocol {doing}: {error}") from error
        return _run_here(answer)

    def _started(self) -> "ForkServer":
        from workbook.sandbox.isolation.server import ForkServer

        with self._starting:
            if self._server is None:
                self._server = ForkServer(
                    "autograder.cuda_worker",
                    library={str(path.relative_to(_PROJECT)): path for name in _FILES for path in _PROJECT.glob(name)},
                    filtered=self._filtered,
                )
            return self._server

    def servers(self) -> "list[ForkServer]":
        """Returns the fork servers that run."""
        return [] if self._server is None else [self._server]

    def close(self) -> None:
        """See CudaBench."""
        if self._server is not None:
            self._server.close()
            self._server = None


class CudaLocalBench(CudaBench):
    """For a student's own check: compilers and kernels run beside the notebook, and what is compiled is kept."""

    def ask(self, message: dict[str, Any], blobs: Sequence[bytes], *, seconds: float) -> Answer:
        """See CudaBench."""
        from autograder.cuda_worker import answered
        from workbook.gpu import compiling, cuda_build, cuda_nvrtc

        def build(entry: str, question: dict[str, Any]) -> dict[str, Any]:
            module = cuda_nvrtc if "nvrtc" in entry else cuda_build
            return compiling.compiled(entry, question, module.versions(), seconds=min(seconds, compiling.SECONDS))

        return _run_here(answered(message, list(blobs), build))

    def close(self) -> None:
        """See CudaBench."""


def _run_here(answer: Answer) -> Answer:
    if "not run" in answer[0]:
        raise NotRun(str(answer[0]["not run"]).removeprefix("not run: "))
    return answer
