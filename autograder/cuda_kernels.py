"""A student's CUDA kernel as a criterion sees it: cut out of the notebook, compiled and run away from all else of it.

    kernel = work.cuda("ADD")
    code = kernel.compile(90)
    ran = kernel.run(grid, 256, x, y, unwritten(n), n)
    ran.tensors["z"], ran.counts["x"].read

One text, by its hash, is compiled and run. NVRTC compiles it before it runs on a CPU: what CUDA does not accept is not
run either.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from autograder.acceptance import Failed
from autograder.asker import MAX_TEXT
from autograder.cuda_bench import CudaBench
from autograder.cuda_lifting import CudaCells, Refused
from autograder.cuda_worker import as_data
from autograder.kernel_boxes import LONGEST, RUN_ARCH, Counting
from workbook.gpu import cuda_launch, cuda_source
from workbook.gpu.code import CompileError, GpuCode
from workbook.gpu.cuda_cpu import CudaFault, Ran, prepared, ran


class CudaKernels:
    """The CUDA kernels of one notebook."""

    def __init__(self, bench: CudaBench, cells: Sequence[str]) -> None:
        """Takes where they are compiled and run, and the notebook's code cells, in order."""
        self._bench, self._sources = bench, cells
        self._made: dict[tuple[str, str], _Made] = {}

    @cached_property
    def _cells(self) -> CudaCells:
        return CudaCells(self._sources)

    def get(
        self,
        text: str,
        kernel: str | None,
        left: Callable[[], float],
        note: Callable[[str, str], None],
        counting: Counting = nullcontext,
    ) -> "CudaKernel":
        """Cuts a kernel out.

        Args:
            text: The name that the notebook assigns the text to.
            kernel: The `__global__` function in it; may be left out where there is one.
            left: Gives the seconds that are left for what it is asked.
            note: Takes down what was asked, and what came.
            counting: Makes a block that is counted in them.

        Raises:
            Failed: There is no such text or kernel, or the text holds what it may not.
        """
        try:
            source = self._cells.lift(text)
            found = cuda_source.kernels(source)
        except Refused as error:
            raise Failed(str(error)) from error
        except CompileError as error:
            raise Failed(f"{text}: {error}") from error
        name = kernel or next(iter(found), "")
        if name not in found or (kernel is None and len(found) > 1):
            raise Failed(f"{text} must define {'the' if kernel else 'one'} kernel {kernel or ''}; it has {[*found]}")
        made = self._made.setdefault((source, name), _Made())
        return CudaKernel(source, found[name], self._bench, left, note, counting, made)


@dataclass
class _Made:
    """What a kernel was compiled to, for all criteria that ask for it: code by architecture, and a program."""

    codes: dict[int, GpuCode] = field(default_factory=dict)
    program: tuple[str, bytes] | None = None


