"""What the text of a CUDA kernel may hold, and what stands in it: the kernels and their parameters.

The text is CUDA C that NVRTC compiles as it is, without a preprocessor, so that what is read here is what is compiled.
Names with two underscores are the compiler's own; those that CUDA gives a meaning are known, and others are refused:
through them C++ compilers reach the machine (`__builtin_…`, `__asm__`, `__attribute__`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from workbook.gpu.code import CompileError

MAX_SOURCE = 100_000
"""Characters of a text."""

MAX_PARAMETERS = 64

_INTRINSICS = """
    __global__ __device__ __host__ __shared__ __constant__ __restrict__ __launch_bounds__ __forceinline__ __noinline__
    __inline__ __align__ __grid_constant__
    __syncthreads __syncthreads_count __syncthreads_and __syncthreads_or __syncwarp
    __shfl_sync __shfl_up_sync __shfl_down_sync __shfl_xor_sync __ballot_sync __any_sync __all_sync
    __threadfence __threadfence_block __threadfence_system
    __ldg __ldca __ldcg __ldcs __ldlu __ldcv __stwb __stcg __stcs __stwt
    __expf __exp10f __logf __log2f __log10f __sinf __cosf __tanf __powf __fdividef __saturatef
    __fadd_rn __fsub_rn __fmul_rn __fdiv_rn __fmaf_rn __frcp_rn __fsqrt_rn __frsqrt_rn
    __float_as_int __float_as_uint __int_as_float __uint_as_float __double_as_longlong __longlong_as_double
    __float2int_rn __float2int_rz __float2int_rd __float2int_ru __int2float_rn
    __clz __ffs __popc __brev __mulhi __umulhi
    __half __half2 __float2half __float2half_rn __half2float __half22float2 __float22half2_rn __halves2half2
    __floats2half2_rn __low2float __high2float __hadd __hsub __hmul __hdiv __hmax __hmin __hadd2 __hmul2
    __nv_bfloat16 __nv_bfloat162 __float2bfloat16 __float2bfloat16_rn __bfloat162float __bfloat1622float2
    __float22bfloat162_rn __halves2bfloat162 __floats2bfloat162_rn
"""
INTRINSICS = frozenset(_INTRINSICS.split())
"""Names with two underscores that a kernel may use: what both NVRTC and the build for CPUs know."""

_REFUSED = {
    "asm": "assembly",
    "goto": "jumps",
    "thread_local": "variables of a thread of the host",
    "new": "memory from the heap",
    "delete": "memory from the heap",
    "virtual": "virtual functions",
    "throw": "exceptions",
    "try": "exceptions",
    "typeid": "types at run time",
    "dynamic_cast": "types at run time",
}

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n\f\v]+)
  | (?P<comment>//[^\n]*|/\*.*?\*/)
  | (?P<unroll>\#[ \t]*pragma[ \t]+unroll(?:[ \t]+\d+|[ \t]*\([ \t]*\d+[ \t]*\))?[ \t]*(?=\r?\n|$))
  | (?P<name>[A-Za-z_]\w*)
  | (?P<number>\.?\d(?:[eEpP][+-]|'[\w]|[\w.])*)
  | (?P<character>'(?:[^'\\\n]|\\[abfnrtv0'"\\])')
  | (?P<string>"[^"\\\n]*")
  | (?P<mark>/(?!\*)|[-+*%=<>!&|^~?:;,.(){}\[\]])
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)

_SCALARS = {
    "float": ("f", "float32"),
    "double": ("d", "float64"),
    "int": ("i", "int32"),
    "unsigned int": ("I", "int32"),
    "long long": ("q", "int64"),
    "unsigned long long": ("Q", "int64"),
    "short": ("h", "int16"),
    "unsigned short": ("H", "int16"),
    "char": ("b", "int8"),
    "unsigned char": ("B", "uint8"),
    "bool": ("?", "bool"),
    "__half": ("e", "float16"),
    "__nv_bfloat16": ("", "bfloat16"),  # no number of Python's becomes one
}
_ALIASES = {
    **{"half": "__half", "nv_bfloat16": "__nv_bfloat16", "unsigned": "unsigned int", "signed": "int"},
    **{"signed int": "int", "signed char": "char", "uchar": "unsigned char", "uint": "unsigned int"},
    **{"long": "long long", "unsigned long": "unsigned long long", "size_t": "unsigned long long"},
    **{"long int": "long long", "long long int": "long long", "unsigned long int": "unsigned long long"},
    **{"unsigned long long int": "unsigned long long", "ptrdiff_t": "long long"},
    **{"int8_t": "char", "int16_t": "short", "int32_t": "int", "int64_t": "long long"},
    **{"uint8_t": "unsigned char", "uint16_t": "unsigned short", "uint32_t": "unsigned int"},
    **{"uint64_t": "unsigned long long", "ushort": "unsigned short"},
    **{"longlong": "long long", "ulonglong": "unsigned long long"},
}
_VECTORS = re.compile(r"(?:u?(?:char|short|int|longlong)|float|double)[1234]|(?:__)?half2|(?:__)?nv_bfloat162")
_QUALIFIERS = {"const", "volatile", "__restrict__", "__grid_constant__"}


@dataclass(frozen=True)
class Token:
    """A word of the text: its kind, as the groups of the pattern are named, and where it stands."""

    kind: str
    text: str
    start: int
    line: int


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kernel.

    Attributes:
        name: Its name.
        type: As it is written.
        pointer: Whether it is a pointer, to which a tensor is passed.
        dtype: Of the elements of that tensor, by torch's name; of a number, of which it is one.
        code: How `struct` writes it.
    """

    name: str
    type: str
    pointer: bool
    dtype: str
    code: str


