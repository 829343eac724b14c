"""Calls Triton's compiler; runs in a process of its own, and needs no GPU."""

import linecache
import os
import sys
import tempfile
import types
from collections.abc import Mapping
from typing import Any

from workbook.gpu.code import CompileError, NotRunError

FILE = "kernel.py"
"""The name by which machine code calls the source's file: one for all, so that the same text gives the same code."""

Code = dict[str, str | int | float | bytes | bool | None]


def compile_text(question: Mapping[str, Any]) -> Code:
    """Compiles a kernel: what `workbook.gpu.compiling` asks.

    Args:
        question: The `text` of a module and the `name` of a kernel in it; its `signature`, which has a type for each
            parameter; the values of its `constexprs`, as `packed` has made them; the `aligned` parameters; `arch`, and
            the `options` of the compiler.

    Returns:
        The `cubin`, the `ptx`, and bytes of `shared` memory and `threads` of a launch.

    Raises:
        CompileError: It does not compile.
        NotRunError: Triton is missing.
    """
    _settle()
    try:
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource
    except ImportError as error:
        raise NotRunError("not run: Triton is not installed here; it needs Linux") from error
    try:
        function = load(question["text"], question["name"])
        names = function.arg_names
        constexprs = {name: unpacked(value) for name, value in question["constexprs"].items()}
        signature = {name: "constexpr" if name in constexprs else question["signature"][name] for name in names}
        places = {(names.index(name),): value for name, value in constexprs.items()}
        attributes = {(names.index(name),): [["tt.divisibility", 16]] for name in question["aligned"]}
        source = ASTSource(function, signature, constexprs=places, attrs=attributes)
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TRITON_CACHE_DIR"] = folder
            target = GPUTarget("cuda", question["arch"], 32)
            made = triton.compile(source, target=target, options=question["options"])
    except Exception as error:
        raise CompileError(explained(error)) from error
    return {
        "cubin": made.asm["cubin"],
        "ptx": made.asm["ptx"],
        "shared": made.metadata.shared,
        "threads": made.metadata.num_warps * 32,
    }


def load(text: str, name: str) -> Any:
    """Returns a function of a module that is only a text; Triton finds its lines nevertheless."""
    linecache.cache[FILE] = (len(text), None, text.splitlines(keepends=True), FILE)
    module = types.ModuleType("kernel")
    module.__file__ = FILE
    exec(compile(text, FILE, "exec"), vars(module))  # noqa: S102 - it is the kernel
    return vars(module)[name]


def packed(value: Any) -> Any:
    """Returns the value of a `tl.constexpr` as JSON data.

    Raises:
        TypeError: It is no number, text, type, or tuple of them.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, tuple | list):
        return {"tuple": [packed(item) for item in value]}
    if hasattr(value, "value") and type(value).__name__ == "constexpr":
        return packed(value.value)
    if type(value).__name__ == "dtype" and type(value).__module__.startswith("triton."):
        return {"type": value.name}
    raise TypeError(f"a constant of a kernel is a number, a text or a type of Triton, not {value!r:.100}")


def unpacked(value: Any) -> Any:
    """Returns the value of which `packed` has made JSON data."""
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(unpacked(item) for item in value["tuple"])
    from triton import language as tl

    return tl.dtype(value["type"])


def explained(error: BaseException) -> str:
    """Returns what an error says, and the one that it came of: Triton puts errors of its own around others."""
    own = f"{type(error).__name__}: {error}"
    cause = error.__cause__
    return own if cause is None or str(cause) in own else f"{own}\n{explained(cause)}"


def _settle() -> None:
    """Lets nothing in the environment decide on the code; Triton looks there when it is imported, and later."""
    if "triton" not in sys.modules:
        for name in [name for name in os.environ if name.startswith("TRITON_")]:
            del os.environ[name]
        os.environ["TRITON_DEFAULT_FP_FUSION"] = "1"  # as in this release where it is not set, without the warning
