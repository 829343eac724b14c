"""The loops of a kernel, from its branches: a control-flow graph, dominators, natural loops.

A jump backwards alone makes no loop: compilers move rare code to the end, and it jumps back from there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from workbook.gpu.sass import Instruction, Kernel

_JUMPS = {"BRA", "JMP", "CALL", "BRX", "JMX"}
_ENDS = {"EXIT", "RET", "BPT", "RTT"}
_UNCONDITIONAL = {"BRA", "JMP", "BRX", "JMX"}


@dataclass(frozen=True)
class Loop:
    """A natural loop.

    Attributes:
        instructions: All of it, inner loops included, in the order of their addresses.
        depth: 1 for a loop that is in no other one.
        innermost: No other loop is in it, except such as do nothing but wait.
    """

    instructions: tuple[Instruction, ...]
    depth: int
    innermost: bool

    @property
    def start(self) -> int:
        """The lowest address."""
        return self.instructions[0].address


def loops(kernel: Kernel) -> tuple[Loop, ...]:
    """Finds the loops, the outer before the inner. One that only waits for a barrier is none."""
    starts, after = _graph(kernel)
    members = _natural(after)
    ends = [*starts[1:], len(kernel.instructions)]
    bodies = {
        header: [number for block in sorted(blocks) for number in range(starts[block], ends[block])]
        for header, blocks in members.items()
    }
    works = {
        header: numbers
        for header, numbers in bodies.items()
        if any(_works(kernel.instructions[number]) for number in numbers)
    }
    found = []
    for header, numbers in works.items():
        around = [other for other in works if other != header and members[header] < members[other]]
        within = [other for other in works if other != header and members[other] < members[header]]
        code = tuple(kernel.instructions[number] for number in numbers)
        found.append(Loop(code, 1 + len(around), not within))
    return tuple(sorted(found, key=lambda loop: (loop.depth, loop.start)))


def _works(instruction: Instruction) -> bool:
    """Says whether an instruction computes or moves data, rather than counts, branches or waits."""
    name = instruction.name
    if "MMA" in name or name.startswith(("LD", "ST", "ATOM", "RED", "UTMA", "UBLK", "MUFU", "SHFL", "F2", "I2")):
        return not name.startswith(("LDC", "LDGDEPBAR", "LDTRAM"))
    return name.startswith(("FADD", "FMUL", "FFMA", "FMNMX", "HADD", "HMUL", "HFMA", "DADD", "DMUL", "DFMA", "IDP"))


def _graph(kernel: Kernel) -> tuple[list[int], list[set[int]]]:
    """Returns where the basic blocks start, and for each the blocks that may come after it."""
    code = kernel.instructions
    starts = {0, *(place for place in kernel.labels.values() if place < len(code))}
    starts |= {
        number + 1
        for number, instruction in enumerate(code)
        if instruction.name in _JUMPS | _ENDS and number + 1 < len(code)
    }
    ordered = sorted(starts)
    block_at = {start: number for number, start in enumerate(ordered)}
    after: list[set[int]] = []
    for number, end in enumerate([*ordered[1:], len(code)]):
        last = code[end - 1]
        conditional = bool(last.predicate) or "," in last.operands  # a condition may stand among the operands
        targets = {kernel.labels.get(last.target or "")} if last.name in _JUMPS else set()
        following = {block_at[target] for target in targets if target in block_at}
        falls_through = conditional or last.name not in _UNCONDITIONAL | _ENDS
        if falls_through and number + 1 < len(ordered):
            following.add(number + 1)
        after.append(following)
    return ordered, after


def _natural(after: list[set[int]]) -> Mapping[int, set[int]]:
    """Returns, for the first block of each natural loop, all of its blocks."""
    before: list[set[int]] = [set() for _ in after]
    for block, following in enumerate(after):
        for each in following:
            before[each].add(block)
    dominators = _dominators(after, before)
    found: dict[int, set[int]] = {}
    for block, following in enumerate(after):
        for header in following & dominators.get(block, set()):
            members = found.setdefault(header, {header})
            rest = [block]
            while rest:
                if (each := rest.pop()) not in members:
                    members.add(each)
                    rest.extend(before[each] & dominators.keys())
    return found


def _dominators(after: list[set[int]], before: list[set[int]]) -> dict[int, set[int]]:
    """Returns, for each block that can be reached, the blocks that every way to it leads through."""
    order: list[int] = []
    seen, rest = {0}, [(0, iter(sorted(after[0])))]
    while rest:
        block, following = rest[-1]
        new = next((each for each in following if each not in seen), None)
        if new is None:
            order.append(block)
            rest.pop()
        else:
            seen.add(new)
            rest.append((new, iter(sorted(after[new]))))
    order.reverse()
    dominators = dict.fromkeys(order, seen)
    dominators[0] = {0}
    changed = True
    while changed:
        changed = False
        for block in order[1:]:
            now = {block} | set.intersection(*(dominators[each] for each in before[block] & seen))
            if now != dominators[block]:
                dominators[block], changed = now, True
    return dominators