@dataclass(frozen=True)
class Signature:
    """A kernel that stands in a text.

    Attributes:
        name: Of the function.
        parameters: In order.
        line: Where it begins.
    """

    name: str
    parameters: tuple[Parameter, ...]
    line: int


def check(source: str) -> list[Token]:
    """Returns the words of a text, if they are such as a kernel may have.

    Raises:
        CompileError: It holds something else; says what, and in which line.
    """
    if len(source) > MAX_SOURCE:
        raise CompileError(f"the text has {len(source)} characters, and may have {MAX_SOURCE}")
    if "??" in source:
        raise CompileError(f"line {_line(source, source.index('??'))}: `??` may begin a trigraph: write `? ?`")
    tokens = list(_tokens(source))
    for before, token in zip([None, *tokens], tokens, strict=False):
        if why := _refusal(token, before):
            raise CompileError(f"line {token.line}: {why}")
    for place, token in enumerate(tokens):
        if token.kind == "string":
            following = tokens[place + 1].text if place + 1 < len(tokens) else ""
            known = token.text == '"C"' and place and tokens[place - 1].text == "extern" and following == "__global__"
            if not known:
                raise CompileError(f'line {token.line}: texts have no use in a kernel, but for extern "C" __global__')
    return tokens


def kernels(source: str) -> dict[str, Signature]:
    """Returns the kernels that a text defines, by name.

    Raises:
        CompileError: The text may not be compiled, or a kernel has a parameter of an unknown type.
    """
    tokens = check(source)
    found = {}
    for place, token in enumerate(tokens):
        if token.text == "__global__":
            signature = _signature(tokens, place)
            if signature is not None:
                found[signature.name] = signature
    return found


def kernel(source: str, name: str) -> Signature:
    """Returns the kernel of that name.

    Raises:
        CompileError: As `kernels`; or there is none of that name.
    """
    found = kernels(source)
    if name not in found:
        raise CompileError(f"the text defines no kernel {name}; it has {', '.join(found) or 'no __global__ function'}")
    return found[name]


def _tokens(source: str) -> Iterator[Token]:
    at, line = 0, 1
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise CompileError(f"line {line}: {_strange(source, at)}")
        kind, text = match.lastgroup or "", match[0]
        if kind == "unroll" and source[source.rfind("\n", 0, at) + 1 : at].strip():
            raise CompileError(f"line {line}: {_strange(source, at)}")
        if kind not in ("space", "comment"):
            yield Token(kind, text, at, line)
        at, line = match.end(), line + text.count("\n")


