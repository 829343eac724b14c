"""What a notebook does on a machine that lacks something: cells that need it are skipped, in words."""

import ast
import symtable
from collections.abc import Iterable
from typing import Any


def skip_cells_without(names: Iterable[str], why: str, shell: Any = None) -> None:
    """Has a notebook skip each later cell that reads one of these names, or one that a skipped cell would have made.

    A skipped cell prints why. All others are executed as they are.

    Args:
        names: What there is not, here.
        why: The reason, as a reader is told.
        shell: Of IPython; the one of this notebook where it is left out.
    """
    if shell is None:
        from IPython import get_ipython

        shell = get_ipython()
    shell.ast_transformers.append(_Skipping(set(names), why))


class _Skipping(ast.NodeTransformer):
    """Replaces cells that read what there is not."""

    def __init__(self, missing: set[str], why: str) -> None:
        self._missing, self._why = missing, why

    def visit(self, node: ast.AST) -> ast.AST:
        module = symtable.symtable(ast.unparse(node), "a cell", "exec")
        makes = {
            one.get_name()
            for one in module.get_symbols()
            if one.is_assigned() or one.is_imported() or one.is_namespace()
        }
        if not _read_by(module) & self._missing:
            self._missing -= makes
            return node
        self._missing |= makes
        return ast.parse(f"print({f'Skipped: {self._why}'!r})")


def _read_by(table: symtable.SymbolTable) -> set[str]:
    """Returns the global names that are read in a part of a module, and in what is within it."""
    whole = table.get_type() == "module"
    read = {one.get_name() for one in table.get_symbols() if one.is_referenced() and (whole or one.is_global())}
    return read.union(*(_read_by(inner) for inner in table.get_children()))
