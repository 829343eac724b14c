"""All that is changed in Triton so that kernels run on a CPU, each change by its name.

The changes last as long as one launch: between launches nothing of Triton is other than it was, but for what
`triton_cpu` has installed to find out which tensors are on a CPU.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from workbook.gpu import triton_bfloat16, triton_flops, triton_libdevice
from workbook.gpu.triton_counts import Counts
from workbook.gpu.triton_memory import Memory
from workbook.gpu.triton_numbers import UNDEFINED, defined
from workbook.gpu.triton_private import Scope, handle, interpreter, is_library, language


class Launched:
    """What the changes need of a launch.

    Attributes:
        memory: Of the kernel.
        counts: What it does.
        function: Gives the Python function that stands for one of `@triton.jit`.
    """

    def __init__(self, memory: Memory, counts: Counts, function: Callable[[Any], Callable[..., Any]]) -> None:
        self.memory, self.counts, self.function = memory, counts, function


@contextmanager
def applied(launched: Launched) -> Iterator[None]:
    """Makes the changes, for the block."""
    scope = Scope()
    with language():
        try:
            for patch in PATCHES.values():
                patch(scope, interpreter().interpreter_builder, launched)
            yield
        finally:
            scope.restore()


def _size(pointers: Any) -> int:
    """Returns the bytes of an element that is pointed to."""
    return max(1, int(pointers.get_element_ty().primitive_bitwidth) // 8)


def _memory(scope: Scope, builder: Any, launched: Launched) -> None:
    """Addresses are checked, counted, and made into real ones."""
    memory = launched.memory
    load, store = builder.create_masked_load, builder.create_masked_store
    exchange, update = builder.create_atomic_cas, builder.create_atomic_rmw

    def masked_load(ptrs: Any, mask: Any, other: Any, cache_policy: Any, is_volatile: Any) -> Any:
        real = memory.reads(ptrs.data, mask.data, _size(ptrs))
        return load(handle(real, ptrs.dtype), mask, other, cache_policy, is_volatile)

    def masked_store(ptrs: Any, value: Any, mask: Any, cache_policy: Any) -> Any:
        return store(handle(memory.writes(ptrs.data, mask.data, _size(ptrs)), ptrs.dtype), value, mask, cache_policy)

    def atomic_cas(ptr: Any, *rest: Any) -> Any:
        return exchange(handle(memory.exchanges(ptr.data, _size(ptr)), ptr.dtype), *rest)

    def atomic_rmw(operation: Any, ptr: Any, value: Any, mask: Any, *rest: Any) -> Any:
        real = handle(memory.updates(ptr.data, mask.data, _size(ptr)), ptr.dtype)
        return update(operation, real, value, mask, *rest)

    scope.set(builder, "create_masked_load", masked_load)
    scope.set(builder, "create_masked_store", masked_store)
    scope.set(builder, "create_atomic_cas", atomic_cas)
    scope.set(builder, "create_atomic_rmw", atomic_rmw)


def _masked_lanes(scope: Scope, builder: Any, launched: Launched) -> None:  # noqa: ARG001
    """Where a mask keeps a load from reading, and nothing says what to take instead, there is what a sum shows."""
    load = builder.create_masked_load

    def masked_load(ptrs: Any, mask: Any, other: Any, *rest: Any, **named: Any) -> Any:
        loaded = load(ptrs, mask, other, *rest, **named)
        if other is not None or mask.data.all():
            return loaded
        return handle(np.where(mask.data, loaded.data, _spoilt(loaded)), loaded.dtype)

    scope.set(builder, "create_masked_load", masked_load)


def _spoilt(value: Any) -> Any:
    """Returns NaN, or the largest integer, of a value's type."""
    if triton_bfloat16.is_bfloat16(value):
        return np.uint16(0x7FFF)
    kind = value.data.dtype
    if kind.kind in "fb":
        return kind.type(np.nan if kind.kind == "f" else True)
    return kind.type(np.iinfo(kind).max)


