"""CUDA kernels on a CPU: what they compute, what they do wrong, and how many bytes they move.

    ran = run_cuda(TEXT, "add", grid=4, block=256, arguments=(x, y, unwritten(1000), 1000))
    ran.tensors["z"], ran.counts["x"].read

One fiber is one CUDA thread; blocks run one after another, blocks and threads in an order that a seed gives. Barriers
and shuffles are real. Shared memory is full of NaN when a block begins. A kernel that reads or writes where it has no
business, that lacks a barrier, or reaches one with only some of its threads, ends as a CudaFault.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbook.gpu import cuda_arguments, cuda_build, cuda_launch, cuda_source
from workbook.gpu.chips import architecture
from workbook.gpu.compiling import compiled
from workbook.gpu.cuda_launch import Launch, Outcome
from workbook.gpu.cuda_source import Signature

if TYPE_CHECKING:
    import torch

__all__ = ["CudaFault", "Ran", "Traffic", "prepared", "ran", "run_on_cpu", "unwritten"]

_WIDTHS = (1, 2, 4, 8, 16, 0)


class CudaFault(Exception):  # noqa: N818 - it says what happened
    """A kernel did something wrong while it ran.

    Attributes:
        kind: "bounds", "index", "alignment", "race", "divergent", "warp", "warp stuck", "mask", "wild", "constant",
            "division", "endless", "memory", "time" or "crash".
        block: In which block; None where that is not known.
        thread: In which thread of it.
        line: Of the text; 0 where that is not known.
    """

    def __init__(self, kernel: str, fault: dict[str, Any]) -> None:
        self.kind: str = fault["kind"]
        self.block = tuple(fault["block"]) if fault["block"] else None
        self.thread = tuple(fault["thread"]) if fault["thread"] else None
        self.line: int = fault["line"]
        where = f", line {self.line}" if self.line else ""
        who = f", block {self.block}, thread {self.thread}" if self.block else ""
        super().__init__(f"{kernel}{where}{who}: {fault['message']}")


@dataclass(frozen=True)
class Traffic:
    """What a kernel has read and written of one tensor.

    Counted are the loads and stores that are left when g++ -O1 has taken out superfluous ones, each with all its bytes.

    Attributes:
        read: Bytes that were loaded.
        written: Bytes that were stored.
        atomic: Bytes that were changed by atomics, which are in neither of the two.
        loads: How many loads there were, by their bytes; 0 stands for other sizes.
        stores: Likewise.
    """

    read: int
    written: int
    atomic: int
    loads: dict[int, int]
    stores: dict[int, int]


@dataclass(frozen=True)
class Ran:
    """What came of a kernel that ran to its end.

    Attributes:
        tensors: Copies of its tensors as they are then, by the names of the parameters.
        counts: What was read and written of each; empty on a GPU. Of a tensor that was given twice, all stands with the
            first.
    """

    tensors: "dict[str, torch.Tensor]"
    counts: dict[str, Traffic]

    @property
    def bytes(self) -> int:
        """Returns how many bytes were read and written in all."""
        return sum(traffic.read + traffic.written + traffic.atomic for traffic in self.counts.values())


def unwritten(*shape: int, dtype: "torch.dtype | None" = None) -> "torch.Tensor":
    """Returns a tensor full of ones in all bits, which floats show as NaN: what a kernel leaves out is seen."""
    import torch

    kind = dtype or torch.float32
    count = kind.itemsize
    for size in shape:
        count *= size
    return torch.full((count,), 255, dtype=torch.uint8).view(kind).reshape(shape)


def run_on_cpu(
    source: str,
    name: str,
    grid: int | Sequence[int],
    block: int | Sequence[int],
    arguments: Sequence[Any],
    *,
    shared: int = 0,
    seed: int | None = None,
    arch: int = 90,
    seconds: float = cuda_launch.SECONDS,
) -> Ran:
    """Runs a kernel on this machine's CPU; see `cuda_gpu.run_cuda`.

    Raises:
        CompileError: The text may not be compiled, or cannot be.
        CudaFault: The kernel does something wrong.
        NotRunError: There is no g++ here.
        TypeError: The arguments are not of the kernel's types.
        ValueError: There can be no such launch.
    """
    signature = cuda_source.kernel(source, name)
    launch, blobs, made = prepared(signature, grid, block, arguments, shared=shared, seed=seed, arch=arch)
    built = compiled("workbook.gpu.cuda_build:build", {"source": source, "name": name}, cuda_build.versions())
    program, variables = built["program"], built["variables"]
    assert isinstance(program, bytes)
    assert isinstance(variables, str)
    return ran(signature, arguments, made, cuda_launch.run(program, variables, launch, blobs, seconds))


def prepared(
    signature: Signature,
    grid: int | Sequence[int],
    block: int | Sequence[int],
    arguments: Sequence[Any],
    *,
    shared: int,
    seed: int | None,
    arch: int,
) -> tuple[Launch, list[bytes], cuda_arguments.Arguments]:
    """Returns a launch as data, the bytes that go with it, and what `ran` needs."""
    blocks, threads = cuda_launch.three(grid), cuda_launch.three(block)
    cuda_launch.check(blocks, threads, shared, architecture(arch).shared_per_block)
    made = cuda_arguments.packed(signature, arguments)
    names = [parameter.name for parameter in signature.parameters]
    launch = Launch(blocks, threads, shared, seed or 0, made.tensors, made.values, names)
    return launch, made.blobs, made


def ran(signature: Signature, arguments: Sequence[Any], made: cuda_arguments.Arguments, outcome: Outcome) -> Ran:
    """Returns what came of a launch.

    Raises:
        CudaFault: The kernel did something wrong.
    """
    if outcome.fault is not None:
        raise CudaFault(signature.name, outcome.fault)
    counts: dict[str, Traffic] = {}
    seen: set[int] = set()
    for parameter, (pointer, place) in zip(signature.parameters, made.values, strict=True):
        if not pointer:
            continue
        read, written, atomic, *accesses = [0] * 15 if place in seen else outcome.counts[place]
        seen.add(place)
        loads, stores = (dict(zip(_WIDTHS, part, strict=True)) for part in (accesses[:6], accesses[6:]))
        counts[parameter.name] = Traffic(read, written, atomic, _used(loads), _used(stores))
    return Ran(cuda_arguments.unpacked(signature, arguments, made, outcome.buffers), counts)


def _used(counted: dict[int, int]) -> dict[int, int]:
    return {width: number for width, number in counted.items() if number}
