"""Builds a program for this machine's CPU from the text of a CUDA kernel, with g++.

    kernel.cu --rewritten, g++ -S--> assembly --looked through--> object --+ cuda_fibers.o--> program

The program is native code of a stranger's, and reports on itself; that its reports can be believed rests on this. The
kernel and all that it calls become one function without a way out: it is inlined as a whole, it ends in a call of
`cuda_done` that never returns, and its assembly is looked through (`cuda_assembly`): it has no `ret`, no jump or call
to a computed place, no system call, and it calls nothing but what is listed there. So what it writes on its own stack
cannot lead it anywhere. Each load and store to a computed address is preceded by a call that checks it
(`-fsanitize=kernel-address`). What is left is trust in g++: code that it miscompiles, or an access that it forgets.
"""

import functools
import inspect
import json
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from workbook.gpu import cuda_assembly, cuda_source
from workbook.gpu.code import CompileError, NotRunError
from workbook.gpu.cuda_source import Token

ENTRY = "cuda_cpu_entry"
STATIC_SHARED = 48 << 10
"""Bytes of shared memory that a kernel may declare with their size, on every chip."""

FRAME = 32 << 10
"""Bytes of local variables that a thread may have here; a GPU gives 512 KiB, slowly."""

_INCLUDE = Path(__file__).parent / "include"
_SECONDS = 60
_FLAGS = [
    *("-std=c++17", "-O1", "-g1", "-ffunction-sections", "-fno-pic"),
    # A call before each load and store, which says its address and size; and before each one that is not aligned.
    *("-fsanitize=kernel-address,alignment,bounds,integer-divide-by-zero", "-fno-sanitize-recover=all"),
    *("--param=asan-instrumentation-with-call-threshold=0", "--param=asan-globals=0", "--param=asan-stack=0"),
    "-fno-sanitize-address-use-after-scope",
    # All of a kernel is one function, however large.
    *("-finline-functions", "-fno-ipa-cp-clone", "-fno-partial-inlining", "-fno-optimize-sibling-calls"),
    *(f"--param={name}=1000000" for name in ("max-inline-insns-single", "max-inline-insns-auto", "inline-unit-growth")),
    *(
        f"--param={name}=1000000"
        for name in ("large-function-growth", "large-stack-frame-growth", "early-inlining-insns")
    ),
    # The code has the shape that is looked for.
    *("-fno-jump-tables", "-fno-reorder-blocks-and-partition", "-fno-stack-protector", "-U_FORTIFY_SOURCE"),
    *("-fno-exceptions", "-fno-rtti", "-fno-asynchronous-unwind-tables", "-fno-threadsafe-statics"),
    *("-mno-red-zone", "-fno-tree-ter", "-fno-schedule-insns2"),
    # float4 copies are loads of 16 bytes, as on a GPU; nothing becomes a call of memcpy that was none.
    *("-fno-tree-sra", "-fno-builtin", "-fno-tree-loop-distribute-patterns"),
    # As CUDA takes it: integers wrap, and a float4 may be read where floats were written.
    *("-fwrapv", "-fno-strict-aliasing", "-ffp-contract=off"),
    *("-Werror=vla", f"-Werror=frame-larger-than={FRAME}"),
]
_RUNTIME_FLAGS = ["-std=c++17", "-O2", "-w", "-fno-exceptions", "-fno-rtti", "-fno-pic", "-U_FORTIFY_SOURCE"]


def versions() -> dict[str, str]:
    """Returns what a program comes of besides the kernel's text.

    Raises:
        NotRunError: There is no g++ here, or none that can build it.
    """
    passes = "".join(map(inspect.getsource, (cuda_assembly, cuda_source)))
    return {"g++": _compiler(), "machine": platform.machine(), "passes": passes, **_headers()}


