"""The numbers of a kernel that runs on a CPU: they are of the types that the compiler gives them.

By itself Triton's interpreter leaves many of them to Python, where they neither overflow nor are rounded, and takes
`and`, `or`, `not`, `min`, `max`, a conditional expression and a loop's variable as Python does. A branch that the
compiler drops could so be run here, and pass for what a GPU does. What a GPU may do anything for is an error here.
"""

import ast
import builtins
from collections.abc import Callable, Iterator
from functools import partial, reduce
from typing import Any

import numpy as np

from workbook.gpu.triton_bfloat16 import widened
from workbook.gpu.triton_faults import Undefined
from workbook.gpu.triton_private import handle, interpreter, numpy_type


def number(value: Any, kind: str) -> Any:
    """Returns a number as a kernel gets it, of a type as Triton writes it."""
    from triton import language as tl

    return _scalar(value, tl.str_to_ty(kind, None))


def meanings() -> dict[str, Any]:
    """Returns what the names mean that stand in a kernel after `transformer` has changed it.

    `min` and `max` are among them, unless the kernel's module has others.
    """
    names = (_value, _loop, _chosen, _all, _any, _not, _is_none)
    extremes = {name: partial(_extreme, name) for name in ("min", "max")}
    return {f"_{one.__name__}": one for one in names} | extremes


def transformer() -> ast.NodeTransformer:
    """Returns what changes the syntax tree of a kernel so that its numbers get their types."""

    class Typing(interpreter().ASTTransformer):  # type: ignore[misc]
        """Lets numbers pass through the functions below; a name with two underscores is not one of the kernel's."""

        def visit_Assign(self, node: ast.Assign) -> ast.AST:  # noqa: N802
            node.value = _call("__value", self.visit(node.value))
            return node

        def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:  # noqa: N802
            if not isinstance(node.target, ast.Name):
                return self.generic_visit(node)  # type: ignore[no-any-return]
            changed = ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value)
            return self.visit(ast.copy_location(ast.Assign([node.target], changed), node))  # type: ignore[no-any-return]

        def visit_For(self, node: ast.For) -> ast.AST | list[ast.AST]:  # noqa: N802
            self.generic_visit(node)
            loop = node.iter
            if not isinstance(loop, ast.Call) or not isinstance(node.target, ast.Name):
                return node
            if ast.unparse(loop.func).split(".")[-1] != "range":
                return node
            loop.func = ast.Name("__loop", ast.Load())
            name = node.target.id  # after the loop it is nothing that the compiler knows, also if there was no round
            gone = [
                ast.Assign([ast.Name(name, ast.Store())], ast.Constant(None)),
                ast.Delete([ast.Name(name, ast.Del())]),
            ]
            return [node, *gone]

        def visit_List(self, node: ast.List) -> ast.AST:  # noqa: N802
            self.generic_visit(node)
            return ast.Tuple(node.elts, node.ctx)

        def visit_IfExp(self, node: ast.IfExp) -> ast.AST:  # noqa: N802
            self.generic_visit(node)
            node.test, test = ast.Name("__test", ast.Load()), node.test
            return _call("__chosen", ast.NamedExpr(ast.Name("__test", ast.Store()), test), node)

        def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:  # noqa: N802
            self.generic_visit(node)
            nothing = ast.arguments([], [], None, [], [], None, [])
            parts = [ast.Lambda(nothing, part) for part in node.values]
            return _call("__all" if isinstance(node.op, ast.And) else "__any", *parts)

        def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:  # noqa: N802
            self.generic_visit(node)
            return _call("__not", node.operand) if isinstance(node.op, ast.Not) else node

        def visit_Compare(self, node: ast.Compare) -> ast.AST:  # noqa: N802
            if isinstance(node.ops[0], ast.Is | ast.IsNot):
                is_none = _call("__is_none", node.left)
                return is_none if isinstance(node.ops[0], ast.Is) else ast.UnaryOp(ast.Not(), is_none)
            return super().visit_Compare(node)  # type: ignore[no-any-return]

    return Typing()


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _scalar(value: Any, kind: Any) -> Any:
    from triton import language as tl

    return tl.tensor(handle(np.array([value]).astype(numpy_type(kind)), kind), kind)


def _is_tensor(value: Any) -> bool:
    from triton import language as tl

    return isinstance(value, tl.tensor)


def _value(value: Any) -> Any:
    """What an assignment makes of a value."""
    from triton import language as tl

    if isinstance(value, tuple | list | tl.tuple):
        return tuple(map(_value, value))
    return interpreter().interpreter_semantic.to_tensor(value, False)


