"""What machine code tells of a kernel before it has run: `inspect(code)`."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from workbook.gpu import resources
from workbook.gpu.accesses import Accesses, accesses
from workbook.gpu.chips import Architecture, architecture
from workbook.gpu.code import GpuCode
from workbook.gpu.listing import Listing, Only, Order, PtxText, SourceText, listing
from workbook.gpu.loops import Loop, loops
from workbook.gpu.occupancy import OPT_IN, Occupancy, occupancy
from workbook.gpu.report import count, facts
from workbook.gpu.resources import Spills
from workbook.gpu.sass import Instruction, Kernel, kernels
from workbook.show import Table


@dataclass(frozen=True, repr=False)
class Inspection:
    """What the machine code of a kernel says. A notebook and `print` show it as a table of facts and their meanings.

    Counts are of instructions in the code, not of how often they are executed.

    Attributes:
        name: Of the kernel.
        target: What it was assembled for: "sm_90a".
        limits: Of the architecture that it is to run on.
        registers: Of each thread.
        spills: Registers that were put into local memory. Look here first: one that spills may report few registers.
        stack: Bytes of local memory of each thread: spills, arrays, frames of calls.
        static_shared: Bytes of shared memory of each block that the kernel declares.
        dynamic_shared: Bytes of it that the launch asks for. The compiler does not check them.
        threads: Of a block; None where neither the code nor the caller says.
        max_threads: Of a block, where it was compiled for no more.
        tensor: Tensor-core instructions, counted by name: HMMA, HGMMA, UTCHMMA, ...
        widths: For each kind of load and store, how many instructions move how many bits for each thread; 0 bits for
            kinds that move whole tiles.
        accesses: Bank conflicts and coalescing, as far as they can be told; None where the block's shape is unknown.
        occupancy: How many blocks fit on a streaming multiprocessor; None where `threads` is unknown.
        loops: The outer before the inner.
        kernel: Its instructions.
        source: What was compiled; empty where only the machine code is at hand.
        ptx: What the machine code was assembled from; empty likewise.
    """

    name: str
    target: str
    limits: Architecture
    registers: int
    spills: Spills
    stack: int
    static_shared: int
    dynamic_shared: int
    threads: int | None
    max_threads: int | None
    tensor: Mapping[str, int]
    widths: Mapping[str, Mapping[int, int]]
    accesses: Accesses | None
    occupancy: Occupancy | None
    loops: tuple[Loop, ...]
    kernel: Kernel
    source: str
    ptx: str

    @property
    def arch(self) -> int:
        """The architecture that it is to run on: 90 for sm_90."""
        return self.limits.arch

    @property
    def shared(self) -> int:
        """Bytes of shared memory of each block, static and dynamic."""
        return self.static_shared + self.dynamic_shared

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The kernel's, in the order of their addresses."""
        return self.kernel.instructions

    @property
    def tensor_generation(self) -> str | None:
        """How the tensor cores are used: "mma" (a warp), "wgmma" (four, sm_90) or "tcgen05" (sm_100); None if not."""
        generations = [resources.TENSOR[name][0] for name in self.tensor]
        return max(generations, key=("mma", "wgmma", "tcgen05").index, default=None)

    @cached_property
    def main_loop(self) -> Loop | None:
        """The innermost loop with the most tensor-core instructions, or, without any, with the most instructions."""
        innermost = [loop for loop in self.loops if loop.innermost]
        return max(
            innermost,
            key=lambda loop: (sum(resources.tensor(loop.instructions).values()), len(loop.instructions)),
            default=None,
        )

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """What is wrong for sure: why no launch can succeed, spills, bank conflicts. One sentence each."""
        found = []
        if self.shared > self.limits.shared_per_block:
            found.append(
                f"No launch can succeed: a block takes {self.shared} bytes of shared memory, and has at most"
                f" {self.limits.shared_per_block} on sm_{self.arch}."
            )
        elif self.occupancy is not None and self.occupancy.refused:
            found.append(f"No launch can succeed: {self.occupancy.refused}.")
        if self.threads and self.max_threads and self.threads > self.max_threads:
            found.append(
                f"No launch can succeed: it was compiled for blocks of at most {self.max_threads} threads,"
                f" not of {self.threads}."
            )
        if self.spills:
            found.append(
                f"It spills: {count(self.spills.stores, 'store')} and {count(self.spills.loads, 'load')} move registers"
                " to and from local memory."
            )
        if self.accesses is not None and (conflicts := self.accesses.conflicts):
            number = count(len(conflicts), "access")
            found.append(f"Bank conflicts: {number} to shared memory, up to {conflicts[0].ways} turns each.")
        return tuple(found)

    @property
    def must_opt_in(self) -> bool:
        """Whether a launch must ask for more than 48 KiB of shared memory; Triton does it by itself."""
        return self.shared > OPT_IN

    def facts(self) -> Table:
        """Returns the facts and what each means; spills first, if there are any."""
        return facts(self)

    def beside_source(self, *, only: Only = "all", main_loop: bool = False, order: Order = "source") -> Listing:
        """Shows the machine code beside the source lines that it comes from.

        Args:
            only: "all" instructions, those that access "memory", those of the "tensor" cores, or "spills".
            main_loop: Only those of the main loop.
            order: "source" shows the lines in their order, and beside each what was made of it; "program" shows the
                instructions in theirs, and where the line changes.

        Raises:
            ValueError: The kernel has no loop.
        """
        return listing(self.kernel, self._chosen(main_loop), SourceText(self.source), only, order, self.main_loop)

    def beside_ptx(self, *, only: Only = "all", main_loop: bool = False, order: Order = "source") -> Listing:
        """Shows the machine code beside the PTX that it was assembled from; the arguments are those of `beside_source`.

        Raises:
            ValueError: The PTX is not at hand, or the kernel has no loop.
        """
        if not self.ptx:
            raise ValueError("the PTX is not at hand: inspect what the compiler gave, not the cubin alone")
        return listing(self.kernel, self._chosen(main_loop), PtxText(self.ptx), only, order, self.main_loop)

    def _chosen(self, main_loop: bool) -> tuple[Instruction, ...]:
        if not main_loop:
            return self.instructions
        if self.main_loop is None:
            raise ValueError(f"{self.name} has no loop")
        return self.main_loop.instructions

    def __str__(self) -> str:
        lines = [f"{self.name} for {self.target}", *(f"! {problem}" for problem in self.problems), str(self.facts())]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        problems = "".join(f"- **{problem}**\n" for problem in self.problems)
        return f"`{self.name}` for {self.target}\n\n{problems}\n{self.facts()._repr_markdown_()}"


