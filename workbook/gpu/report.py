"""An inspection in words: each fact with its value and one sentence on what it means."""

from collections import Counter
from typing import TYPE_CHECKING

from workbook.gpu import resources
from workbook.gpu.chips import KIB
from workbook.gpu.loops import Loop
from workbook.gpu.sass import Instruction
from workbook.show import Table

if TYPE_CHECKING:
    from workbook.gpu.inspection import Inspection

NOT_KNOWN = "not known: the code does not say how many threads a block has; give threads="

_GENERATIONS = {
    "mma": "a warp multiplies matrices held in its registers (mma.sync)",
    "wgmma": "four warps multiply matrices from shared memory, and go on meanwhile (wgmma)",
    "tcgen05": "one thread starts a product of matrices in shared and tensor memory (tcgen05.mma)",
}
_KINDS = {
    "global loads": "For each thread. One instruction of 128 bits, the widest on most chips, does what four of 32 do.",
    "global stores": "As for loads: wider is fewer instructions for the same bytes.",
    "asynchronous copies": "From global to shared memory, past the registers; the warp goes on meanwhile (cp.async).",
    "TMA loads": "One thread starts the copy of a whole tile into shared memory.",
    "TMA stores": "One thread starts the copy of a whole tile out of shared memory.",
    "bulk copies": "One thread starts the copy of a long run of bytes.",
    "shared loads": "From the block's shared memory.",
    "shared stores": "To the block's shared memory.",
    "matrix loads": "From shared memory, laid out as the tensor cores want it (ldmatrix).",
    "matrix stores": "To shared memory, from the layout of the tensor cores (stmatrix).",
    "tensor memory loads": "From the memory that belongs to the tensor cores of sm_100.",
    "tensor memory stores": "To the memory that belongs to the tensor cores of sm_100.",
    "generic loads": "Of an address that may be shared or global: the compiler does not know which.",
    "generic stores": "To an address that may be shared or global: the compiler does not know which.",
    "global atomics": "Read, change and write in one step, in the L2 cache.",
    "shared atomics": "Read, change and write in one step, in shared memory.",
}
_LIMITERS = {
    "registers": "fewer registers a thread",
    "shared memory": "less shared memory a block",
    "blocks": "larger blocks",
}


def facts(found: "Inspection") -> Table:
    """Returns the facts of an inspection: name, value, meaning."""
    rows = [_spills(found), _registers(found)]
    if found.stack:
        rows.append(("Local memory", f"{found.stack} bytes a thread", _local(found)))
    rows += [_shared(found), _tensor(found)]
    rows += [
        (kind.capitalize() if kind[:3] != "TMA" else kind, widths(found, kind), _KINDS[kind])
        for kind in found.widths
        if kind in _KINDS
    ]
    rows += [*_accesses(found), *_occupancy(found), _loop(found)]
    return Table(("fact", "value", "what it means"), rows)


def _spills(found: "Inspection") -> tuple[str, str, str]:
    if not found.spills:
        return "Spills", "none", "All values that a thread needs at a time have found a register."
    spills = found.spills
    value = f"{count(spills.stores, 'store')}, {count(spills.loads, 'load')}"
    meaning = (
        f"A thread ran out of registers: if each is executed once, it moves {spills.store_bytes} bytes out and"
        f" {spills.load_bytes} back in"
    )
    inside = resources.spills(found.main_loop.instructions) if found.main_loop else None
    where = f"; {inside.stores + inside.loads} of these are in the main loop" if inside else ""
    return "Spills", value, f"{meaning}{where}."


def _registers(found: "Inspection") -> tuple[str, str, str]:
    value = f"{found.registers} of {found.limits.registers_per_thread} a thread"
    meaning = "The more of them, the fewer warps an SM holds."
    if any("SETMAXREG" in each.name for each in found.instructions):
        meaning += " Warps trade registers while they run (setmaxnreg), so occupancy may be higher than computed."
    return "Registers", value, meaning


def _local(found: "Inspection") -> str:
    spills = found.spills
    if spills.array_loads or spills.array_stores:
        return (
            f"Memory of the thread's own, behind caches; {count(spills.array_stores, 'store')} and"
            f" {count(spills.array_loads, 'load')} are of an array whose index the compiler does not know."
        )
    return "Memory of the thread's own, behind caches."


def _shared(found: "Inspection") -> tuple[str, str, str]:
    value = f"{found.static_shared} static + {found.dynamic_shared} dynamic bytes a block"
    most = f"A block on sm_{found.arch} has at most {found.limits.shared_per_block // KIB} KiB"
    if found.shared > found.limits.shared_per_block:
        return "Shared memory", value, f"{most}: the compiler does not check this, the launch fails."
    if found.must_opt_in:
        return "Shared memory", value, f"{most}; above 48 KiB the launch must ask for it."
    if not found.shared and any(kind.startswith(("shared", "matrix")) for kind in found.widths):
        return "Shared memory", value, f"{most}. The code uses some, and the launch says how much: give shared=."
    return "Shared memory", value, f"{most}."