def _loop(arg1: Any, arg2: Any = None, step: Any = 1, **_: Any) -> Iterator[Any]:
    """What `range` and `tl.range` give."""
    from triton import language as tl

    semantic = interpreter().interpreter_semantic
    given = [0 if arg2 is None else arg1, arg1 if arg2 is None else arg2, 1 if step is None else step]
    bounds = [semantic.to_tensor(bound) for bound in given]
    kind = semantic.integer_promote_impl(bounds[0].dtype, bounds[1].dtype)
    kind = semantic.integer_promote_impl(kind, bounds[2].dtype)
    own = numpy_type(kind)
    signed = getattr(tl, f"int{kind.primitive_bitwidth}")  # which the comparison with the end is
    begin, end, by = (int(bound.handle.data.astype(own).view(numpy_type(signed)).item()) for bound in bounds)
    if by == 0 or (by < 0 and _is_tensor(given[2])):
        raise Undefined("the step of a loop must be positive, or a negative constant")
    return (_scalar(index, kind) for index in range(begin, end, by))


def _chosen(test: Any, value: Any) -> Any:
    """What a conditional expression gives that has chosen a value."""
    return _value(value) if _is_tensor(test) else value


def _all(*parts: Callable[[], Any]) -> Any:
    """What `and` gives."""
    return _joined(parts, "logical_and", ends=False)


def _any(*parts: Callable[[], Any]) -> Any:
    """What `or` gives."""
    return _joined(parts, "logical_or", ends=True)


def _joined(parts: tuple[Callable[[], Any], ...], method: str, *, ends: bool) -> Any:
    tensors, value = [], None
    for part in parts:
        value = part()
        if _is_tensor(value):
            tensors.append(value)
        elif bool(value) is ends:
            return value
    while len(tensors) > 1:
        right, left = tensors.pop(), tensors.pop()
        tensors.append(getattr(interpreter().interpreter_semantic, method)(left, right))
    return tensors[0] if tensors else value


def _not(value: Any) -> Any:
    return interpreter().interpreter_semantic.not_(value) if _is_tensor(value) else not value


def _extreme(name: str, *values: Any) -> Any:
    """What `min` and `max` give."""
    from triton import language as tl

    if any(map(_is_tensor, values)):
        return reduce(tl.minimum if name == "min" else tl.maximum, values)
    return getattr(builtins, name)(*values)


def _is_none(value: Any) -> bool:
    from triton import language as tl

    return (value.value if isinstance(value, tl.constexpr) else value) is None


def is_no_quotient(value: Any, by: Any) -> Any:
    """Returns where a quotient of integers is not defined."""
    lowest = np.iinfo(value.data.dtype).min
    return (by.data == 0) | ((value.data == lowest) & (by.data == -1) & (lowest < 0))


def is_too_far(value: Any, by: Any) -> Any:
    """Returns where a shift goes further than there are bits."""
    return (by.data < 0) | (by.data >= value.dtype.scalar.primitive_bitwidth)


def is_too_large(value: Any, kind: Any) -> Any:
    """Returns where a number has no integer of a type."""
    scalar = kind.scalar
    bits, low = scalar.primitive_bitwidth, 0
    if scalar.is_int_signed():
        bits, low = bits - 1, -(1 << (bits - 1))
    whole = np.trunc(widened(value).data.astype(np.float64))
    missing = np.isnan(whole) if whole.size == 1 else False  # of many, some may stand where nothing was loaded
    return (whole < float(low)) | (whole >= float(1 << bits)) | missing


UNDEFINED: dict[str, tuple[str, Callable[..., Any]]] = {
    **dict.fromkeys(
        ("create_sdiv", "create_udiv", "create_srem", "create_urem"),
        ("divides an integer by zero, or the lowest by -1", is_no_quotient),
    ),
    **dict.fromkeys(("create_shl", "create_lshr", "create_ashr"), ("shifts by more than there are bits", is_too_far)),
    **dict.fromkeys(
        ("create_fp_to_si", "create_fp_to_ui"),
        ("makes an integer of a number that is none, or too large for it", is_too_large),
    ),
}
"""Operations of the interpreter, what may be wrong with them, and where it is."""


def defined(plain: Callable[..., Any], problem: str, is_wrong: Callable[..., Any]) -> Callable[..., Any]:
    """Returns an operation of the interpreter that raises Undefined, of one that computes something."""

    def operation(*arguments: Any) -> Any:
        if np.any(is_wrong(*arguments)):
            raise Undefined(f"it {problem}, for which a GPU may do anything")
        return plain(*arguments)

    return operation