def inspect(
    code: GpuCode | bytes,
    *,
    kernel: str | None = None,
    arch: int | None = None,
    threads: int | tuple[int, int, int] | None = None,
    shared: int | None = None,
) -> Inspection:
    """Reads what machine code tells of a kernel. It needs no GPU.

    Args:
        code: What a compiler gave, or a cubin alone, of Triton, NVRTC or nvcc.
        kernel: Which one, where the cubin has several: its symbol, or the name in it.
        arch: The architecture that it is to run on, if another than it was compiled for: one of the same generation.
        threads: Of a block, or its shape in x, y and z; left out for Triton's, where the code says it.
        shared: Bytes of dynamic shared memory that the launch asks for; left out for Triton's.

    Raises:
        NotRunError: NVIDIA's disassembler is missing.
        ValueError: This is no cubin, it has no such kernel, or its code does not run on `arch`.
    """
    cubin = code if isinstance(code, bytes) else code.cubin
    ptx = "" if isinstance(code, bytes) else code.ptx
    chosen = _choose(kernels(cubin, ptx), kernel or (code.name if isinstance(code, GpuCode) else None))
    limits = architecture(arch or chosen.arch)
    _check_runs(chosen, limits.arch)
    own = resources.resources(cubin, chosen)
    block = (threads, 1, 1) if isinstance(threads, int) else threads or own.block
    if block is None and isinstance(code, GpuCode) and code.threads is not None:
        block = (code.threads, 1, 1)
    number = block[0] * block[1] * block[2] if block else None
    dynamic = shared if shared is not None else code.shared if isinstance(code, GpuCode) else 0
    return Inspection(
        name=chosen.name,
        target=chosen.target,
        limits=limits,
        registers=own.registers,
        spills=resources.spills(chosen.instructions),
        stack=own.stack,
        static_shared=own.shared,
        dynamic_shared=dynamic,
        threads=number,
        max_threads=own.max_threads,
        tensor=resources.tensor(chosen.instructions),
        widths=resources.widths(chosen.instructions),
        accesses=accesses(chosen, block) if block else None,
        occupancy=(
            occupancy(limits.arch, registers=own.registers, threads=number, shared=own.shared + dynamic)
            if number
            else None
        ),
        loops=loops(chosen),
        kernel=chosen,
        source=code.source if isinstance(code, GpuCode) else "",
        ptx=ptx,
    )


def _choose(found: Mapping[str, Kernel], name: str | None) -> Kernel:
    names = list(found)
    if name is not None:
        names = [each for each in found if each == name] or [each for each in found if f"{len(name)}{name}" in each]
    if len(names) == 1:
        return found[names[0]]
    said = f"kernel={name!r} is none of" if name is not None else "kernel= must choose from"
    raise ValueError(f"{said} what the cubin has: {', '.join(found) or 'nothing'}")


def _check_runs(kernel: Kernel, arch: int) -> None:
    """Machine code runs on chips of its own generation that are no older; that for "sm_90a" on sm_90 alone."""
    own = kernel.arch
    runs = own == arch if kernel.target.endswith("a") else own // 10 == arch // 10 and own <= arch
    if not runs:
        raise ValueError(f"code for {kernel.target} does not run on sm_{arch}: compile it for that")
