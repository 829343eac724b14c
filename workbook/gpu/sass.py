"""SASS, the machine code of NVIDIA's GPUs, as NVIDIA's own tools read it from a cubin.

`cuobjdump` and `nvdisasm` come with Triton and need no GPU.
"""

import dataclasses
import importlib.util
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from workbook.gpu.code import NotRunError

SECONDS = 120.0
"""In which a tool must have read a cubin."""

_FOLDER = Path("backends/nvidia/bin")  # below the folder of the package
_TARGET = re.compile(r"^\s*\.(?:target\s+(\S+)|headerflags.*\bEF_CUDA_SM(\d+))", re.MULTILINE)  # of new and of old ELF
_SECTION = re.compile(r"\s*\.section\s+\.text\.([^,]+),")
_PLACE = re.compile(r'\s*//## File "([^"]+)", line (\d+)')
_LABEL = re.compile(r"([.$\w]+):\s*$")
_INSTRUCTION = re.compile(r"\s*/\*([0-9a-f]+)\*/\s+(?:(@!?U?P\w+)\s+)?([A-Z][\w.]*)\s*(.*?)\s*;")
_LOC = re.compile(r"\s*\.loc\s+\d+\s+(\d+)")
_BRANCHED = re.compile(r"`\(([^)]+)\)")
_WIDTHS = {"8": 8, "U8": 8, "S8": 8, "U16": 16, "S16": 16, "64": 64, "128": 128, "256": 256}
_MATRICES = {"LDSM", "STSM"}


@dataclass(frozen=True)
class Place:
    """A line of a source file, counted from 1."""

    file: str
    line: int


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        address: Bytes from the kernel's start.
        predicate: Under which it is executed: "@P0", "@!UP1"; empty where it always is.
        opcode: With its modifiers: "LDG.E.128".
        operands: As text, the destination first.
        places: Where in the source it comes from: the function that it was inlined from first, the kernel last.
        ptx: The line of the PTX that it comes from, counted from 1; None where that is not known.
    """

    address: int
    predicate: str
    opcode: str
    operands: str
    places: tuple[Place, ...] = ()
    ptx: int | None = None

    @property
    def executes(self) -> bool:
        """Whether it ever does something; compilers put loads in that never do, to work around faults of chips."""
        return self.predicate not in ("@!PT", "@!UPT")

    @property
    def name(self) -> str:
        """The opcode without modifiers: "LDG"."""
        return self.opcode.partition(".")[0]

    @property
    def modifiers(self) -> tuple[str, ...]:
        """Those of the opcode: "E", "128"."""
        return tuple(self.opcode.split(".")[1:])

    @property
    def bits(self) -> int:
        """How much a load or store moves for each thread; an instruction that names no width moves 32 bits."""
        if self.name in _MATRICES:  # of each matrix of 8 x 8 16-bit numbers a thread has 32 bits
            return 32 * int(self.modifiers[-1]) if self.modifiers[-1].isdecimal() else 32
        return next((_WIDTHS[each] for each in self.modifiers if each in _WIDTHS), 32)

    @property
    def target(self) -> str | None:
        """The label that it branches to, or calls."""
        found = _BRANCHED.search(self.operands)
        return found[1] if found else None

    def __str__(self) -> str:
        return " ".join(filter(None, (self.predicate, self.opcode, self.operands)))


@dataclass(frozen=True)
class Kernel:
    """The instructions of a kernel, without what only fills up its last bytes.

    Attributes:
        name: Its symbol; C++ functions have theirs mangled.
        target: What it was assembled for: "sm_80", "sm_90a".
        instructions: In the order of their addresses.
        labels: For each label, the place in `instructions` that it marks.
    """

    name: str
    target: str
    instructions: tuple[Instruction, ...]
    labels: Mapping[str, int]

    @property
    def arch(self) -> int:
        """80 for sm_80, 90 for sm_90a."""
        return int(re.sub(r"\D", "", self.target))

    @cached_property
    def file(self) -> str | None:
        """The source file that most of it was written in; None where the cubin does not say."""
        files = [instruction.places[-1].file for instruction in self.instructions if instruction.places]
        return max(dict.fromkeys(files), key=files.count, default=None)

    def place(self, instruction: Instruction) -> Place | None:
        """Returns the line of the kernel's own file that an instruction comes from, through whatever was inlined."""
        return next((place for place in instruction.places if place.file == self.file), None)


def kernels(cubin: bytes, ptx: str = "") -> dict[str, Kernel]:
    """Disassembles a cubin: its kernels by name.

    Args:
        cubin: An ELF file.
        ptx: What it was assembled from. With it, instructions know their lines of PTX, and source lines are put right:
            LLVM counts the lines of inline assembly on, so that Triton's masked loads come out some lines too low.

    Raises:
        NotRunError: The disassembler is missing, or takes too long.
        ValueError: It cannot read this; what it says is in the message.
    """
    found = dict(_kernels(cubin))
    if not ptx:
        return found
    lines, too_low = _ptx_lines(cubin), _too_low(ptx)
    return {name: _with_ptx(kernel, lines[name], too_low) for name, kernel in found.items()}