def _strange(source: str, at: int) -> str:
    if source[at] == "#":
        return "no lines for the preprocessor, but for #pragma unroll: the text must mean the same everywhere"
    if source[at] == "\\":
        return "a backslash outside of a character"
    if source.startswith("/*", at):
        return "a comment without an end"
    if source[at] in "\"'":
        return "texts have no use in a kernel, and a character has one letter"
    return f"the character {source[at]!r} has no meaning in CUDA C"


def _refusal(token: Token, before: Token | None) -> str:
    text = token.text
    adjacent = before is not None and before.start + len(before.text) == token.start
    if adjacent and before is not None and before.text + text in ("%:", "<%", "%>", "<:"):
        return f"`{before.text}{text}` is another way to write a bracket or a #: put a space between"
    if token.kind != "name":
        return "attributes in [[ ]]" if text == "[" and before is not None and before.text == "[" else ""
    if text in _REFUSED:
        return f"`{text}`: a kernel has no {_REFUSED[text]} here"
    if "__" in text and text not in INTRINSICS:
        return f"`{text}`: of the names with two underscores, only those of CUDA that this course uses are allowed"
    if text.lower().startswith("cuda_") or text == "_Pragma":
        return f"`{text}`: this name is taken"
    return ""


def _signature(tokens: list[Token], place: int) -> Signature | None:
    """Reads what follows `__global__`; None where it is no more than a declaration."""
    line, at = tokens[place].line, place + 1
    while at + 1 < len(tokens) and (tokens[at].kind != "name" or tokens[at + 1].text != "("):
        at += 1
    if at + 1 < len(tokens) and tokens[at].text == "__launch_bounds__":
        at = _closing(tokens, at + 1, line) + 1
        while at + 1 < len(tokens) and (tokens[at].kind != "name" or tokens[at + 1].text != "("):
            at += 1
    if at + 1 >= len(tokens):
        raise CompileError(f"line {line}: a __global__ function has no parameters in brackets")
    name, end = tokens[at].text, _closing(tokens, at + 1, line)
    if end + 1 < len(tokens) and tokens[end + 1].text == ";":
        return None
    if any(token.text == ">" for token in tokens[max(0, place - 3) : place]):
        raise CompileError(f"line {line}: {name} is a template: a kernel that is launched here is a plain function")
    groups: list[list[Token]] = [[]]
    for token in tokens[at + 2 : end]:
        if token.text == ",":
            groups.append([])
        else:
            groups[-1].append(token)
    parameters = tuple(_parameter(group, name, line) for group in groups if group)
    if len(parameters) > MAX_PARAMETERS:
        raise CompileError(f"line {line}: {name} has more than {MAX_PARAMETERS} parameters")
    return Signature(name, parameters, line)


def _closing(tokens: list[Token], opening: int, line: int) -> int:
    depth = 0
    for place in range(opening, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[place].text, 0)
        if depth == 0:
            return place
    raise CompileError(f"line {line}: a bracket is not closed")


def _parameter(tokens: list[Token], kernel: str, line: int) -> Parameter:
    words = [token.text for token in tokens]
    written = " ".join(words[:-1])
    core = [word for word in words[:-1] if word not in _QUALIFIERS]
    pointer = core[-1:] == ["*"]
    base = " ".join(core[:-1] if pointer else core)
    known = _ALIASES.get(base, base)
    if pointer and _VECTORS.fullmatch(known):
        known = _ALIASES.get(known[:-1], known[:-1])
    if known not in _SCALARS or tokens[-1].kind != "name" or tokens[-1].text in _SCALARS:
        raise CompileError(
            f"line {line}: the parameter `{' '.join(words)}` of {kernel} is neither a number nor a pointer to numbers: "
            f"known types are {', '.join(_SCALARS)}, and vectors as float4"
        )
    code, dtype = _SCALARS[known]
    return Parameter(words[-1], written, pointer, dtype, code)


def _line(source: str, at: int) -> int:
    return source.count("\n", 0, at) + 1