class CudaKernel:
    """A kernel of a notebook.

    Attributes:
        name: Of the `__global__` function.
        text: What was cut out.
        sha256: Of the text.
        signature: Its parameters.
    """

    def __init__(
        self,
        text: str,
        signature: cuda_source.Signature,
        bench: CudaBench,
        left: Callable[[], float],
        note: Callable[[str, str], None],
        counting: Counting,
        made: _Made,
    ) -> None:
        self.name, self.text, self.signature = signature.name, text, signature
        self.sha256 = hashlib.sha256(text.encode()).hexdigest()
        self._bench, self._left, self._note, self._counting = bench, left, note, counting
        self._made = made

    def compile(self, arch: int) -> GpuCode:
        """Compiles the kernel by NVRTC; needs no GPU.

        Args:
            arch: 80 for sm_80, and so on.

        Raises:
            Failed: It does not compile.
            NotRun: NVRTC is missing.
            WorkerLost: The compiler crashed, or took too long.
        """
        if (known := self._made.codes.get(arch)) is not None:
            return known
        question = {"source": self.text, "name": self.name, "arch": arch, "options": []}
        answer, blobs = self._ask("compile", question, [], f"{self.name} for sm_{arch}")
        if len(blobs) != 1 or type(answer.get("ptx")) is not str:
            raise Failed(f"{self.name} was compiled to something that is no code")
        code = GpuCode(self.name, arch, blobs[0], answer["ptx"], self.text)
        self._made.codes[arch] = code
        return code

    def run(
        self,
        grid: int | Sequence[int],
        block: int | Sequence[int],
        *arguments: Any,
        shared: int = 0,
        seed: int | None = None,
        arch: int = 90,
    ) -> Ran:
        """Compiles the kernel by NVRTC, then runs it on a CPU.

        Args:
            grid: Blocks, in one to three dimensions.
            block: Threads of a block, likewise.
            *arguments: For each parameter: a tensor for a pointer, else a number. Slices and strides stay as they are.
            shared: Bytes of dynamic shared memory.
            seed: Of the order in which blocks and threads run.
            arch: Whose bound of shared memory holds.

        Returns:
            Its tensors as they are then, and the bytes that were read and written of each.

        Raises:
            Failed: It does not compile, does something wrong, or does not have these parameters.
            NotRun: NVRTC or g++ is missing.
            WorkerLost: A process crashed, or took too long.
        """
        try:
            launch, blobs, made = prepared(self.signature, grid, block, arguments, shared=shared, seed=seed, arch=arch)
        except TypeError as error:
            raise Failed(str(error)) from error
        self.compile(RUN_ARCH)
        asked = f"{self.name}<<<{grid}, {block}, {shared}>>>({', '.join(map(_shown, arguments))})"
        variables, program = self._built()
        seconds = min(0.8 * self._left(), cuda_launch.SECONDS)  # and then it can say what took so long
        question = {"name": self.name, "launch": as_data(launch), "variables": variables, "seconds": seconds}
        answer, buffers = self._ask("launch", question, [program, *blobs], asked)
        try:
            outcome = cuda_launch.Outcome(answer["fault"], _whole(answer["counts"]), buffers)
            return ran(self.signature, arguments, made, outcome)
        except CudaFault as fault:
            raise Failed(str(fault), timed=fault.kind == "time") from fault
        except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
            raise Failed(f"{self.name} was run, and what came back is no result: {error}") from error

    def _built(self) -> tuple[str, bytes]:
        if self._made.program is None:
            question = {"source": self.text, "name": self.name}
            answer, blobs = self._ask("build", question, [], f"{self.name} for a CPU")
            if len(blobs) != 1 or type(answer.get("variables")) is not str:
                raise Failed(f"{self.name} was compiled to something that is no program")
            self._made.program = answer["variables"], blobs[0]
        return self._made.program

    def _ask(
        self, verb: str, question: dict[str, Any], blobs: Sequence[bytes], asked: str
    ) -> tuple[dict[str, Any], list[bytes]]:
        try:
            with self._counting():
                seconds = min(self._left(), LONGEST)
                answer, found = self._bench.ask({"verb": verb, "asked": question}, blobs, seconds=seconds)
        except Exception as error:
            self._note(asked, str(error))
            raise
        self._note(asked, "" if "error" not in answer else "fails")
        if "error" in answer:
            wrong = "fails" if verb == "launch" else f"does not compile{'' if verb == 'compile' else ' for a CPU'}"
            raise Failed(f"{self.name} {wrong}: {str(answer['error'])[:MAX_TEXT]}")
        return answer, found


def _whole(counts: Any) -> list[list[int]]:
    """Returns counts as they came, if they are such."""
    if type(counts) is not list or not all(type(row) is list and len(row) == 15 for row in counts):
        raise TypeError("the counts are none")
    if not all(type(number) is int and 0 <= number < 1 << 64 for row in counts for number in row):
        raise TypeError("the counts are no numbers")
    return counts


def _shown(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return repr(value)[:40] if shape is None else f"{str(value.dtype).removeprefix('torch.')}{list(shape)}"
