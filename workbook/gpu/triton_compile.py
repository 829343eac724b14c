"""Machine code of a Triton kernel, for a GPU that need not be there."""

from collections.abc import Collection, Mapping
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from workbook.gpu import compiling
from workbook.gpu.code import GpuCode, NotRunError
from workbook.gpu.triton_compiler import packed
from workbook.gpu.triton_signature import type_of


def compile_for(
    kernel: Any,
    signature: Mapping[str, Any],
    constexprs: Mapping[str, Any],
    arch: int,
    *,
    num_warps: int = 4,
    num_stages: int = 3,
    aligned: Collection[str] = (),
    seconds: float = compiling.SECONDS,
) -> GpuCode:
    """Compiles a kernel. The compiler runs in another process, and what it makes is kept on disk.

    Args:
        kernel: A `@triton.jit` function; autotuning and heuristics around it are passed over.
        signature: For each parameter that is no constant a type ("*fp16" for a pointer, "i32"), or a tensor or number
            that has it. None is a constant.
        constexprs: The values of the constants: of the `tl.constexpr` parameters, or of others.
        arch: 80 for sm_80, 90 for sm_90, 100 for sm_100.
        num_warps: As when the kernel is started.
        num_stages: Likewise.
        aligned: Parameters that 16 divides: addresses, strides, sizes. A launch on a GPU finds out by itself.
        seconds: In which it must be done.

    Raises:
        CompileError: It does not compile, or the compiler crashes or takes too long.
        NotRunError: Triton is missing.
        TypeError: These are not the parameters that it has.
    """
    if find_spec("triton") is None:
        raise NotRunError("not run: Triton is not installed here; it needs Linux")
    from workbook.gpu.triton_source import function_of, module_text

    function = function_of(kernel)
    constants = {name: value for name, value in signature.items() if value is None} | dict(constexprs)
    types = {name: type_of(value) for name, value in signature.items() if name not in constants}
    _check_names(function, types, constants, aligned)
    text, name = module_text(function), function.fn.__name__
    question = {
        "text": text,
        "name": name,
        "signature": types,
        "constexprs": {known: packed(value) for known, value in constants.items()},
        "aligned": sorted(aligned),
        "arch": arch,
        "options": {"num_warps": num_warps, "num_stages": num_stages},
    }
    versions = {"triton": metadata.version("triton")}
    made = compiling.compiled("workbook.gpu.triton_compiler:compile_text", question, versions, seconds=seconds)
    return gpu_code(name, arch, text, made)


def gpu_code(name: str, arch: int, text: str, made: Mapping[str, Any]) -> GpuCode:
    """Returns what `triton_compiler.compile_text` has made.

    Raises:
        TypeError: That is something else.
    """
    cubin, ptx, shared, threads = (made.get(part) for part in ("cubin", "ptx", "shared", "threads"))
    if type(cubin) is not bytes or type(ptx) is not str or type(shared) is not int or type(threads) is not int:
        raise TypeError("this is no compiled kernel")
    return GpuCode(name, arch, cubin, ptx, text, shared=shared, threads=threads)


def _check_names(
    function: Any, types: Mapping[str, str], constants: Mapping[str, Any], aligned: Collection[str]
) -> None:
    names = list(function.arg_names)
    given = [*types, *constants]
    if missing := [name for name in names if name not in given]:
        raise TypeError(f"{function.fn.__name__} needs {', '.join(missing)} too")
    if extra := [name for name in [*given, *aligned] if name not in names]:
        raise TypeError(f"{function.fn.__name__} has no {', '.join(extra)}; it has {', '.join(names)}")
    variable = [parameter.name for parameter in function.params if parameter.is_constexpr and parameter.name in types]
    if variable:
        raise TypeError(f"{', '.join(variable)} of {function.fn.__name__} are tl.constexpr: give their values")