def _flops(scope: Scope, builder: Any, launched: Launched) -> None:
    """Floating-point operations are counted."""
    for name in ("binary_op", "unary_op"):
        scope.set(builder, name, triton_flops.operation(getattr(builder, name), launched.counts))
    for name, each in (("create_erf", 1), ("create_rsqrt", 1), ("create_fma", 2), ("create_extern_elementwise", 1)):
        scope.set(builder, name, triton_flops.function(getattr(builder, name), launched.counts, each))
    scope.set(builder, "create_dot", triton_flops.dot(builder.create_dot, launched.counts))
    scope.set(builder, "create_dot_scaled", triton_flops.scaled_dot(builder.create_dot_scaled, launched.counts))


def _flops_of_reductions(scope: Scope, builder: Any, launched: Launched) -> None:  # noqa: ARG001
    """Those of sums and extremes are counted, which the interpreter computes with one call of numpy."""
    for owner, names in _SHORTCUTS.items():
        for name in names:
            kind = getattr(interpreter(), owner)
            scope.set(kind, name, _counted(getattr(kind, name), launched))


def _counted(plain: Callable[..., Any], launched: Launched) -> Callable[..., Any]:
    def combined(self: Any, given: Any, **named: Any) -> Any:
        result = plain(self, given, **named)
        first = given[0] if isinstance(given, tuple) else given
        before = first.handle.data.size
        rows = before // (before if self.axis is None else max(1, first.handle.data.shape[self.axis]))
        triton_flops.combination(before, rows, first.dtype.is_floating(), launched.counts)
        return result

    return combined


_SHORTCUTS = {"ReduceOps": ("sum", "min_max"), "ScanOps": ("cumsum", "cumprod")}


def _bfloat16_arithmetic(scope: Scope, builder: Any, launched: Launched) -> None:  # noqa: ARG001
    """Arithmetic of bfloat16 is not that of its bits."""
    for name in ("binary_op", "unary_op", "ternary_op"):
        scope.set(builder, name, triton_bfloat16.elementwise(getattr(builder, name)))
    scope.set(builder, "create_fma", triton_bfloat16.fused(builder.create_fma))


def _bfloat16_casts(scope: Scope, builder: Any, launched: Launched) -> None:  # noqa: ARG001
    """Casts to bfloat16 round to nearest even; those from it do not take its bits for a number."""
    scope.set(builder, "cast_impl", triton_bfloat16.cast(builder.cast_impl))
    scope.set(builder, "create_fp_to_fp", triton_bfloat16.float_to_float(builder.create_fp_to_fp))


def _bfloat16_dot(scope: Scope, builder: Any, launched: Launched) -> None:  # noqa: ARG001
    """The factors of `tl.dot` may be of bfloat16."""
    scope.set(builder, "create_dot", triton_bfloat16.dot(builder.create_dot))


def _bfloat16_atomics(scope: Scope, builder: Any, launched: Launched) -> None:  # noqa: ARG001
    """`tl.atomic_add` adds numbers of bfloat16; no other atomic operation takes them."""
    update = builder.create_atomic_rmw

    def atomic_rmw(operation: Any, ptr: Any, value: Any, mask: Any, *rest: Any) -> Any:
        if triton_bfloat16.is_bfloat16(value):
            return triton_bfloat16.atomic_add(ptr, value, mask)
        return update(operation, ptr, value, mask, *rest)

    scope.set(builder, "create_atomic_rmw", atomic_rmw)


