"""What a kernel takes of a GPU: registers, stack, spills, shared memory; and which instructions it is made of.

Counts are static: of instructions in the machine code, not of how often they are executed.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cuxray.parse import elf  # type: ignore[import-untyped]

from workbook.gpu.sass import Instruction, Kernel, run

_FUNCTION = re.compile(r"^ Function (\S+):\s*$(.*?)(?=^ Function |\Z)", re.MULTILINE | re.DOTALL)
_SLOT = re.compile(r"\[R1(?:\+(0x[0-9a-f]+))?\]")  # R1 is the stack pointer

TENSOR: Mapping[str, tuple[str, str]] = {
    "HMMA": ("mma", "FP16, BF16 or TF32"),
    "IMMA": ("mma", "integers"),
    "QMMA": ("mma", "FP8 and smaller"),
    "OMMA": ("mma", "FP4"),
    "BMMA": ("mma", "bits"),
    "DMMA": ("mma", "FP64"),
    "HGMMA": ("wgmma", "FP16, BF16 or TF32"),
    "IGMMA": ("wgmma", "integers"),
    "QGMMA": ("wgmma", "FP8"),
    "BGMMA": ("wgmma", "bits"),
    "UTCHMMA": ("tcgen05", "FP16, BF16 or TF32"),
    "UTCIMMA": ("tcgen05", "integers"),
    "UTCQMMA": ("tcgen05", "FP8 and smaller"),
    "UTCOMMA": ("tcgen05", "FP4"),
}
"""Tensor-core instructions: in PTX (mma.sync of a warp, wgmma of four on sm_90, tcgen05.mma on sm_100), and on what."""

MEMORY: Mapping[str, str] = {
    "LDG": "global loads",
    "STG": "global stores",
    "LDGSTS": "asynchronous copies",  # cp.async, from global to shared memory
    "UTMALDG": "TMA loads",
    "UTMASTG": "TMA stores",
    "UTMAREDG": "TMA stores",
    "UBLKCP": "bulk copies",
    "LDS": "shared loads",
    "STS": "shared stores",
    "LDSM": "matrix loads",  # ldmatrix, from shared memory
    "STSM": "matrix stores",
    "LDTM": "tensor memory loads",
    "STTM": "tensor memory stores",
    "LDL": "local loads",
    "STL": "local stores",
    "LD": "generic loads",
    "ST": "generic stores",
    "ATOM": "global atomics",
    "ATOMG": "global atomics",
    "RED": "global atomics",
    "REDG": "global atomics",
    "ATOMS": "shared atomics",
}
"""Instructions that move data, by kind."""

UNSIZED = frozenset({"TMA loads", "TMA stores", "bulk copies", "tensor memory loads", "tensor memory stores"})
"""Kinds of which one instruction moves a whole tile, so that a width for each thread says nothing."""


@dataclass(frozen=True)
class Spills:
    """Registers that the compiler has put into local memory, since a thread may have no more of them.

    Local memory is the thread's share of global memory, behind caches. A thread's arrays lie there too, where they are
    indexed by what the compiler does not know; they are counted apart. What is told apart by addresses: a spill is
    stored and loaded at a fixed place of the stack.

    Attributes:
        stores, loads: Instructions.
        store_bytes, load_bytes: What each thread moves if each of them is executed once, as `ptxas -v` counts.
        array_stores, array_loads: Instructions on arrays.
    """

    stores: int
    loads: int
    store_bytes: int
    load_bytes: int
    array_stores: int
    array_loads: int

    def __bool__(self) -> bool:
        return bool(self.stores or self.loads)


@dataclass(frozen=True)
class Resources:
    """What a cubin itself says of a kernel.

    Attributes:
        registers: Of each thread.
        stack: Bytes of local memory of each thread: spills, arrays, frames of calls.
        shared: Bytes of static shared memory of each block.
        block: The shape that a block must have, None where any may be launched.
        max_threads: Of a block, where the kernel was compiled for no more (`__launch_bounds__`).
    """

    registers: int
    stack: int
    shared: int
    block: tuple[int, int, int] | None
    max_threads: int | None


def resources(cubin: bytes, kernel: Kernel) -> Resources:
    """Reads what the cubin says of a kernel that is in it."""
    usage = {name: dict(re.findall(r"(\w+):(\d+)", text)) for name, text in _FUNCTION.findall(_usage(cubin))}
    of = {name: int(number) for name, number in usage[kernel.name].items()}
    shared = of["SHARED"]
    if kernel.arch >= 90 and shared:  # there the file counts the KiB in that the system reserves
        shared -= 1024
    dims = elf.launch_dims(cubin).get(kernel.name, {})
    block, largest = dims.get("reqntid"), dims.get("maxntid")
    return Resources(
        registers=of["REG"],
        stack=of["STACK"],
        shared=shared,
        block=(block[0], block[1], block[2]) if block else None,
        max_threads=largest[0] * largest[1] * largest[2] if largest else None,
    )


def _usage(cubin: bytes) -> str:
    return run("cuobjdump", cubin, "-res-usage")


def spills(instructions: Iterable[Instruction]) -> Spills:
    """Counts what is put into local memory, and told apart from a thread's arrays."""
    local = [each for each in instructions if each.name in ("LDL", "STL")]
    slots = {each.address: _slot(each) for each in local}
    places = {
        name: {place for each in local if each.name == name for place in slots[each.address]} for name in ("LDL", "STL")
    }
    if not all(slots.values()):  # an array is there: what is written at a fixed place, never read there, belongs to it
        both = places["LDL"] & places["STL"]
        slots = {address: slot & both for address, slot in slots.items()}
    spilled = [each for each in local if slots[each.address]]
    arrays = [each for each in local if not slots[each.address]]

    def number(some: list[Instruction], name: str) -> int:
        return sum(each.name == name for each in some)

    def size(name: str) -> int:
        return sum(each.bits // 8 for each in spilled if each.name == name)

    return Spills(
        stores=number(spilled, "STL"),
        loads=number(spilled, "LDL"),
        store_bytes=size("STL"),
        load_bytes=size("LDL"),
        array_stores=number(arrays, "STL"),
        array_loads=number(arrays, "LDL"),
    )


def _slot(instruction: Instruction) -> frozenset[int]:
    """Returns the bytes of the stack that a load or store is about; none where its address is computed."""
    found = _SLOT.search(instruction.operands)
    if found is None:
        return frozenset()
    start = int(found[1] or "0", 16)
    return frozenset(range(start, start + instruction.bits // 8))


def tensor(instructions: Iterable[Instruction]) -> dict[str, int]:
    """Counts the tensor-core instructions by name."""
    return dict(Counter(each.name for each in instructions if each.name in TENSOR))


def widths(instructions: Iterable[Instruction]) -> dict[str, dict[int, int]]:
    """Counts what moves data: for each kind, how many instructions move how many bits for each thread.

    A kind that moves whole tiles has the width 0.
    """
    found: dict[str, Counter[int]] = {}
    for each in instructions:
        if each.executes and (kind := MEMORY.get(each.name)) is not None:
            found.setdefault(kind, Counter())[0 if kind in UNSIZED else each.bits] += 1
    return {kind: dict(sorted(found[kind].items())) for kind in dict.fromkeys(MEMORY.values()) if kind in found}
