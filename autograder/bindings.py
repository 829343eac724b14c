"""Where the cells of a notebook give values to names, as far as their text tells."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Binding:
    """A place where a name gets a value.

    Attributes:
        node: The statement, or what in it binds the name.
        cell: Index of the cell.
        plain: Whether it is a whole statement of the cell: a function, or `NAME = …`.
    """

    node: ast.AST
    cell: int
    plain: bool


def bindings(tree: ast.Module, cell: int) -> Iterator[tuple[str, Binding]]:
    """Yields each name that a cell gives a value at the level of the notebook, in the order of the text.

    Names that a function declares `global` are among them, as an `ast.Global`; so is `*`, for `import *`.

    Args:
        tree: The cell's.
        cell: Its index.
    """
    for statement in tree.body:
        whole = _whole(statement)
        for name, node in _names(statement):
            yield name, Binding(statement if name == whole else node, cell, plain=name == whole)


def _whole(statement: ast.stmt) -> str | None:
    """Returns the one name that a statement is there to define."""
    match statement:
        case ast.FunctionDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name
        case ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return None


def _names(statement: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    waiting: list[tuple[ast.AST, bool]] = [(statement, False)]
    while waiting:  # a stack of its own: the tree may be deeper than Python recurses
        node, inside = waiting.pop()
        if isinstance(node, ast.Global):
            yield from ((name, node) for name in node.names)
        elif not inside:
            yield from ((name, node) for name in _bound_by(node))
        waiting += reversed(list(_parts(node, inside)))


def _bound_by(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
        case ast.MatchMapping(rest=str(name)):
            return [name]
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return [alias.asname or alias.name.split(".")[0] for alias in aliases]
    return []


def _parts(node: ast.AST, inside: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Yields the parts of a node, each with whether what it binds is local to a function or a class."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
            body = [node.body] if isinstance(node, ast.Lambda) else node.body
            local = set(map(id, body))
            yield from ((part, inside or id(part) in local) for part in ast.iter_child_nodes(node))
        case ast.comprehension(iter=iterated, ifs=conditions):
            yield from ((part, inside) for part in (iterated, *conditions))
        case ast.AnnAssign(value=None):
            pass
        case _:
            yield from ((part, inside) for part in ast.iter_child_nodes(node))
