"""Runs a program that `cuda_build` has built, once, and says in words what came of it."""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbook.gpu.cuda_arguments import ALIGNED

ACCESSES = 1 << 36
"""Loads and stores after which a kernel counts as one that never ends."""

MEMORY = 2 << 30
"""Bytes of address space that a kernel's program may have besides its tensors."""

SECONDS = 60.0

_GUARD = 4096  # bytes between two tensors, to tell by how much an address is out
_KINDS = ("tensor", "shared", "variable", "constant")


@dataclass(frozen=True)
class Launch:
    """How a kernel is started; JSON data, but for the bytes of its tensors.

    Attributes:
        grid: Blocks, in three dimensions.
        block: Threads of a block, likewise.
        shared: Bytes of dynamic shared memory.
        seed: Of the order in which blocks and threads run.
        tensors: As in `cuda_arguments.Arguments`.
        values: Likewise.
        names: Of the kernel's parameters.
    """

    grid: Sequence[int]
    block: Sequence[int]
    shared: int
    seed: int
    tensors: Sequence[Sequence[int]]
    values: Sequence[Sequence[int]]
    names: Sequence[str]


@dataclass(frozen=True)
class Outcome:
    """What came of a launch.

    Attributes:
        fault: What the kernel did wrong: kind, message, block, thread, line; None where it came to its end.
        counts: Of each tensor: bytes read, written and changed by atomics, then how many loads and then stores of 1,
            2, 4, 8, 16 and other bytes.
        buffers: What each tensor's bytes are then.
    """

    fault: dict[str, Any] | None
    counts: list[list[int]]
    buffers: list[bytes]


def three(size: int | Sequence[int]) -> list[int]:
    """Returns a size in three dimensions."""
    sizes = [size] if isinstance(size, int) else list(size)
    if not 1 <= len(sizes) <= 3 or not all(type(n) is int for n in sizes):
        raise ValueError(f"a grid or a block has one to three whole numbers, not {size!r}")
    return [*sizes, 1, 1][:3]


def check(grid: Sequence[int], block: Sequence[int], shared: int, most: int) -> None:
    """Checks what a GPU's driver checks.

    Args:
        grid: Blocks, in three dimensions.
        block: Threads of each, likewise.
        shared: Bytes of dynamic shared memory.
        most: Bytes of shared memory that a block may have.

    Raises:
        ValueError: No such launch can be made; a driver says "invalid configuration argument".
    """
    if not all(1 <= size <= most for size, most in zip(grid, (2**31 - 1, 65535, 65535), strict=True)):
        raise ValueError(f"a grid has from 1 to (2147483647, 65535, 65535) blocks, not {tuple(grid)}")
    if not all(1 <= size <= most for size, most in zip(block, (1024, 1024, 64), strict=True)):
        raise ValueError(f"a block has from 1 to (1024, 1024, 64) threads, not {tuple(block)}")
    if block[0] * block[1] * block[2] > 1024:
        raise ValueError(f"a block has at most 1024 threads, not {block[0] * block[1] * block[2]}")
    if not 0 <= shared <= most:
        raise ValueError(f"a block has at most {most} bytes of shared memory here, not {shared}")


