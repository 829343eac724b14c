"""Runs a kernel on the CPU, one program after the other, in Triton's interpreter."""

import ast
import threading
import types
import warnings
import weakref
from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Any

import numpy as np

from workbook.gpu import triton_numbers, triton_patches
from workbook.gpu.triton_counts import Counts
from workbook.gpu.triton_faults import KernelFault
from workbook.gpu.triton_memory import Memory
from workbook.gpu.triton_private import handle, interpreter, is_library
from workbook.gpu.triton_signature import type_of

_codes: "weakref.WeakKeyDictionary[Any, types.CodeType]" = weakref.WeakKeyDictionary()
_running = threading.local()
_turn = threading.Lock()  # the interpreter keeps the place in the grid in one object


class Launch:
    """One launch of a kernel."""

    def __init__(self, kernel: Any, counts: Counts) -> None:
        self._kernel = kernel
        self._counts = counts
        self._memory = Memory(counts)
        self._functions: dict[Any, Callable[..., Any]] = {}
        self._owners: dict[types.CodeType, Any] = {}

    def run(self, grid: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], order: Random | None) -> None:
        """Runs all programs.

        Args:
            grid: How many there are, in up to three dimensions, or a function that tells it from the arguments.
            arguments: Of the kernel.
            keywords: Of the kernel, and options of the compiler, which have no meaning here.
            order: Draws the order in which the programs run; otherwise they run by their numbers.

        Raises:
            KernelFault: The kernel does what it must not.
        """
        bound = self._bound(arguments, keywords)
        for hook in self._kernel.pre_run_hooks:
            hook(*arguments, **keywords)
        sizes = grid(bound) if callable(grid) else grid
        sizes = (*(int(size) for size in sizes), 1, 1, 1)[: max(3, len(sizes))]
        if len(sizes) > 3:
            raise ValueError("a grid has at most three dimensions")
        programs = list(np.ndindex(*sizes))
        if order is not None:
            order.shuffle(programs)
        builder = interpreter().interpreter_builder
        launched = triton_patches.Launched(self._memory, self._counts, self.function)
        self._counts.launches += 1
        with _turn, np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of numpy, about numbers that are NaN
            _running.launch = self
            try:
                with triton_patches.applied(launched):
                    constants = {parameter.name for parameter in self._kernel.params if parameter.is_constexpr}
                    given = {
                        name: value if name in constants else self._argument(name, value)
                        for name, value in bound.items()
                    }
                    function = self.function(self._kernel)
                    builder.set_grid_dim(*sizes)
                    for program in programs:
                        builder.set_grid_idx(*program)
                        self._program(function, given, program)
            finally:
                _running.launch = None

    def _program(self, function: Callable[..., Any], given: dict[str, Any], program: tuple[int, ...]) -> None:
        self._counts.programs += 1
        try:
            function(**given)
        except KernelFault as fault:
            fault.program = tuple(program)
            if (place := self._place(fault)) is not None:
                fault.kernel, fault.line_number, fault.line = place
            raise

    def _place(self, error: BaseException) -> tuple[str, int, str] | None:
        """Returns the function and the line that an error comes from, the innermost that is not Triton's own."""
        place, step = None, error.__traceback__
        while step is not None:
            if (owner := self._owners.get(step.tb_frame.f_code)) is not None:
                number = step.tb_lineno
                line = owner.src.splitlines()[number - owner.def_file_line_number].strip()
                place = owner.__name__, number, line
            step = step.tb_next
        return place

    def _bound(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> dict[str, Any]:
        """Returns the values of the parameters."""
        names = set(self._kernel.arg_names)
        for name in keywords:
            if name not in names and name not in _options():
                raise KeyError(f"Keyword argument {name} was specified but unrecognised")  # as on a GPU
        own = {name: value for name, value in keywords.items() if name in names}
        bound = self._kernel.signature.bind(*arguments, **own)
        bound.apply_defaults()
        return dict(bound.arguments)

    def _argument(self, name: str, value: Any) -> Any:
        """Returns a value as the kernel gets it."""
        from triton import language as tl
        from triton.runtime.jit import TensorWrapper
        from triton.tools.tensor_descriptor import TensorDescriptor

        if isinstance(value, int | float):
            return triton_numbers.number(value, type_of(value))
        if isinstance(value, TensorDescriptor):
            return self._descriptor(name, value)
        if isinstance(value, tuple):
            return interpreter()._tuple_create(
                value, [self._argument(f"{name}[{index}]", item) for index, item in enumerate(value)]
            )
        if hasattr(value, "data_ptr"):
            kind = tl.str_to_ty(interpreter().triton.runtime.jit.mangle_type(value), None)
            tensor = value.base if isinstance(value, TensorWrapper) else value
            return tl.tensor(handle(np.array([self._memory.add(name, tensor)], np.uint64), kind), kind)
        return value  # None, or what only a `tl.constexpr` could be; the kernel will fail on it

    def _descriptor(self, name: str, given: Any) -> Any:
        """Returns a descriptor for blocks of a tensor."""
        from triton import language as tl

        *outer, _ = given.strides
        made = interpreter().interpreter_semantic.make_tensor_descriptor(
            base=self._argument(name, given.base),
            shape=[triton_numbers.number(size, "i32") for size in given.shape],
            strides=[*(triton_numbers.number(stride, "i64") for stride in outer), tl.constexpr(1)],
            block_shape=[tl.constexpr(size) for size in given.block_shape],
            padding_option=given.padding,
        )
        made.handle.round_f32_to_tf32 = given.round_f32_to_tf32
        return made

    def function(self, kernel: Any) -> Callable[..., Any]:
        """Returns the Python function that stands for one of `@triton.jit`."""
        if (known := self._functions.get(kernel.fn)) is not None:
            return known
        namespace = {**triton_numbers.meanings(), **kernel.get_capture_scope(), **_meanings()}
        exec(_code(kernel), namespace)  # noqa: S102 - it is the kernel
        function: Callable[..., Any] = namespace[kernel.fn.__name__]
        self._functions[kernel.fn] = function
        if not is_library(kernel):
            self._owners[function.__code__] = kernel
            _replace_libdevice(function.__code__, namespace)
        return function


def current() -> Launch | None:
    """Returns the launch that is under way in this thread."""
    return getattr(_running, "launch", None)


def _code(kernel: Any) -> types.CodeType:
    """Returns a module's code that defines the function, as it is run here; its lines are those of the source."""
    if (known := _codes.get(kernel.fn)) is not None:
        return known
    tree = kernel.parse()
    function = tree.body[0]
    for node in ast.walk(function.args):
        if isinstance(node, ast.arg):
            node.annotation = None
    function.returns, function.decorator_list = None, []
    tree = (interpreter().ASTTransformer() if is_library(kernel) else triton_numbers.transformer()).visit(tree)
    ast.increment_lineno(ast.fix_missing_locations(tree), kernel.def_file_line_number - 1)
    code = compile(tree, kernel.file_name, "exec")
    _codes[kernel.fn] = code
    return code


def _meanings() -> dict[str, Any]:
    """Returns what the names mean that Triton's own changes of a kernel use, and those that no kernel can change."""
    own = {name: meaning for name, meaning in triton_numbers.meanings().items() if name.startswith("__")}
    private = {name: getattr(interpreter(), name) for name in ("interpreter_semantic", "_InterpreterComparison")}
    return own | private


@cache
def _options() -> frozenset[str]:
    """Returns the names of the compiler's options."""
    from triton.backends.nvidia.compiler import CUDAOptions

    return frozenset(CUDAOptions.__dataclass_fields__)


def _replace_libdevice(code: types.CodeType, namespace: dict[str, Any]) -> None:
    """Lets functions of libdevice that were imported by their names be those that can be called now."""
    from triton.language.extra import libdevice

    for name in _names(code):
        value: Any = namespace.get(name)
        if getattr(value, "__module__", "") in (libdevice.__name__, "triton.language.extra.cuda.libdevice"):
            namespace[name] = getattr(libdevice, value.__name__)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