def _tensor(found: "Inspection") -> tuple[str, str, str]:
    if found.tensor_generation is None:
        return "Tensor cores", "not used", "All arithmetic is done by the ordinary units."
    value = ", ".join(f"{number} {name} ({resources.TENSOR[name][1]})" for name, number in found.tensor.items())
    return "Tensor cores", value, f"{_GENERATIONS[found.tensor_generation]}.".capitalize()


def widths(found: "Inspection", kind: str) -> str:
    """Returns how many instructions of a kind move how many bits: "4 of 128 bits"."""
    return ", ".join(f"{number} of {bits} bits" if bits else f"{number}" for bits, number in found.widths[kind].items())


def _accesses(found: "Inspection") -> list[tuple[str, str, str]]:
    if found.accesses is None:
        return [("Bank conflicts", NOT_KNOWN, ""), ("Coalescing", NOT_KNOWN, "")]
    rows = []
    if number := found.accesses.count("shared"):
        conflicts = found.accesses.conflicts
        lines = _lines(found, [each.instruction for each in conflicts])
        value = f"{len(conflicts)} of {number}{lines}: up to {conflicts[0].ways} turns" if conflicts else ""
        meaning = "Threads of a warp that want different words of one of shared memory's 32 banks take turns."
        rows.append(("Bank conflicts", value or f"none in {count(number, 'access')}", meaning))
    if number := found.accesses.count("global"):
        bad = found.accesses.uncoalesced
        worst = max(bad, key=lambda each: each.sectors / each.ideal, default=None)
        lines = _lines(found, [each.instruction for each in bad])
        value = "the only access" if number == 1 else f"all {number} accesses"
        if worst:
            value = f"not {len(bad)} of {number}{lines}: up to {worst.sectors} sectors, not {worst.ideal}"
        meaning = "A warp reads memory in sectors of 32 bytes; best is when it needs all bytes of each."
        rows.append(("Coalescing", value, meaning))
    for reason, number in found.accesses.unknown.items():
        rows.append(("Not analysable", count(number, "access"), f"{reason[0].upper()}{reason[1:]}."))
    return rows


def _lines(found: "Inspection", instructions: list[Instruction]) -> str:
    """Returns the source lines that instructions are from, as far as there are a few of them."""
    places = (found.kernel.place(each) for each in instructions)
    lines = sorted({place.line for place in places if place})
    if not 1 <= len(lines) <= 4:
        return ""
    return f" (line{'' if len(lines) == 1 else 's'} {', '.join(map(str, lines))})"


def _occupancy(found: "Inspection") -> list[tuple[str, str, str]]:
    meaning = "Of the warps that an SM can hold, those that this kernel leaves room for; more hide more waiting."
    if found.occupancy is None:
        return [("Occupancy", NOT_KNOWN, meaning)]
    if found.tensor_generation == "tcgen05":
        meaning += " Tensor memory, which the blocks of an SM share too, is not counted."
    rows = [("Occupancy", str(found.occupancy), meaning)]
    if found.occupancy.blocks:
        limiters = found.occupancy.limiters
        helps = "What raises it: " + " and ".join(_LIMITERS[name] for name in limiters if name in _LIMITERS)
        if "warps" in limiters:
            helps = "Nothing raises it: the SM is as full as blocks of this size can make it"
        rows.append(("Limited by", " and ".join(limiters), f"{helps}."))
    return rows


def _loop(found: "Inspection") -> tuple[str, str, str]:
    total = len(found.instructions)
    if found.main_loop is None:
        return "Main loop", f"none; {total} instructions", "Each instruction is executed once a thread, at most."
    value = f"{len(found.main_loop.instructions)} of {total} instructions"
    return "Main loop", value, f"What is repeated, and takes the time: {summary(found.main_loop)}."


def summary(loop: Loop) -> str:
    """Returns what a loop does, in counts of instructions."""
    names = Counter(each.name for each in loop.instructions)
    parts = [f"{names[name]} {name}" for name in resources.TENSOR if names[name]]
    kinds = {kind: sum(numbers.values()) for kind, numbers in resources.widths(loop.instructions).items()}
    kinds["FP32 operations"] = sum(number for name, number in names.items() if name in _ARITHMETIC)
    kinds |= {"special functions": names["MUFU"], "barriers": names["BAR"]}
    parts += [count(number, _singular(kind)) for kind, number in kinds.items() if number]
    return ", ".join(parts) or "neither arithmetic nor accesses to memory"


def count(number: int, thing: str) -> str:
    """Returns a number with what it counts: "1 access", "2 accesses"."""
    if number == 1:
        return f"1 {thing}"
    return (
        f"{number} {thing[:-1]}ies"
        if thing.endswith("y")
        else f"{number} {thing}{'es' if thing.endswith('s') else 's'}"
    )


def _singular(kind: str) -> str:
    return f"{kind.removesuffix('ies')}y" if kind.endswith("ies") else kind.removesuffix("s")


_ARITHMETIC = {"FADD", "FMUL", "FFMA", "FMNMX", "FADD2", "FMUL2", "FFMA2", "FMNMX3"}