def run(program: bytes, variables: str, launch: Launch, blobs: Sequence[bytes], seconds: float = SECONDS) -> Outcome:
    """Runs the program, and waits for it.

    Args:
        program: As `cuda_build.build` returns it.
        variables: Likewise.
        launch: How.
        blobs: The bytes of the tensors, and their masks.
        seconds: What it may take.
    """
    known = json.loads(variables)
    given, parts, size = [], iter(blobs), 0
    places: list[tuple[int, int]] = []
    pieces: list[tuple[int, bytes]] = []
    for length, distance, masked in launch.tensors:
        begin = -(-(size + _GUARD) // ALIGNED) * ALIGNED + distance
        pieces.append((begin, next(parts)))
        places.append((begin, length))
        size = begin + length
        mask = 0
        if masked:
            mask = size + _GUARD
            pieces.append((mask, next(parts)))
            size = mask + length
        given.append([begin, length, mask])
    size += _GUARD
    numbers: list[Any] = [*launch.grid, *launch.block, launch.seed, ACCESSES]
    numbers += [MEMORY + size, max(1, round(seconds)), len(given), *(number for row in given for number in row)]
    numbers += [len(launch.values)]
    for pointer, value in launch.values:
        numbers += [pointer, places[value][0] if pointer else value]
    numbers += [launch.shared, len(known)]
    numbers += [number for kind, address, length, _ in known for number in (_KINDS.index(kind), address, length)]
    with tempfile.TemporaryDirectory() as folder:
        path, data = Path(folder, "program"), Path(folder, "tensors")
        path.write_bytes(program)
        path.chmod(0o700)
        with data.open("wb") as file:
            file.truncate(size)
            for begin, piece in pieces:
                file.seek(begin)
                file.write(piece)
        said, timed_out = _said([str(path), str(data)], " ".join(map(str, numbers)), seconds)
        lines = said.splitlines()
        fault = None
        if not lines or lines[-1] != "done":
            fault = _fault(lines, launch, known, path, timed_out=timed_out)
        counts = [[int(n) for n in line.split()[1:]] for line in lines if line.startswith("tensor ")]
        with data.open("rb") as file:
            buffers = [_part(file, *place) for place in places]
    return Outcome(fault, counts, buffers)


def _part(file: Any, begin: int, length: int) -> bytes:
    """Returns a part of a file."""
    file.seek(begin)
    data: bytes = file.read(length)
    return data


def _said(command: Sequence[str], numbers: str, seconds: float) -> tuple[str, bool]:
    try:
        done = subprocess.run(
            command,
            input=numbers,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            env={},
        )
    except subprocess.TimeoutExpired:
        return "", True
    return done.stdout, -done.returncode in (9, 24)  # SIGXCPU, and SIGKILL that follows it


def _fault(
    lines: Sequence[str], launch: Launch, known: Sequence[Any], program: Path, *, timed_out: bool
) -> dict[str, Any]:
    words = lines[-1].rsplit(maxsplit=12) if lines else []
    if timed_out or not words or not words[0].startswith("fault "):
        message = "the kernel did not come to its end in time" if timed_out else "the kernel's program crashed"
        return {"kind": "time" if timed_out else "crash", "message": message, "block": None, "thread": None, "line": 0}
    kind = words[0].removeprefix("fault ")
    line, code, *rest = words[1:]
    at = int(line) or _line(int(code, 16), program)
    *place, a, b, c, d = map(int, rest)
    block, thread = place[:3], place[3:]
    message = _message(kind, (a, b, c, d), _Names(launch, known))
    return {"kind": kind, "message": message, "block": block, "thread": thread, "line": at}


def _line(code: int, program: Path) -> int:
    """Returns the line of the kernel's text that an address of code comes of; 0 where it is not to be found."""
    try:
        command = ["addr2line", "-i", "-e", str(program), hex(code - 1)]
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    for line in said.splitlines():
        file, _, number = line.rpartition(":")
        if file.endswith("kernel.cu") and number.split()[0].isdigit():
            return int(number.split()[0])
    return 0


class _Names:
    """What the places that a program knows by number are called."""

    def __init__(self, launch: Launch, known: Sequence[Any]) -> None:
        first: dict[int, str] = {}
        for name, (pointer, value) in zip(launch.names, launch.values, strict=True):
            if pointer:
                first.setdefault(value, name)
        self._tensors = [(first[place], row[0]) for place, row in enumerate(launch.tensors)]
        self._others = [("the dynamic shared memory", launch.shared), *((name, size) for _, _, size, name in known)]
        self._block = launch.block

    def region(self, number: int) -> tuple[str, int]:
        """Returns the name of a tensor or variable, and its bytes."""
        return [*self._tensors, *self._others][number]

    def thread(self, number: int) -> str:
        """Returns a thread of a block, by its number."""
        x, y, _ = self._block
        return f"thread ({number % x}, {number // x % y}, {number // x // y})"


_DOING = ("reads", "writes", "changes")


def _message(kind: str, numbers: tuple[int, int, int, int], names: _Names) -> str:
    a, b, c, d = numbers
    match kind:
        case "bounds":
            name, size = names.region(a)
            has = f"which has bytes 0 to {size - 1}" if size else "which is empty"
            inside = b >= 0 and b + c <= size
            has = "which are between the elements of the view" if inside else has
            return f"{_DOING[d]} bytes {b} to {b + c - 1} of {name}, {has}"
        case "wild":
            return f"{_DOING[a]} {b} bytes where there is neither a tensor nor a variable"
        case "index":
            return f"the index {a} is outside of its array"
        case "alignment":
            return f"an address must be a multiple of {a} here" + (f", and is {b} bytes past one" if b else "")
        case "constant":
            return f"writes to {names.region(a)[0]}, which is constant"
        case "race":
            what = f"byte {b} of {names.region(a)[0]}"
            if d:
                return f"writes {what}, which {names.thread(c)} has read, with no barrier between them"
            return f"uses {what}, which {names.thread(c)} has written, with no barrier between them"
        case "divergent":
            other = f"waits in line {b}" if b else "has ended"
            return f"__syncthreads is not reached by all threads of the block: {names.thread(a)} {other}"
        case "warp":
            return (
                f"the threads of a warp do not meet: {names.thread(a)} is in line {b} with the mask "
                f"{c & 0xFFFFFFFF:#x}, this one has the mask {d & 0xFFFFFFFF:#x}, or another operation"
            )
        case "warp stuck":
            more = f": others wait at __syncthreads in line {b}" if b else ""
            return f"waits for threads that its mask {a & 0xFFFFFFFF:#x} names, and that do not come{more}"
        case "mask":
            return f"the mask {b & 0xFFFFFFFF:#x} does not name lane {a}, which calls"
        case "division":
            return "a whole number is divided by zero"
        case "endless":
            return "the kernel did not come to its end"
        case "memory":
            return "there is not enough memory for the kernel's threads"
    return "the kernel crashed"
