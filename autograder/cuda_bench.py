"""Where CUDA kernels are compiled and run: in boxes for the judge, in ordinary processes for a student's own check."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from autograder.acceptance import NotRun
from autograder.kernel_boxes import KernelBoxes, answering

Answer = tuple[dict[str, Any], list[bytes]]

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
    """For the judge: each question has a box of its own."""

    def __init__(self, *, filtered: bool = True) -> None:
        """Prepares; `filtered` is whether the boxes are under a system call filter."""
        self._boxes = KernelBoxes("autograder.cuda_worker", _FILES, filtered=filtered)
        self.servers = self._boxes.servers

    def start(self) -> None:
        """See KernelBoxes."""
        if sys.platform.startswith("linux"):
            self._boxes.start()

    def ask(self, message: dict[str, Any], blobs: Sequence[bytes], *, seconds: float) -> Answer:
        """See CudaBench."""
        end = time.monotonic() + seconds
        with answering(f"while it had to {message['verb']} {message['asked']['name']}"), self._boxes.box() as box:
            box.send(message, blobs)
            answer = box.receive(max(0.0, end - time.monotonic()))
        return _run_here(answer)

    def close(self) -> None:
        """See CudaBench."""
        self._boxes.close()


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
