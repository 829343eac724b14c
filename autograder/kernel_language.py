"""What may stand in a lifted kernel. All that is not listed here is refused.

Triton's interpreter runs a kernel's body as plain Python, so the body is held to a small language: arithmetic, loops,
branches, the functions of `triton.language` that compute, and the names that come with the kernel. Nothing in it leads
to a module, to a string that is code, or into Triton's own objects.
"""

import ast
import re
from collections.abc import Collection
from dataclasses import dataclass

MAX_NODES = 4000
"""Of the syntax tree of one function."""

MAX_DEPTH = 40
"""Of expressions and blocks within each other."""

MAX_INTEGER = 1 << 64


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTIONS = _words(
    """
    program_id num_programs arange zeros zeros_like full
    broadcast broadcast_to expand_dims permute trans reshape view ravel join split interleave cat flip squeeze unsqueeze
    load store gather where dot cast
    abs exp exp2 log log2 sin cos sqrt sqrt_rn rsqrt erf floor ceil fma fdiv div_rn umulhi sigmoid softmax
    maximum minimum clamp cdiv swizzle2d
    sum max min argmax argmin xor_sum reduce reduce_or cumsum cumprod associative_scan sort topk histogram
    atomic_add atomic_and atomic_cas atomic_max atomic_min atomic_or atomic_xchg atomic_xor
    rand randn randint
    range static_range static_assert constexpr assume debug_barrier multiple_of max_contiguous max_constancy
    """
)
"""Of `triton.language`."""

TYPES = _words("int1 int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64")
"""Of `triton.language`."""

MATH = _words("abs exp exp2 log log2 sin cos sqrt sqrt_rn rsqrt erf floor ceil fma fdiv div_rn umulhi")
"""Of `triton.language.math`."""

MEMBERS = _words(
    """
    to cast T trans permute reshape view ravel expand_dims broadcast_to split
    shape dtype type element_ty sum max min argmax argmin abs exp exp2 log log2 sqrt
    """
)
"""Attributes and methods of tensors, pointers and types."""

BUILTINS = frozenset({"range", "min", "max", "float"})

RESERVED = frozenset({"tl", "triton", "range", "float", "interpreter_semantic", "_InterpreterComparison"})
"""Names that a kernel may not give to anything of its own: what they mean is settled, here or by the interpreter."""

TEXTS = frozenset({"input_precision", "eviction_policy", "cache_modifier", "padding_option", "sem", "scope"})
"""Keywords that take a text."""

_TEXT = re.compile(r"[\w.]{0,20}", re.ASCII)
_LOOPS = ("range", "tl.range", "tl.static_range")
_OPERATORS = (
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.LShift, ast.RShift),
    *(ast.BitAnd, ast.BitOr, ast.BitXor, ast.USub, ast.UAdd, ast.Not, ast.Invert, ast.And, ast.Or),
    *(ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE),
)
_INSTEAD = {
    ast.Raise: "a kernel cannot raise; if this is the stub, write the kernel in its place",
    ast.Assert: "use tl.static_assert",
    ast.Import: "a kernel uses `tl` alone; it is there",
    ast.ImportFrom: "a kernel uses `tl` alone; it is there",
    ast.FunctionDef: "write the inner function as a @triton.jit function of its own",
    ast.Lambda: "write it as a @triton.jit function of its own",
    ast.Break: "put the condition into `while`",
    ast.Continue: "use `if`, or tl.where",
    ast.Pow: "multiply, or use tl.exp2 and tl.log2",
    ast.JoinedStr: "a kernel has no texts",
    ast.ListComp: "use a loop",
    ast.GeneratorExp: "use a loop",
    ast.Expr: "a line that calls nothing does nothing; if this is the stub, write the kernel in its place",
    ast.Starred: "write the arguments out",
    ast.Is: "use ==; only a parameter that is never assigned can be compared in this way, with None",
    ast.IsNot: "use !=; only a parameter that is never assigned can be compared in this way, with None",
}


class Refused(Exception):  # noqa: N818 - it says what happened
    """A kernel cannot be lifted; the text says why, where, and what to do instead."""


class Refusal(Exception):  # noqa: N818
    """What is wrong with a part of a kernel.

    Attributes:
        node: The part; it has a line number.
    """

    def __init__(self, node: ast.AST, why: str) -> None:
        super().__init__(why)
        self.node = node


@dataclass(frozen=True)
class Uses:
    """What a function needs of its module.

    Attributes:
        names: Names that are not its own, with the place where each is used first.
        assigned: Names that it assigns; parameters are not among them.
    """

    names: dict[str, ast.AST]
    assigned: Collection[str]


def without_docstring(function: ast.FunctionDef) -> list[ast.stmt]:
    """Returns a function's body, from its first statement on."""
    match function.body[0]:
        case ast.Expr(value=ast.Constant(value=str())):
            return function.body[1:]
    return function.body


