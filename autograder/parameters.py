"""A notebook's parameters: the literals assigned in its cell tagged `parameters`, and values given for them."""

import ast
from collections.abc import Sequence
from typing import Any

Value = bool | int | float | str


class ParameterError(ValueError):
    """A parameter that a notebook does not declare, or a value of the wrong type."""


def declared_parameters(notebook: Any) -> dict[str, Value]:
    """Returns each parameter's name and default from the cell tagged `parameters`; nothing where there is no such cell.

    Args:
        notebook: An nbformat notebook.

    Raises:
        ParameterError: A default is not a literal bool, int, float or str, so it has no type to hold a value against.
    """
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if not cells:
        return {}
    try:
        statements = ast.parse(cells[0].source).body
    except SyntaxError as error:
        raise ParameterError(f"its parameters cell is not plain Python: {error}") from error
    declared: dict[str, Value] = {}
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=default):
                declared[name] = _literal(name, default)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as default):
                declared[name] = _literal(name, default)
    return declared


def _literal(name: str, node: ast.expr) -> Value:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        value = None
    if not isinstance(value, bool | int | float | str):
        raise ParameterError(f"its parameter {name} must have a literal bool, int, float or str as default")
    return value


def parse_parameters(assignments: Sequence[str], declared: dict[str, Value]) -> dict[str, Value]:
    """Reads `NAME=VALUE` texts, each value in the type of the declared default.

    Raises:
        ParameterError: No `=`, a name that is not declared, or a value that does not fit the default's type.
    """
    values: dict[str, Value] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ParameterError(f"'{assignment}' is not NAME=VALUE")
        if name not in declared:
            raise ParameterError(f"has no parameter '{name}'; it has: {', '.join(declared) or 'none'}")
        values[name] = _parse(name, text, declared[name])
    return values


def _parse(name: str, text: str, default: Value) -> Value:
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        truth = {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
        if truth is None:
            raise ParameterError(f"{name} is true or false, not '{text}'")
        return truth
    try:
        return type(default)(text)
    except ValueError:
        raise ParameterError(f"{name} is of type {type(default).__name__}, which '{text}' is not") from None
