"""CUDA C to PTX and machine code by NVRTC: it needs neither a GPU nor a driver, only its wheels."""

import functools
import importlib.metadata
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbook.gpu import cuda_source
from workbook.gpu.code import CompileError, GpuCode, NotRunError

MAX_ERRORS = 10
"""How many of a compiler's errors are passed on."""

_PRELUDE = Path(__file__).parent / "include" / "cuda_prelude.h"
_HALF = re.compile(r"\b(?:__half2?|half2?|__float2half\w*|__floats2half2_rn)\b")
_BFLOAT16 = re.compile(r"\b(?:__nv_bfloat162?|nv_bfloat162?|__float2bfloat16\w*|__floats2bfloat162_rn)\b")
_PACKAGES = ("cuda-bindings", "nvidia-cuda-nvrtc", "nvidia-cuda-runtime", "nvidia-cuda-crt")


def compile_cuda(
    source: str, name: str, arch: int, *, max_registers: int | None = None, fast_math: bool = False
) -> GpuCode:
    """Compiles a kernel for an architecture.

    The machine code tells which line of the text each instruction comes of.

    Args:
        source: CUDA C; see `cuda_source` for what it may hold.
        name: Of the `__global__` function.
        arch: 80 for sm_80, and so on.
        max_registers: That a thread may have; by itself the compiler takes up to 255.
        fast_math: Whether functions and divisions may be less exact, and faster.

    Raises:
        CompileError: It does not compile.
        NotRunError: NVRTC is missing.
    """
    from workbook.gpu.compiling import compiled  # what only builds, in a box, does without

    cuda_source.kernel(source, name)
    options = [f"--maxrregcount={max_registers}"] if max_registers else []
    options += ["--use_fast_math"] if fast_math else []
    question = {"source": source, "name": name, "arch": arch, "options": options}
    made = compiled("workbook.gpu.cuda_nvrtc:build", question, versions())
    return code(question, made)


def code(question: dict[str, Any], made: dict[str, Any]) -> GpuCode:
    """Returns what `build` has answered as GPU code."""
    return GpuCode(question["name"], question["arch"], made["cubin"], made["ptx"], question["source"])


def versions() -> dict[str, str]:
    """Returns the versions of what compiles.

    Raises:
        NotRunError: Something of it is missing.
    """
    if find_spec("cuda") is None or find_spec("cuda.bindings") is None:
        raise NotRunError(
            "not run: NVRTC is missing: `pip install cuda-bindings nvidia-cuda-nvrtc`, or run `make setup`"
        )
    return {"prelude": _PRELUDE.read_text(encoding="utf-8")} | {name: _version(name) for name in _PACKAGES}


def build(question: dict[str, Any]) -> dict[str, Any]:
    """Compiles; an entry for `compiling.compiled`.

    Args:
        question: `source`, `name`, `arch`, and more `options` of NVRTC.

    Returns:
        `cubin`, `ptx`.

    Raises:
        CompileError: It does not compile.
        NotRunError: NVRTC is missing.
    """
    source, name = question["source"], question["name"]
    cuda_source.kernel(source, name)
    nvrtc = _nvrtc()
    prelude = _PRELUDE.read_text(encoding="utf-8")
    prelude += "#include <cuda_fp16.h>\n" if _HALF.search(source) else ""
    prelude += "#include <cuda_bf16.h>\n" if _BFLOAT16.search(source) else ""
    program = _done(
        nvrtc, nvrtc.nvrtcCreateProgram(source.encode(), b"kernel.cu", 1, [prelude.encode()], [b"prelude.h"])
    )
    try:
        _done(nvrtc, nvrtc.nvrtcAddNameExpression(program, name.encode()))
        options = [f"--gpu-architecture=sm_{question['arch']}", "--std=c++17", "-lineinfo", "--pre-include=prelude.h"]
        options += [f"-I{folder}" for folder in _includes()] + question["options"]
        (result,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
        if result != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise CompileError(_said(_text(nvrtc, program, "ProgramLog")) or str(result))
        return {"cubin": _read(nvrtc, program, "CUBIN"), "ptx": _text(nvrtc, program, "PTX")}
    finally:
        nvrtc.nvrtcDestroyProgram(program)


@functools.cache
def _nvrtc() -> Any:
    versions()
    from cuda.bindings import nvrtc  # type: ignore[import-untyped,unused-ignore]

    try:
        _done(nvrtc, nvrtc.nvrtcVersion())
    except RuntimeError as error:  # its library is looked for when it is first called
        raise NotRunError(f"not run: NVRTC cannot be loaded: {error}") from error
    return nvrtc


def _done(nvrtc: Any, answer: Sequence[Any]) -> Any:
    """Returns what a function of NVRTC's gives."""
    result, *values = answer
    if result != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise CompileError(f"NVRTC says {result.name}")
    return values[0] if values else None


def _read(nvrtc: Any, program: Any, what: str) -> bytes:
    size = _done(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program))
    data = bytearray(size)
    _done(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, data))
    return bytes(data)


def _text(nvrtc: Any, program: Any, what: str) -> str:
    return _read(nvrtc, program, what).decode(errors="replace").rstrip("\0")


def _said(log: str) -> str:
    """Returns the errors in a compiler's log, each with its line and the code that it means."""
    blocks = [block.rstrip() for block in re.split(r"\n\s*\n", log) if "error" in block]
    errors = [re.sub(r"kernel\.cu\((\d+)\): error:", r"line \1:", block) for block in blocks]
    return "\n".join(error for error in errors if "detected in the compilation" not in error.splitlines()[0])[:4000]


@functools.cache
def _includes() -> list[Path]:
    """Returns the folders with CUDA's headers, of the wheels that are installed."""
    spec = find_spec("nvidia")
    roots = list(spec.submodule_search_locations or ()) if spec else []
    found = [Path(root, "cu13", "include") for root in roots] + [
        Path(root, "cuda_runtime", "include") for root in roots
    ]
    return [folder for folder in found if folder.is_dir()]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
