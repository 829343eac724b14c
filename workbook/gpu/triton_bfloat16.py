"""bfloat16 as a GPU computes it, for Triton's interpreter, which keeps it as integers and computes with those.

Each operation is made in float32 (or wider, where that is not exact) and rounded once, to nearest, ties to even.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from workbook.gpu.triton_private import handle, interpreter, numpy_type

_NAN = 0x7FFF  # which a GPU gives


def is_bfloat16(value: Any) -> bool:
    """Returns whether the interpreter's value is of bfloat16; what was compared has another type than it says."""
    from triton import language as tl

    return bool(value.dtype.scalar == tl.bfloat16 and value.data.dtype == np.uint16)


def widened(value: Any) -> Any:
    """Returns a value in float32, if it is of bfloat16, or else as it is."""
    from triton import language as tl

    if not isinstance(value, interpreter().TensorHandle) or not is_bfloat16(value):
        return value
    return handle((value.data.astype(np.uint32) << 16).view(np.float32), tl.float32)


def rounded(data: Any, *, toward_zero: bool = False) -> Any:
    """Returns numbers in bfloat16."""
    from triton import language as tl

    bits = np.ascontiguousarray(_float32(data)).view(np.uint32).reshape(np.shape(data))
    up = 0 if toward_zero else 0x7FFF + ((bits >> 16) & 1)
    short = ((bits + up) >> 16).astype(np.uint16)
    return handle(np.where(np.isnan(data), np.uint16(_NAN), short), tl.bfloat16)


def _float32(data: Any) -> Any:
    """Returns numbers in float32; for those it lacks, the neighbour with an odd last bit, so none is rounded twice."""
    if data.dtype in (np.float32, np.float16, np.bool_) or data.dtype.itemsize == 1:
        return data.astype(np.float32)
    wide = data.astype(np.float64)
    near = wide.astype(np.float32)
    bits = near.view(np.uint32)
    beyond = np.abs(near.astype(np.float64)) > np.abs(wide)
    odd = (bits - beyond) | 1
    return np.where((near == wide) | np.isnan(wide), bits, odd).astype(np.uint32).view(np.float32)


def elementwise(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Returns an operation of the interpreter that takes bfloat16 too, of one that does not."""

    def operation(*values: Any) -> Any:
        if not any(isinstance(value, interpreter().TensorHandle) and is_bfloat16(value) for value in values):
            return plain(*values)
        result = plain(*map(widened, values))
        return rounded(result.data) if result.data.dtype == np.float32 else result

    return operation


def fused(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Returns fused multiply-add likewise; float64 holds its result before it is rounded, or all that counts of it."""

    def fma(x: Any, y: Any, z: Any) -> Any:
        if not is_bfloat16(z):
            return plain(x, y, z)
        x, y, z = (widened(value).data.astype(np.float64) for value in (x, y, z))
        return rounded(x * y + z)

    return fma


def cast(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the cast between types likewise."""
    from triton import language as tl

    def to(value: Any, kind: Any) -> Any:
        if kind.scalar == tl.bfloat16:
            return value if is_bfloat16(value) else rounded(value.data)
        return plain(widened(value), kind)

    return to


def float_to_float(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the cast that says how it rounds likewise."""
    from triton import language as tl

    def to(value: Any, kind: Any, rounding: Any) -> Any:
        source, target = value.dtype.scalar, kind.scalar
        if target == tl.bfloat16 and source in (tl.float16, tl.float32, tl.float64):
            return rounded(value.data, toward_zero=rounding == interpreter()._ir.ROUNDING_MODE.RTZ)
        if source == tl.bfloat16 and target in (tl.float16, tl.float32, tl.float64):
            wide = widened(value)
            return wide if target == tl.float32 else handle(wide.data.astype(numpy_type(target)), target)
        return plain(value, kind, rounding)

    return to


def dot(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the matrix product likewise: its factors are exact, and its sums are of the type that it adds to."""

    def product(left: Any, right: Any, *rest: Any) -> Any:
        return plain(widened(left), widened(right), *rest)

    return product


def reduced(data: Any, axis: int | None, combine: Any) -> Any:
    """Returns a reduction in which each step is rounded, in a tree as on a GPU.

    Args:
        data: In bfloat16.
        axis: Along which it goes; None for all.
        combine: A function of numpy, of two arguments.
    """
    wide = widened(data).data
    wide = wide.reshape(-1) if axis is None else np.moveaxis(wide, axis, 0)
    while (count := wide.shape[0]) > 1:
        half = count // 2
        pairs = widened(rounded(combine(wide[:half], wide[half : 2 * half]))).data
        wide = np.concatenate([pairs, wide[2 * half :]])
    return rounded(wide[0])


def scanned(data: Any, axis: int, combine: Any) -> Any:
    """Returns what goes before each element, and itself, combined likewise."""
    wide = np.moveaxis(widened(data).data, axis, 0).copy()
    step = 1
    while step < wide.shape[0]:
        wide[step:] = widened(rounded(combine(wide[step:], wide[:-step]))).data
        step *= 2
    return handle(np.ascontiguousarray(np.moveaxis(rounded(wide).data, 0, axis)), data.dtype)


def atomic_add(addresses: Any, value: Any, mask: Any) -> Any:
    """Adds to memory, one lane after the other, and returns what was there; the addresses are real ones."""
    memory = interpreter()._interpreter
    before = np.zeros(addresses.data.shape, np.uint16)
    for place in np.ndindex(addresses.data.shape):
        if not np.broadcast_to(mask.data, addresses.data.shape)[place]:
            continue
        one, there = addresses.data[place].reshape(1), np.ones(1, bool)
        before[place] = memory.load(one, there, np.zeros(1, np.uint16), np.dtype(np.uint16))[0]
        old = widened(handle(before[place].reshape(1), value.dtype)).data
        term = widened(handle(np.broadcast_to(value.data, addresses.data.shape)[place].reshape(1), value.dtype)).data
        memory.store(one, rounded(old + term).data, there)
    return handle(before, value.dtype.scalar)