@lru_cache(maxsize=32)
def _ptx_lines(cubin: bytes) -> dict[str, dict[int, int]]:
    """Returns for each kernel the lines of PTX by address."""
    found = _parsed(run("nvdisasm", cubin, "-c", "-gp"))
    return {
        name: {each.address: each.places[0].line for each in kernel.instructions if each.places}
        for name, kernel in found.items()
    }


@dataclass(frozen=True)
class _TooLow:
    """By how much places in the source are too low: by line of PTX, and by line of the source that is never right."""

    of_ptx: Mapping[int, int]
    of_source: Mapping[int, int]


@lru_cache(maxsize=32)
def _too_low(ptx: str) -> _TooLow:
    """Finds the lines within inline assembly that LLVM has counted on."""
    of_ptx: dict[int, int] = {}
    of_source: dict[int, int] = {}
    right = set()
    inside, first, now = False, None, 0
    for number, line in enumerate(ptx.splitlines(), 1):
        if "begin inline asm" in line:
            inside, first = True, None
        elif "end inline asm" in line:
            inside = False
        elif place := _LOC.match(line):
            now = int(place[1])
            first = now if first is None else first
            if not inside or now == first:
                right.add(now)
        if inside and first is not None and now != first:
            of_ptx[number] = of_source[now] = now - first
    return _TooLow(of_ptx, {line: shift for line, shift in of_source.items() if line not in right})


def _with_ptx(kernel: Kernel, lines: Mapping[int, int], too_low: _TooLow) -> Kernel:
    instructions = []
    for each in kernel.instructions:
        line = lines.get(each.address)
        places = each.places
        if places and (shift := too_low.of_ptx.get(line or 0) or too_low.of_source.get(places[0].line)):
            places = (Place(places[0].file, places[0].line - shift), *places[1:])
        instructions.append(dataclasses.replace(each, places=places, ptx=line))
    return dataclasses.replace(kernel, instructions=tuple(instructions))


@lru_cache(maxsize=32)
def _kernels(cubin: bytes) -> dict[str, Kernel]:
    return _parsed(run("nvdisasm", cubin, "-c", "-gi"))


def _parsed(text: str) -> dict[str, Kernel]:
    target = _TARGET.search(text)
    if target is None:
        raise ValueError("nvdisasm names no target: this is no cubin")
    name = target[1] or f"sm_{target[2]}"
    sections: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for line in text.splitlines():
        if found := _SECTION.match(line):
            lines = sections.setdefault(found[1], [])
        elif lines is not None:
            lines.append(line)
    return {symbol: _kernel(symbol, name, lines) for symbol, lines in sections.items()}


def _kernel(name: str, target: str, lines: list[str]) -> Kernel:
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    places: list[Place] = []
    fresh = True  # the places that come next are of the instructions after them, not in addition to those before
    for line in lines:
        if found := _PLACE.match(line):
            if fresh:
                places, fresh = [], False
            places.append(Place(found[1], int(found[2])))
        elif found := _INSTRUCTION.match(line):
            instructions.append(Instruction(int(found[1], 16), found[2] or "", found[3], found[4], tuple(places)))
            fresh = True
        elif found := _LABEL.match(line):
            labels[found[1]] = len(instructions)
    while instructions and _fills_up(instructions[-1], len(instructions) - 1, labels):
        instructions.pop()
    return Kernel(name, target, tuple(instructions), labels)


def _fills_up(instruction: Instruction, number: int, labels: Mapping[str, int]) -> bool:
    """Says whether an instruction at the end is never reached: a NOP, or the branch to itself that catches strays."""
    return instruction.name == "NOP" or (instruction.name == "BRA" and labels.get(instruction.target or "") == number)


def run(tool: str, cubin: bytes, *options: str) -> str:
    """Returns what one of NVIDIA's tools prints about a cubin.

    Raises:
        NotRunError: The tool is missing, or takes too long.
        ValueError: It refuses the cubin.
    """
    path = find(tool)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        try:
            done = subprocess.run(
                [str(path), *options, file.name], capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise NotRunError(f"not run: {tool} took more than {SECONDS:g} s") from None
        except OSError as error:
            raise NotRunError(f"not run: {tool} does not start: {error}") from error
        if done.returncode:
            said = (done.stderr or done.stdout).replace(file.name, "the cubin").strip()
            raise ValueError(f"{tool} cannot read this: {said}")
    return done.stdout


def find(tool: str) -> Path:
    """Returns the path of one of NVIDIA's tools, in the Triton that is installed.

    Raises:
        NotRunError: There is none.
    """
    triton = importlib.util.find_spec("triton")
    for folder in triton.submodule_search_locations or [] if triton else []:
        if (path := Path(folder) / _FOLDER / tool).is_file():
            return path
    raise NotRunError(f"not run: {tool} is missing, which comes with Triton for Linux")