def is_constexpr(annotation: ast.expr | None) -> bool:
    """Returns whether an annotation is `tl.constexpr`."""
    return annotation is not None and dotted(annotation) == "tl.constexpr"


def is_literal(node: ast.expr) -> bool:
    """Returns whether an expression is a number, a truth value or None, perhaps with a sign, or `float("inf")`."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    if isinstance(node, ast.Call):
        return _is_infinity(node)
    return isinstance(node, ast.Constant) and _is_plain(node.value)


def literal(node: ast.expr) -> float | None:
    """Returns what an expression for which `is_literal` holds stands for."""
    if isinstance(node, ast.UnaryOp):
        positive = literal(node.operand)
        return None if positive is None else -positive
    value: float | None = ast.literal_eval(node.args[0] if isinstance(node, ast.Call) else node)
    return float(value) if isinstance(node, ast.Call) and value is not None else value


def check_function(function: ast.FunctionDef) -> Uses:
    """Holds a function against the language; its decorators and annotations are not looked at.

    Raises:
        Refusal: Something in it does not belong to the language.
    """
    return _Checker(function).check()


class _Checker:
    def __init__(self, function: ast.FunctionDef) -> None:
        self._function = function
        self._parameters = {argument.arg for argument in function.args.args}
        self._assigned: set[str] = set()
        self._names: dict[str, ast.AST] = {}

    def check(self) -> Uses:
        function = self._function
        self._own(function.name, function)
        arguments = function.args
        if arguments.posonlyargs or arguments.kwonlyargs or arguments.vararg or arguments.kwarg:
            raise Refusal(function, "a kernel's parameters are plain names, without `*` and `/`")
        for argument in arguments.args:
            self._own(argument.arg, argument)
        for default in arguments.defaults:
            if not is_literal(default):
                raise Refusal(default, "the default of a parameter is a number")
        count = 0
        for node in ast.walk(function):
            count += 1
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                self._own(node.id, node)
                self._assigned.add(node.id)
        if count > MAX_NODES:
            raise Refusal(function, f"the function is longer than is read here ({count} parts, at most {MAX_NODES})")
        self._block(without_docstring(function), 0)
        return Uses(self._names, self._assigned - self._parameters)

    def _own(self, name: str, node: ast.AST) -> None:
        if name in RESERVED:
            raise Refusal(node, f"`{name}` has a meaning of its own here: take another name")
        self._named(name, node)

    @staticmethod
    def _named(name: str, node: ast.AST) -> None:
        if "__" in name:
            raise Refusal(node, f"`{name}`: a kernel has no names with two underscores in a row")

    def _block(self, body: list[ast.stmt], depth: int) -> None:
        for statement in body:
            self._statement(statement, depth + 1)

    def _statement(self, node: ast.stmt, depth: int) -> None:
        match node:
            case ast.Pass() | ast.Return(value=None):
                pass
            case ast.Return(value=ast.expr() as value):
                self._expression(value, depth)
            case ast.Expr(value=ast.Call() as call):
                self._expression(call, depth)
            case ast.Assign(targets=[target], value=value):
                self._target(target)
                self._expression(value, depth)
            case ast.AugAssign(target=ast.Name(), op=op, value=value):
                self._operator(op, node)
                self._expression(value, depth)
            case ast.AnnAssign(target=ast.Name(), annotation=annotation, value=ast.expr() as value):
                if not is_constexpr(annotation):
                    raise Refusal(node, "an annotation of a variable is `tl.constexpr`, or none")
                self._expression(value, depth)
            case ast.If(test=test, body=body, orelse=orelse):
                self._expression(test, depth)
                self._block(body, depth)
                self._block(orelse, depth)
            case ast.While(test=test, body=body, orelse=[]):
                self._expression(test, depth)
                self._block(body, depth)
            case ast.For(target=ast.Name(), iter=ast.Call(func=loop) as call, body=body, orelse=[]) if (
                dotted(loop) in _LOOPS
            ):
                self._expression(call, depth)
                self._block(body, depth)
            case ast.For(orelse=[]):
                raise Refusal(node, f"a loop runs over one of {', '.join(_LOOPS)}")
            case ast.Assign():
                raise Refusal(node, "assign to one name, or to names with commas between them")
            case _:
                raise _unknown(node)

    def _target(self, target: ast.expr) -> None:
        parts = target.elts if isinstance(target, ast.Tuple) else [target]
        for part in parts:
            if not isinstance(part, ast.Name):
                raise Refusal(target, "only names can be assigned to; memory is written with tl.store")

    def _expression(self, node: ast.expr, depth: int) -> None:
        depth += 1
        if depth > MAX_DEPTH:
            raise Refusal(node, f"it is nested more than {MAX_DEPTH} deep: use variables, or functions")
        match node:
            case ast.Constant(value=value):
                if not _is_plain(value):
                    raise Refusal(node, _about(value))
            case ast.Name(id=name):
                self._name(name, node)
            case ast.Attribute():
                self._attribute(node, depth)
            case ast.Call():
                self._call(node, depth)
            case ast.BinOp(left=left, op=op, right=right):
                self._operator(op, node)
                self._expression(left, depth)
                self._expression(right, depth)
            case ast.UnaryOp(op=op, operand=operand):
                self._operator(op, node)
                self._expression(operand, depth)
            case ast.BoolOp(values=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
                for part in parts:
                    self._expression(part, depth)
            case ast.Compare(
                left=ast.Name(id=name), ops=[ast.Is() | ast.IsNot()], comparators=[ast.Constant(value=None)]
            ) if name in self._parameters - self._assigned:
                pass  # elsewhere the compiler and the interpreter do not agree on what is the same object
            case ast.Compare(left=left, ops=ops, comparators=parts):
                for comparison in ops:
                    self._operator(comparison, node)
                for part in [left, *parts]:
                    self._expression(part, depth)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                for part in (test, body, orelse):
                    self._expression(part, depth)
            case ast.Subscript(value=value, slice=index):
                self._expression(value, depth)
                self._expression(index, depth)
            case ast.Slice(lower=None, upper=None, step=None):
                pass
            case _:
                raise _unknown(node)

    def _name(self, name: str, node: ast.expr) -> None:
        self._named(name, node)
        if name in self._parameters or name in self._assigned:
            return
        if name in RESERVED or name in BUILTINS:
            raise Refusal(node, f"`{name}` cannot stand alone here")
        self._names.setdefault(name, node)

    def _attribute(self, node: ast.Attribute, depth: int) -> None:
        path, name = dotted(node.value), node.attr
        if path == "tl":
            if name not in FUNCTIONS | TYPES:
                raise Refusal(node, f"`tl.{name}` is not among what a lifted kernel may use")
        elif path == "tl.math":
            if name not in MATH:
                raise Refusal(node, f"`tl.math.{name}` is not among what a lifted kernel may use")
        elif name not in MEMBERS:
            raise Refusal(node, f"`.{name}` is not among what a lifted kernel may use")
        else:
            self._expression(node.value, depth)

    def _call(self, node: ast.Call, depth: int) -> None:
        if _is_infinity(node):
            return
        called = dotted(node.func)
        own = called in self._parameters or called in self._assigned
        if isinstance(node.func, ast.Attribute):
            self._attribute(node.func, depth)
        elif not isinstance(node.func, ast.Name) or own or called == "float":
            raise Refusal(node, "call functions of `tl`, methods of tensors, and @triton.jit functions by their names")
        elif called not in BUILTINS:
            self._name(node.func.id, node)
        arguments = node.args
        if called == "tl.static_assert" and arguments and isinstance(arguments[-1], ast.Constant):
            arguments = arguments[:-1] if isinstance(arguments[-1].value, str) else arguments
        for argument in arguments:
            self._expression(argument, depth)
        for keyword in node.keywords:
            self._keyword(keyword, node, depth)

    def _keyword(self, keyword: ast.keyword, node: ast.Call, depth: int) -> None:
        name, value = keyword.arg, keyword.value
        if name is None:
            raise Refusal(node, "write the arguments out")
        if name.startswith("_"):
            raise Refusal(node, f"`{name}=`: keywords do not begin with an underscore")
        if isinstance(value, ast.Constant) and isinstance(value.value, str) and name in TEXTS:
            if not _TEXT.fullmatch(value.value):
                raise Refusal(node, f"{value.value!r:.40} is no value of `{name}`")
        else:
            self._expression(value, depth)

    @staticmethod
    def _operator(op: ast.AST, node: ast.AST) -> None:
        if not isinstance(op, _OPERATORS):
            raise _unknown(op, node)


def dotted(node: ast.AST) -> str:
    """Returns `a.b.c` of such an expression; nothing of another."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _is_infinity(node: ast.Call) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value=str() as text)], keywords=[]):
            return text in ("inf", "-inf", "nan")
    return False


def _is_plain(value: object) -> bool:
    return value is None or type(value) in (bool, float) or (type(value) is int and value < MAX_INTEGER)


def _about(value: object) -> str:
    if type(value) is int:
        return "the number has more than 64 bits"
    return "a text can stand only where Triton wants one, as in input_precision='ieee'"


def _unknown(node: ast.AST, place: ast.AST | None = None) -> Refusal:
    kind = type(node)
    instead = next((text for known, text in _INSTEAD.items() if kind is known), "")
    return Refusal(
        place or node, f"{kind.__name__} is not part of a lifted kernel" + (f": {instead}" if instead else "")
    )
