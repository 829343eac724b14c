"""Cuts the text of a CUDA kernel out of a notebook: a constant text that a cell assigns to a name at its top level.

Nothing is executed. What the student's process holds under that name is of no account.
"""

import ast
from collections.abc import Sequence

from autograder.bindings import Binding, bindings
from autograder.kernel_language import Refused
from autograder.syntax import parse, parsing_cost

__all__ = ["CudaCells", "Refused"]

MAX_CELL = 100_000
"""What a cell that is read may cost to parse, in characters."""

MAX_CELLS = 1_000_000
"""Likewise all cells together, the last ones first."""


class CudaCells:
    """The code cells of a notebook, to cut texts out of."""

    def __init__(self, cells: Sequence[str]) -> None:
        """Reads the cells, which are in order."""
        self._last: dict[str, Binding] = {}
        self._unread = 0
        left, read = MAX_CELLS, []
        for index in reversed(range(len(cells))):
            if (cost := parsing_cost(cells[index])) <= min(left, MAX_CELL):
                left -= cost
                read.append(index)
            else:
                self._unread += 1
        for index in reversed(read):
            if (tree := _parsed(cells[index])) is None:
                self._unread += 1
                continue
            for name, binding in bindings(tree, index):
                if name not in self._last or not isinstance(self._last[name].node, ast.Global):
                    self._last[name] = binding

    def lift(self, name: str) -> str:
        """Returns the text of that name. Where it is assigned several times, the last one counts.

        Letters beyond ASCII, which only comments of a kernel can hold, come as underscores.

        Raises:
            Refused: There is none, or it is no constant text.
        """
        binding = self._last.get(name)
        if binding is None:
            unread = f"; {self._unread} cells could not be read as Python, or are too long" if self._unread else ""
            raise Refused(f"no cell assigns a text to {name}{unread}")
        match binding.node:
            case ast.Assign(value=ast.Constant(value=str(text))) | ast.AnnAssign(value=ast.Constant(value=str(text))):
                if binding.plain:
                    return text
        line = getattr(binding.node, "lineno", 1)
        raise Refused(
            f'`{name}` must be one constant text, at the top level of a cell: {name} = r"""…""" '
            f"(line {line} of its cell)"
        )


def _parsed(cell: str) -> ast.Module | None:
    """Returns a cell's syntax tree; None where it is not plain Python.

    Python's parser takes minutes for some letters beyond ASCII, so it is not given them.
    """
    try:
        return parse("".join(letter if letter.isascii() else "_" for letter in cell))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # also of what is nested too deep for the parser
        return None