def _bfloat16_reductions(scope: Scope, builder: Any, launched: Launched) -> None:  # noqa: ARG001
    """Sums and extremes of bfloat16 are rounded as they go."""
    from triton import language as tl

    reduce, scan = interpreter().ReduceOps, interpreter().ScanOps

    def tensor(value: Any) -> Any:
        shape = list(value.data.shape)
        return tl.tensor(value, tl.block_type(tl.bfloat16, shape) if shape else tl.bfloat16)

    def reducing(plain: Callable[..., Any], combine: Any) -> Callable[..., Any]:
        def reduced(self: Any, given: Any, **named: Any) -> Any:
            first = given[0] if isinstance(given, tuple) else given
            if not triton_bfloat16.is_bfloat16(first.handle):
                return plain(self, given, **named)
            function = combine or {np.nanmax: np.fmax, np.nanmin: np.fmin}[named["val_reduce_op"]]
            result = triton_bfloat16.reduced(first.handle, self.axis, function)
            if self.keep_dims:
                whole = first.handle.data.shape
                shape = [1 if self.axis in (None, axis) else count for axis, count in enumerate(whole)]
                result = handle(result.data.reshape(shape), result.dtype)
            if named.get("idx_reduce_op") is None:
                return tensor(result)
            wide = tl.tensor(triton_bfloat16.widened(first.handle), tl.block_type(tl.float32, list(first.shape)))
            return tensor(result), plain(self, wide, None, named["idx_reduce_op"])

        return reduced

    def scanning(plain: Callable[..., Any], combine: Any) -> Callable[..., Any]:
        def scanned(self: Any, given: Any) -> Any:
            if not triton_bfloat16.is_bfloat16(given.handle):
                return plain(self, given)
            return [tensor(triton_bfloat16.scanned(given.handle, self.axis, combine))]

        return scanned

    scope.set(reduce, "sum", reducing(reduce.sum, np.add))
    scope.set(reduce, "min_max", reducing(reduce.min_max, None))
    scope.set(scan, "cumsum", scanning(scan.cumsum, np.add))
    scope.set(scan, "cumprod", scanning(scan.cumprod, np.multiply))


def _undefined(scope: Scope, builder: Any, launched: Launched) -> None:  # noqa: ARG001
    """What has no defined result raises Undefined."""
    for name, (problem, is_wrong) in UNDEFINED.items():
        scope.set(builder, name, defined(getattr(builder, name), problem, is_wrong))


def _combining_functions(scope: Scope, builder: Any, launched: Launched) -> None:  # noqa: ARG001
    """The functions that reductions and scans are given are run as all others of a kernel."""
    owner = interpreter().ReduceScanOpInterface
    plain = owner.apply

    def apply(self: Any, given: Any) -> Any:
        if not isinstance(self.combine_fn, SimpleNamespace) and not is_library(self.combine_fn):
            self.combine_fn = SimpleNamespace(fn=launched.function(self.combine_fn))
        return plain(self, given)

    scope.set(owner, "apply", apply)


def _libdevice(scope: Scope, builder: Any, launched: Launched) -> None:  # noqa: ARG001
    """CUDA's libdevice is there, by the name that a kernel has for it on any GPU too."""
    from triton.language import core
    from triton.language.extra import libdevice
    from triton.language.extra.cuda import libdevice as cuda

    scope.set(builder, "create_extern_elementwise", triton_libdevice.elementwise)
    semantic = interpreter().interpreter_semantic
    for name, function in list(vars(cuda).items()):
        if core.is_builtin(function):
            known = _with_semantic(function, semantic)
            for module in (cuda, libdevice):
                scope.set(module, name, known)


def _with_semantic(function: Callable[..., Any], semantic: Any) -> Callable[..., Any]:
    def called(*arguments: Any) -> Any:
        return function(*arguments, _semantic=semantic)

    return called


def _static_assert(scope: Scope, builder: Any, launched: Launched) -> None:  # noqa: ARG001
    """An assertion that fails is an error of the compiler here too: autotuning goes on to the next configuration."""
    import triton.language as tl
    from triton.compiler.errors import CompileTimeAssertionFailure

    def static_assert(condition: Any, message: Any = "") -> None:
        if not condition:
            failure = CompileTimeAssertionFailure(None, None)
            failure.message = f"static_assert failed: {message}"  # by itself it says that there is no source
            raise failure

    for module in (tl, tl.core):
        scope.set(module, "static_assert", static_assert)


PATCHES: dict[str, Callable[[Scope, Any, Launched], None]] = {
    "libdevice": _libdevice,
    "flops": _flops,
    "bfloat16 arithmetic": _bfloat16_arithmetic,
    "bfloat16 casts": _bfloat16_casts,
    "bfloat16 dot": _bfloat16_dot,
    "bfloat16 atomics": _bfloat16_atomics,
    "bfloat16 reductions": _bfloat16_reductions,
    "flops of reductions": _flops_of_reductions,
    "memory": _memory,
    "masked lanes": _masked_lanes,
    "undefined": _undefined,
    "combining functions": _combining_functions,
    "static_assert": _static_assert,
}
"""In the order in which they are made: a later one may stand upon an earlier."""
