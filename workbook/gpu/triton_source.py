"""The text of a kernel with all that it uses, as a module of its own: what can be compiled somewhere else."""

import ast
import math
import types
from typing import Any

from workbook.gpu.code import CompileError
from workbook.gpu.triton_private import is_library

_HEADER = ("from __future__ import annotations", "import triton", "import triton.language as tl")


def function_of(kernel: Any) -> Any:
    """Returns the `@triton.jit` function of a kernel, under autotuning and heuristics.

    Raises:
        CompileError: It is none.
    """
    from triton.runtime.jit import JITFunction

    inner = kernel
    while not isinstance(inner, JITFunction):
        if (inner := getattr(inner, "fn", None)) is None:
            raise CompileError(f"{kernel!r:.100} is no function under @triton.jit")
    return inner


def module_text(kernel: Any) -> str:
    """Returns a module with a `@triton.jit` function, the functions that it calls, and the constants that they name.

    Raises:
        CompileError: It uses something that cannot be written down.
    """
    collected = _Collected()
    collected.add(kernel.fn.__name__, kernel)
    lines = [*_HEADER, *collected.imports, *([""] if collected.constants else []), *collected.constants]
    return "\n\n\n".join(["\n".join(lines), *collected.functions]) + "\n"


class _Collected:
    """The parts of a module.

    Attributes:
        imports: Lines.
        constants: Lines.
        functions: Their texts; the first one that was asked for stands last.
    """

    def __init__(self) -> None:
        self.imports: list[str] = []
        self.constants: list[str] = []
        self.functions: list[str] = []
        self._known: dict[str, Any] = {}

    def add(self, name: str, value: Any) -> None:
        """Adds what a name means, and all that it takes."""
        from triton.runtime.jit import ConstexprFunction, JITFunction

        if name in self._known:
            if self._known[name] is not value and self._known[name] != value:
                raise CompileError(f"two functions take `{name}` to be different things: give them different names")
            return
        self._known[name] = value
        if isinstance(value, JITFunction | ConstexprFunction) and not is_library(value):
            self._add_function(name, value)
        elif (line := _line(name, value)) not in _HEADER:
            (self.imports if line.startswith(("import", "from")) else self.constants).append(line)

    def _add_function(self, name: str, function: Any) -> None:
        from triton.runtime.jit import JITFunction

        scope, tree = function.get_capture_scope(), function.parse()
        definition = tree.body[0]
        own = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)} | {function.fn.__name__}
        source = _without_types(function.src, definition)
        looked_at = [*definition.body, *definition.args.defaults, *filter(_is_constexpr, _annotations(definition))]
        named = [node for part in looked_at for node in ast.walk(part) if isinstance(node, ast.Name)]
        own |= {node.id for node in named if not isinstance(node.ctx, ast.Load)}
        for used in dict.fromkeys(node.id for node in named):
            if used in scope and used not in own:
                self.add(used, scope[used])
        decorator = "@triton.jit" if isinstance(function, JITFunction) else "@triton.constexpr_function"
        if getattr(function, "noinline", None):
            decorator += "(noinline=True)"
        self.functions.append(f"{decorator}\n{source.rstrip()}")
        if name != function.fn.__name__:
            self.functions.append(f"{name} = {function.fn.__name__}")


def _annotations(definition: Any) -> list[ast.expr]:
    """Returns the annotations of a function's parameters."""
    return [node.annotation for node in ast.walk(definition.args) if isinstance(node, ast.arg) and node.annotation]


def _is_constexpr(annotation: ast.expr) -> bool:
    return "constexpr" in ast.unparse(annotation)


def _without_types(text: str, definition: Any) -> str:
    """Returns a function's text without annotations that decide nothing; it has as many lines.

    They may name anything of the kernel's module, and Triton looks at them.
    """
    lines = [line.encode() for line in text.split("\n")]
    for node in sorted(_annotations(definition), key=lambda node: (node.lineno, node.col_offset), reverse=True):
        if not _is_constexpr(node):
            assert node.end_lineno is not None
            before, after = lines[node.lineno - 1][: node.col_offset], lines[node.end_lineno - 1][node.end_col_offset :]
            lines[node.lineno - 1] = before + b"None"
            lines[node.lineno : node.end_lineno] = [b""] * (node.end_lineno - node.lineno)
            lines[node.end_lineno - 1] += after
    return b"\n".join(lines).decode()


def _line(name: str, value: Any) -> str:
    """Returns the line that gives a name its meaning."""
    from triton import language as tl

    own = str(getattr(value, "__name__", ""))
    if isinstance(value, types.ModuleType):
        if own.split(".")[0] not in ("triton", "math"):
            raise CompileError(f"`{name}` is a module: import the functions of it that a kernel calls by their names")
        return f"import {own}" + ("" if own == name else f" as {name}")
    if isinstance(value, tl.constexpr) and (inner := _literal(value.value)):
        return f"{name} = tl.constexpr({inner})"
    if literal := _literal(value):
        return f"{name} = {literal}"
    if own and is_library(value):
        return f"from {value.__module__} import {own}" + ("" if own == name else f" as {name}")
    raise CompileError(f"`{name}` is a {type(value).__name__}: a kernel cannot use that")


def _literal(value: Any) -> str:
    """Returns what stands for a value in a program; nothing where nothing does."""
    from triton import language as tl

    if type(value) is tl.dtype:
        return f"tl.dtype({value.name!r})"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if value is None or type(value) in (bool, int, float, str):
        return repr(value)
    if type(value) in (tuple, list) and all(map(_literal, value)):
        return repr(type(value)(_Text(_literal(item)) for item in value))
    return ""


class _Text(str):
    """A text that stands for itself in a program."""

    def __repr__(self) -> str:
        return str(self)
