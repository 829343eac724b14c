"""How the threads of a warp share memory's work: bank conflicts and coalescing, read from the machine code.

`cuxray` follows each address back to the thread's number. What it can tell: an address that is linear in the thread's
number, exact numbers, and what is the same for the whole warp. What it cannot: addresses that were loaded, or that
multiply a thread's number by an argument of the kernel (an argument's value is not in the machine code), copies by
TMA, generic loads and stores. Those are counted as not analysable, with the reason. It looks at a block's first warp,
and takes all of its threads for active.
"""

import dataclasses
import re
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cuxray.analyze.access import analyze_accesses  # type: ignore[import-untyped]
from cuxray.parse import sass as parsed  # type: ignore[import-untyped]

from workbook.gpu.sass import Instruction, Kernel

BANKS, SECTOR = 32, 32
"""Shared memory's banks, each four bytes wide; bytes of a sector, the least that is read from global memory."""

_HALVES = re.compile(r"(\S+), -RZ, RZ, (\S+), (\S+)")
_NUMBER = re.compile(r"(\S+), (\S+), (0x[0-9a-f]+)")
_REASONS = {
    "nonlinear lane arithmetic": "the address is not linear in the thread's number, or multiplies it by an argument",
    "data-dependent (load result)": "the address was loaded from memory",
    "address not traceable": "the address cannot be followed back",
    "predicated write": "the address depends on a condition",
    "predicated select": "the address depends on a condition",
}


@dataclass(frozen=True)
class Access:
    """A load or store whose addresses are known up to what the whole warp has in common.

    Attributes:
        instruction: It itself.
        space: "shared" or "global".
        ways: Of a bank conflict in shared memory: so many turns it takes; 1 is none. 0 for global memory.
        sectors: Of 32 bytes that global memory is asked for, in the worst case of alignment. 0 for shared memory.
        ideal: Sectors that would hold the same bytes if they lay together.
    """

    instruction: Instruction
    space: str
    ways: int = 0
    sectors: int = 0
    ideal: int = 0

    @property
    def conflict(self) -> bool:
        """Whether threads of a warp wait for each other at a bank."""
        return self.ways > 1

    @property
    def coalesced(self) -> bool:
        """Whether the warp asks for no more sectors than its bytes fill; an unknown alignment may cost one."""
        return self.space == "global" and self.sectors <= self.ideal + 1


@dataclass(frozen=True)
class Accesses:
    """All accesses of a kernel to shared and global memory.

    Attributes:
        analysed: Those that could be.
        unknown: How many could not, by reason.
    """

    analysed: tuple[Access, ...]
    unknown: Mapping[str, int]

    @property
    def conflicts(self) -> tuple[Access, ...]:
        """Accesses to shared memory with bank conflicts, the worst first."""
        return tuple(sorted((each for each in self.analysed if each.conflict), key=lambda each: -each.ways))

    @property
    def uncoalesced(self) -> tuple[Access, ...]:
        """Accesses to global memory that ask for more sectors than they fill."""
        return tuple(each for each in self.analysed if each.space == "global" and not each.coalesced)

    def count(self, space: str) -> int:
        """Returns how many accesses to "shared" or "global" memory were analysed."""
        return sum(each.space == space for each in self.analysed)


def accesses(kernel: Kernel, block: tuple[int, int, int]) -> Accesses:
    """Analyses a kernel's accesses to memory, for a block of so many threads in x, y and z."""
    by_address = {each.address: each for each in kernel.instructions if each.executes}
    found = analyze_accesses(_function(kernel), block)
    if not found["dataflow_converged"]:
        return Accesses((), {"the addresses do not settle within a few rounds": found["analyzed_count"]})
    unknown = Counter[str]()
    for each in found["unanalyzed"]:
        unknown[_reason(each["reason"])] += 1
    known = (each for each in found["accesses"] if each["addr"] in by_address)
    return Accesses(tuple(_access(each, by_address[each["addr"]]) for each in known), dict(unknown))


def _reason(given: str) -> str:
    """Returns a reason in plain words."""
    if given.startswith("unmodeled "):
        return f"{given.removeprefix('unmodeled ')} is an instruction that the analysis does not follow"
    if given.startswith("TMA"):
        return "copied by TMA, which lays the tile out itself"
    return _REASONS.get(given, given)


def _access(found: Mapping[str, Any], instruction: Instruction) -> Access:
    if found["space"] == "shared":
        return Access(instruction, "shared", ways=found["conflict_ways"])
    return Access(instruction, "global", sectors=found["sectors_worst"], ideal=found["sectors_ideal"])


def _function(kernel: Kernel) -> parsed.Function:
    """Returns a kernel as cuxray has it."""
    label_at: dict[int, str] = {}
    for label, number in kernel.labels.items():
        if label.startswith(".L_"):
            label_at.setdefault(number, label)
    block = kernel.name
    lines = []
    for number, instruction in enumerate(kernel.instructions):
        block = label_at.get(number, block)
        for each in _respelled(instruction):
            lines.append(
                parsed.Instruction(each.address, each.opcode, each.operands, each.predicate or None, block=block)
            )
    return parsed.Function(kernel.name, lines, list(label_at.values()))


def _respelled(instruction: Instruction) -> list[Instruction]:
    """Writes what cuxray does not know in words that it does."""

    def instead(opcode: str, operands: str) -> Instruction:
        return dataclasses.replace(instruction, opcode=opcode, operands=operands)

    if instruction.name == "HFMA2" and (found := _HALVES.fullmatch(instruction.operands)):
        # -0 * 0 and a pair of 16-bit numbers: how a constant is put into a register without the integer units
        constant = int.from_bytes(struct.pack("<ee", float(found[3]), float(found[2])), "little")
        return [instead("MOV", f"{found[1]}, {constant:#x}")]
    if instruction.name in ("SGXT", "USGXT") and (found := _NUMBER.fullmatch(instruction.operands)):
        # a number's lowest bits, as a number without a sign or with one
        u, bits = "U" if instruction.name == "USGXT" else "", int(found[3], 16)
        lowest = instead(f"{u}LOP3.LUT", f"{found[1]}, {found[2]}, {(1 << bits) - 1:#x}, {u}RZ, 0xc0, !PT")
        if "U32" in instruction.modifiers:
            return [lowest]
        if bits == 1:
            return [lowest, instead(f"{u}IADD3", f"{found[1]}, -{found[1]}, {u}RZ, {u}RZ")]
    return [instruction]
