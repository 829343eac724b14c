"""Looks through the assembly of a kernel, for ways out of it, and for stores that nobody has announced.

g++ puts a call before each load and store, but not before one whose address it has just announced: of `z[i] += x` it
announces the load and not the store. That is safe, and wrong to count by. So a call of ours is put before such stores.
A load of what has just been loaded or stored is left as it is: it need not be counted twice.
"""

import re
from collections.abc import Iterator

from workbook.gpu.code import CompileError

_MATH = """
    exp exp2 exp10 expm1 log log2 log10 log1p sqrt cbrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf
    erfc tgamma lgamma floor ceil trunc round rint nearbyint fabs pow fmod fmax fmin atan2 hypot copysign fdim remainder
    fma ldexp
"""
_RUNTIME = """
    cuda_done cuda_barrier cuda_warp_sync cuda_ballot cuda_shuffle cuda_lane cuda_atomic_i32 cuda_atomic_u32
    cuda_atomic_i64 cuda_atomic_u64 cuda_atomic_f32 cuda_atomic_f64 cuda_float_to_half cuda_half_to_float
    cuda_float_to_bfloat16 __asan_handle_no_return __ubsan_handle_type_mismatch_v1_abort
    __ubsan_handle_out_of_bounds_abort __ubsan_handle_divrem_overflow_abort memset memcpy ffs
"""
CALLABLE = frozenset(
    [
        *_RUNTIME.split(),
        *(f"{name}{kind}" for name in _MATH.split() for kind in ("", "f")),
        *(f"__asan_{what}{size}" for what in ("load", "store") for size in (1, 2, 4, 8, 16, "N")),
    ]
)
"""What a kernel may call. memset and memcpy are g++'s own, for local variables: the text cannot name them."""

_LEAVING = re.compile(r"(?:rep\s+)?(?:[il]?ret[lqw]?|syscall|sysenter|int|int3|lcall|ljmp|wrfsbase|wrgsbase)\b")
_BRANCH = re.compile(r"(call|j\w+|loop\w*)q?\s+(\S+)$")
_STACK_POINTER = re.compile(
    r"(?:push|pop)q?\s|(?:sub|add)q\s+\$-?\d+,\s*%rsp$|andq\s+\$-\d+,\s*%rsp$|leaq\s+-?\d+\(%rsp\),\s*%rsp$"
)
_ANNOUNCED = re.compile(r"call __asan_store(\d+|N)$")
_INSTRUCTION = re.compile(r"(?:lock )?(\w+) (.*)$")
_OPERAND = re.compile(r"(?:[^,()]|\([^()]*\))+")
_NO_STORE = re.compile(r"lea|nop|prefetch|push|pop|cmp|test|u?comis|i?mul[bwlq]?$|i?div[bwlq]$|rep|call|j|cmov|cvt")
_SUFFIXES = {"b": 1, "w": 2, "l": 4, "q": 8}


def completed(assembly: str, entry: str) -> str:
    """Returns the assembly, in which the function `entry` announces all its stores.

    Raises:
        CompileError: There is a way out of it; says where it comes from, as far as that can be told.
    """
    if re.search(r"^\s*\.section\s+\.(?:init_array|ctors|preinit_array|fini_array)", assembly, re.MULTILINE):
        raise CompileError("a variable outside of functions is computed when the program starts: give it a constant")
    body = re.search(rf"^{entry}:$.*?^\s*\.size\s+{entry},", assembly, re.MULTILINE | re.DOTALL)
    if body is None:
        raise CompileError("the kernel was compiled to something that has no end")
    lines = _completed(body[0].splitlines())
    return assembly[: body.start()] + "\n".join(lines) + assembly[body.end() :]


def _completed(lines: list[str]) -> Iterator[str]:
    place = pending = 0  # the line of the text, and bytes whose store is announced
    for written in lines:
        code = re.sub(r"\s+", " ", written.split("#", 1)[0]).strip()
        if code.startswith(".loc "):
            place = int(code.split()[2])
        if code and not code.startswith(".") and not code.endswith(":"):
            _check(code, f"line {place}: " if place else "")
            if announced := _ANNOUNCED.match(code):
                pending = int(announced[1]) if announced[1] != "N" else 1 << 20
            elif (stored := _store(code)) is not None:
                size, operand = stored
                if pending < size:
                    yield f"\tpushq %rdi\n\tpushfq\n\tleaq {operand}, %rdi"
                    yield f"\tcall cuda_store{size}\n\tpopfq\n\tpopq %rdi"
                pending -= min(size, pending)
        yield written


def _check(code: str, where: str) -> None:
    """Raises CompileError for an instruction that leads out of the kernel's function."""
    if _LEAVING.match(code):
        raise CompileError(f"{where}the kernel leaves the code that was written for it: {code}")
    if code.endswith("%rsp") and not _STACK_POINTER.match(code) and not code.startswith(("cmp", "test")):
        raise CompileError(f"{where}local variables have a size that is known when they are compiled")
    if (branch := _BRANCH.match(code)) is None:
        return
    target = branch[2].removesuffix("@PLT")
    if branch[1] != "call" and target.startswith(".L"):
        return
    if target.startswith("*"):
        raise CompileError(f"{where}a call through a pointer: functions are called by their name here")
    if branch[1] != "call" or target not in CALLABLE:
        raise CompileError(
            f"{where}{_readable(target)} is called, and is no part of the kernel: it calls itself, or is no function "
            "of CUDA C that is known here"
        )


def _readable(symbol: str) -> str:
    name = re.match(r"_ZN?(\d+)(\w+)", symbol)
    return name[2][: int(name[1])] if name else symbol


def _store(code: str) -> tuple[int, str] | None:
    """Returns how many bytes an instruction stores, and where.

    What lies in the function's frame is left out, and what has a name: neither is a tensor, nor shared memory.
    """
    found = _INSTRUCTION.match(code)
    if found is None or _NO_STORE.match(found[1]):
        return None
    operand = _OPERAND.findall(found[2])[-1].strip()
    if not re.match(r"-?\d*\(", operand) or re.search(r"\(%r[si]p", operand):
        return None
    return _size(found[1]), operand


def _size(name: str) -> int:
    if name.startswith("set"):
        return 1
    if name in ("movss", "movd"):
        return 4
    if name == "movsd" or re.match(r"mov[hl]p[sd]", name):
        return 8
    if re.search(r"(?:ps|pd|dqa|dqu)$", name):
        return 16
    if name[-1] not in _SUFFIXES:
        raise CompileError(f"an instruction that is not known here: {name}")
    return _SUFFIXES[name[-1]]
