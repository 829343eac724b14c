"""Cuts a kernel out of a notebook: its text, the kernels that it calls, and the constants that they name.

Nothing is executed and Triton is not imported. What comes out is built anew from the parts of the notebook that
`kernel_language` admits, and nothing else of the notebook goes along: what the student's process has made of `triton`,
of `tl` or of the kernel is of no account.
"""

import ast
import hashlib
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import NoReturn

from autograder.bindings import Binding, bindings
from autograder.kernel_language import (
    Refusal,
    Refused,
    Uses,
    check_function,
    dotted,
    is_constexpr,
    is_literal,
    literal,
    without_docstring,
)
from autograder.syntax import parse, parsing_cost

__all__ = ["Cells", "LiftedKernel", "Parameter", "Refused"]

MAX_SOURCE = 100_000
"""What the cells that are read may cost to parse, in characters.

Cells with a kernel come first, then those that stand last in the notebook. Half a second is the most that it takes.
"""

MAX_PARTS = 40
"""Kernels and constants that one kernel may bring along."""

_HEADER = "import triton\nimport triton.language as tl\n"
_DECORATORS = {
    "triton.autotune": "the judge passes the constants itself: write @triton.jit alone, and choose in the code that "
    "starts the kernel",
    "triton.heuristics": "the judge passes the constants itself: write @triton.jit alone",
    "jit": "write it out: @triton.jit",
    "triton.jit": "write @triton.jit without arguments",
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kernel.

    Attributes:
        name: Its name.
        constexpr: Whether it is a `tl.constexpr`.
        optional: Whether it has a default.
        default: What that is.
    """

    name: str
    constexpr: bool
    optional: bool
    default: float | None = None


@dataclass(frozen=True)
class LiftedKernel:
    """A kernel, cut out of a notebook.

    Attributes:
        name: Of the function.
        text: A module with the function, and what it needs.
        sha256: Of the text.
        parameters: In order.
    """

    name: str
    text: str
    sha256: str
    parameters: tuple[Parameter, ...]


class Cells:
    """The code cells of a notebook, to cut kernels out of."""

    def __init__(self, cells: Sequence[str]) -> None:
        """Reads the cells, which are in order."""
        self._cells = cells
        self._last: dict[str, Binding] = {}
        self._star: Binding | None = None
        read = _within_bounds(cells)
        self._unread = len(cells) - len(read)
        for index in read:
            if (tree := _parsed(cells[index])) is None:
                self._unread += 1
                continue
            for name, binding in bindings(tree, index):
                if name == "*":
                    self._star = binding
                elif name not in self._last or not isinstance(self._last[name].node, ast.Global):
                    self._last[name] = binding

    def lift(self, name: str) -> LiftedKernel:
        """Cuts a kernel out. Where a name is defined several times, the last definition counts.

        Args:
            name: Of the `@triton.jit` function.

        Raises:
            Refused: It is not there, or something in it cannot be lifted.
        """
        constants: dict[str, ast.stmt] = {}
        kernels: dict[str, ast.FunctionDef] = {}
        assigned: dict[str, tuple[str, ast.AST, int]] = {}
        waiting: list[tuple[str, Binding | None]] = [(name, None)]
        while waiting:
            wanted, place = waiting.pop()
            if wanted in constants or wanted in kernels:
                continue
            binding = self._find(wanted, place)
            if len(constants) + len(kernels) == MAX_PARTS:
                self._refuse(binding, f"{name} needs more than {MAX_PARTS} other functions and constants")
            if isinstance(binding.node, ast.Assign | ast.AnnAssign) and place is not None:
                constants[wanted] = self._constant(wanted, binding)
                continue
            kernels[wanted], uses = self._kernel(wanted, binding)
            assigned |= dict.fromkeys(uses.assigned, (wanted, binding.node, binding.cell))
            waiting += [(used, Binding(node, binding.cell, plain=False)) for used, node in uses.names.items()]
        for used in constants.keys() | kernels.keys():
            if used in assigned:
                owner, node, cell = assigned[used]
                self._refuse(Binding(node, cell, plain=False), f"{owner} assigns to `{used}`, which is defined outside")
        entry = kernels.pop(name)
        functions = [*kernels.values(), entry]
        head = "\n".join([_HEADER, *map(ast.unparse, constants.values())]).rstrip()
        text = "\n\n\n".join([head, *map(ast.unparse, functions)]) + "\n"
        module = ast.Module([*parse(_HEADER).body, *constants.values(), *functions], [])
        if ast.dump(parse(text)) != ast.dump(module):  # or what is run would not be what was checked
            raise Refused(f"{name} cannot be written down: its text would mean something else")
        return LiftedKernel(name, text, hashlib.sha256(text.encode()).hexdigest(), _parameters(entry))

    def _find(self, name: str, place: Binding | None) -> Binding:
        binding = self._last.get(name)
        if binding is None:
            unread = (
                f"; {self._unread} cells were not read, since they hold a line that begins with % or !, have a syntax "
                "error, a name with other letters than a to z, or are too long: give kernels cells of their own"
            )
            if place is None:
                raise Refused(f"no cell defines the kernel {name}{unread if self._unread else ''}")
            self._refuse(
                place,
                f"`{name}` is neither a parameter, a variable or a constant with a number, nor a @triton.jit function "
                f"of this notebook{unread if self._unread else ''}",
            )
        if self._star is not None:
            self._refuse(self._star, f"`import *` may give `{name}` another meaning: import by name")
        if not binding.plain:
            self._refuse(
                binding, f"`{name}` gets another value here: it must stay what a cell defines at its top level"
            )
        return binding

    def _constant(self, name: str, binding: Binding) -> ast.stmt:
        node = binding.node
        assert isinstance(node, ast.Assign | ast.AnnAssign)
        value = node.value
        assert value is not None  # or it would bind nothing
        match value:
            case ast.Call(func=function, args=[argument], keywords=[]) if dotted(function) == "tl.constexpr":
                value = argument
        annotated = isinstance(node, ast.AnnAssign) and not is_constexpr(node.annotation)
        if annotated or not is_literal(value):
            self._refuse(binding, f"`{name}` is used in a kernel, so it must be a number: `{name} = tl.constexpr(128)`")
        return node

    def _kernel(self, name: str, binding: Binding) -> tuple[ast.FunctionDef, Uses]:
        node = binding.node
        if not isinstance(node, ast.FunctionDef):
            self._refuse(binding, f"`{name}` must be a function under @triton.jit")
        for decorator in node.decorator_list:
            path = dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)
            if path != "triton.jit" or isinstance(decorator, ast.Call):
                why = _DECORATORS.get(path, "a kernel has @triton.jit alone")
                self._refuse(binding, f"the decorator @{path or '…'} of {name}: {why}")
        if len(node.decorator_list) != 1:
            self._refuse(binding, f"{name} has no @triton.jit, or several")
        try:
            uses = check_function(node)
        except Refusal as refusal:
            self._refuse(Binding(refusal.node, binding.cell, plain=False), str(refusal))
        return _rebuilt(node), uses

    def _refuse(self, binding: Binding, why: str) -> NoReturn:
        line = getattr(binding.node, "lineno", 1)
        lines = self._cells[binding.cell].splitlines()
        shown = lines[line - 1].strip()[:100] if line <= len(lines) else ""
        raise Refused(f"{why} (line {line} of its cell: {shown})")


def _within_bounds(cells: Sequence[str]) -> list[int]:
    """Returns the indices of the cells that are read."""
    first = sorted(range(len(cells)), key=lambda index: ("@triton.jit" not in cells[index], -index))
    read, total = [], 0
    for index in first:
        cost = parsing_cost(cells[index])
        if cost <= MAX_SOURCE - total:
            read.append(index)
            total += cost
    return sorted(read)


def _parsed(cell: str) -> ast.Module | None:
    """Returns a cell's syntax tree; None where it is not plain Python.

    Outside texts and comments, letters beyond ASCII are errors here: the parser takes minutes for some, and makes
    keywords of others.
    """
    try:
        return parse(cell.encode("ascii", "replace").decode())
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # also of what is nested too deep for the parser
        return None


def _rebuilt(function: ast.FunctionDef) -> ast.FunctionDef:
    """Returns a function that was checked, without what decides nothing: docstring, other annotations than constexpr.

    The docstring must go: Triton's interpreter looks for a line that begins with `def`, and could find it in there.
    """
    new = copy(function)
    new.args = copy(function.args)
    new.args.args = [
        ast.arg(argument.arg, argument.annotation if is_constexpr(argument.annotation) else None)
        for argument in function.args.args
    ]
    new.body = without_docstring(function) or [ast.Pass()]
    new.returns = None
    new.type_params = []  # type: ignore[attr-defined]  # of Python 3.12 and newer
    return ast.fix_missing_locations(new)


def _parameters(function: ast.FunctionDef) -> tuple[Parameter, ...]:
    arguments, defaults = function.args.args, [literal(default) for default in function.args.defaults]
    required = len(arguments) - len(defaults)
    return (
        *(Parameter(argument.arg, is_constexpr(argument.annotation), False) for argument in arguments[:required]),
        *(
            Parameter(argument.arg, is_constexpr(argument.annotation), True, default)
            for argument, default in zip(arguments[required:], defaults, strict=True)
        ),
    )