def build(question: dict[str, Any]) -> dict[str, Any]:
    """Builds the program; an entry for `compiling.compiled`.

    Args:
        question: `source` and the `name` of the kernel in it.

    Returns:
        `program`, an executable; `variables`, JSON: its variables, as [kind, address, size, name].

    Raises:
        CompileError: The text may not be compiled, or cannot be.
        NotRunError: There is no g++ here.
    """
    source, name = question["source"], question["name"]
    signature = cuda_source.kernel(source, name)
    _compiler()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for file, text in _headers().items():
            (place / file).write_text(text, encoding="utf-8")
        (place / "fibers.o").write_bytes(_runtime())
        (place / "kernel.cpp").write_text(rewritten(source, signature), encoding="utf-8")
        _run(["g++", *_FLAGS, "-S", "kernel.cpp", "-o", "kernel.s"], place)
        assembly = (place / "kernel.s").read_text(encoding="utf-8", errors="replace")
        (place / "kernel.s").write_text(cuda_assembly.completed(assembly, ENTRY), encoding="utf-8")
        _run(["g++", "-c", "kernel.s", "-o", "kernel.o"], place)
        own = {line.split()[-1] for line in _run(["nm", "--defined-only", "-S", "kernel.o"], place).splitlines()}
        if sum(size for _, _, size, _ in _variables(place, own, source, linked=False)) > (64 << 20):
            raise CompileError("the text has more than 64 MiB of variables")
        _run(["g++", "-no-pie", "-Wl,--gc-sections", "kernel.o", "fibers.o", "-o", "program", "-lm"], place)
        variables = _variables(place, own, source, linked=True)
        return {"program": (place / "program").read_bytes(), "variables": json.dumps(variables)}


def rewritten(source: str, signature: cuda_source.Signature) -> str:
    """Returns the text as g++ takes it, line by line the same, and what starts the kernel.

    Raises:
        CompileError: The text may not be compiled.
    """
    edits: list[tuple[int, int, str]] = []
    tokens = cuda_source.check(source)
    for place, token in enumerate(tokens):
        if token.kind == "string":
            edits += [(tokens[place - 1].start, token.start + len(token.text), "")]
        if token.text == "__shared__":
            edits += _shared(tokens, place)
    text = source
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    types = (re.sub("__grid_constant__|__restrict__|volatile", "", given.type) for given in signature.parameters)
    given = ", ".join(f"*reinterpret_cast<{kind} const*>(&cuda_given[{place}])" for place, kind in enumerate(types))
    launch = f'extern "C" __attribute__((noreturn)) void {ENTRY}() {{ {signature.name}({given}); cuda_done(); }}'
    return f'#include "cuda_on_cpu.h"\n#line 1 "kernel.cu"\n{text}\n#line 1 "launch"\n{launch}\n'


def _shared(tokens: Sequence[Token], place: int) -> Iterator[tuple[int, int, str]]:
    """Yields the edits that a declaration of shared memory needs."""
    end = next((at for at in range(place, len(tokens)) if tokens[at].text == ";"), None)
    if end is None:
        raise CompileError(f"line {tokens[place].line}: a declaration without its end")
    start = tokens[place].start
    if "extern" in (tokens[place - 1].text if place else "", tokens[place + 1].text):
        yield start, start + len("__shared__"), ""
        yield tokens[end].start, tokens[end].start, ' __asm__("cuda_dynamic")'
        return
    names, depth = set(), 0
    for at in range(place + 1, end):
        depth += {"(": 1, "[": 1, "<": 1, "{": 1, ")": -1, "]": -1, ">": -1, "}": -1}.get(tokens[at].text, 0)
        if depth == 0 and tokens[at].kind == "name" and tokens[at + 1].text in (";", ",", "[", "="):
            names.add(tokens[at].text)
    depth = 0
    for at in range(end, len(tokens)):
        depth += {"{": 1, "}": -1}.get(tokens[at].text, 0)
        if depth < 0:
            return
        if tokens[at].text in names and tokens[at - 1].text not in (".", ":") and not _arrow(tokens, at):
            start = tokens[at].start
            yield start, start + len(tokens[at].text), f"(*cuda_hidden(&{tokens[at].text}))"


def _arrow(tokens: Sequence[Token], at: int) -> bool:
    return (
        tokens[at - 1].text == ">" and tokens[at - 2].text == "-" and tokens[at - 2].start + 1 == tokens[at - 1].start
    )


def _variables(folder: Path, own: set[str], source: str, *, linked: bool) -> list[tuple[str, int, int, str]]:
    """Returns the variables that the kernel's text has brought along."""
    tokens = cuda_source.check(source)
    shared = _shared_names(tokens)
    found, total = [], 0
    for line in _run(["nm", "--defined-only", "-S", "program" if linked else "kernel.o"], folder).splitlines():
        parts = line.split()
        if len(parts) != 4 or parts[3] not in own or parts[2] in "tTwW":
            continue
        name = _own_name(parts[3])
        size = int(parts[1], 16)
        kind = "shared" if name in shared else "constant" if parts[2] in "rR" else "variable"
        total += size if kind == "shared" else 0
        found.append((kind, int(parts[0], 16), size, name))
    if total > STATIC_SHARED:
        raise CompileError(
            f"the kernel declares {total} bytes of shared memory, and a block has {STATIC_SHARED}: more is had as "
            "extern __shared__, with its size given at the launch"
        )
    return found


def _own_name(symbol: str) -> str:
    """Returns the last name in a symbol: `tile` of `_ZZ1kPfE4tile_0`."""
    for digits in re.finditer(r"\d+", symbol):
        end = digits.end() + int(digits[0])
        if re.fullmatch(r"(?:_\d+|\.\d+)?", symbol[end:]) and end <= len(symbol):
            return symbol[digits.end() : end]
    return symbol


def _shared_names(tokens: Sequence[Token]) -> set[str]:
    names: set[str] = set()
    for place, token in enumerate(tokens):
        if token.text == "__shared__":
            end = next(at for at in range(place, len(tokens)) if tokens[at].text == ";")
            names |= {tokens[at].text for at in range(place, end) if tokens[at].kind == "name"}
    return names


@functools.cache
def _compiler() -> str:
    """Returns what g++ says of itself."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        raise NotRunError(f"not run: CUDA C runs on CPUs of x86_64 under Linux, not on {platform.platform()}")
    for program, package in (("g++", "g++"), ("nm", "binutils")):
        if shutil.which(program) is None:
            raise NotRunError(f"not run: CUDA C runs on a CPU through {program}: install the Debian package {package}")
    said = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout
    if "Free Software Foundation" not in said:
        raise NotRunError(f"not run: CUDA C runs on a CPU through GNU's g++, and this one is {said.splitlines()[0]}")
    return said.splitlines()[0]


@functools.cache
def _headers() -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(_INCLUDE.glob("cuda_*"))}


@functools.cache
def _runtime() -> bytes:
    """Returns what runs a kernel, as an object file."""
    with tempfile.TemporaryDirectory() as folder:
        _run(["g++", *_RUNTIME_FLAGS, "-c", str(_INCLUDE / "cuda_fibers.cpp"), "-o", "fibers.o"], Path(folder))
        return Path(folder, "fibers.o").read_bytes()


def _run(command: Sequence[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise CompileError(f"{command[0]} took more than {_SECONDS} s") from None
    if done.returncode:
        raise CompileError(_said(done.stderr) or f"{command[0]} failed with {done.returncode}")
    return done.stdout


def _said(text: str) -> str:
    """Returns what a compiler has said, as far as it helps: the errors, with their lines."""
    if "inlining failed" in text:
        name = re.search(r"inlining failed in call to .always_inline. .(.*?)[’']:", text)
        called = name[1] if name else "a function"
        return f"{called} cannot be made a part of the kernel: it calls itself, or is only declared"
    if frame := re.search(r"frame size of (\d+) bytes", text):
        return f"a thread has {frame[1]} bytes of local variables, and may have {FRAME} here"
    errors = [line for line in text.splitlines() if "error:" in line or "undefined reference" in line]
    return "\n".join(errors[:10]) or text.strip()[-2000:]
