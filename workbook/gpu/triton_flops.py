"""Counts the floating-point operations of a kernel that runs on a CPU."""

from collections.abc import Callable
from typing import Any

import numpy as np

from workbook.gpu.triton_counts import Counts

_BINARY = (np.add, np.subtract, np.multiply, np.divide, np.fmod, np.minimum, np.fmin, np.maximum, np.fmax)
_UNARY = (np.exp, np.exp2, np.log, np.log2, np.sin, np.cos, np.sqrt)


def operation(plain: Callable[..., Any], counts: Counts) -> Callable[..., Any]:
    """Returns `unary_op` or `binary_op` of the interpreter, which counts; numpy's function is the last argument."""

    def counted(*arguments: Any) -> Any:
        result = plain(*arguments)
        if arguments[-1] in _BINARY or arguments[-1] in _UNARY:
            counts.flops += _elements(result)
        return result

    return counted


def function(plain: Callable[..., Any], counts: Counts, each: int) -> Callable[..., Any]:
    """Returns a function of the interpreter that counts `each` for each element of its result."""

    def counted(*arguments: Any) -> Any:
        result = plain(*arguments)
        counts.flops += each * _elements(result)
        return result

    return counted


def dot(plain: Callable[..., Any], counts: Counts) -> Callable[..., Any]:
    """Returns the matrix product, which counts."""

    def counted(left: Any, right: Any, *rest: Any) -> Any:
        counts.dot_flops += 2 * left.data.size * right.data.shape[-1]
        return plain(left, right, *rest)

    return counted


def scaled_dot(plain: Callable[..., Any], counts: Counts) -> Callable[..., Any]:
    """Returns the matrix product of factors with scales, which counts. The left one may hold two numbers in a byte."""

    def counted(*arguments: Any) -> Any:
        result = plain(*arguments)
        packed = "E2M1" in str(arguments[2]) and arguments[7]
        inner = arguments[0].data.shape[-1] * (2 if packed else 1)
        counts.dot_flops += 2 * result.data.size * inner
        return result

    return counted


def combination(before: int, after: int, is_floating: bool, counts: Counts) -> None:
    """Counts a reduction, or another way to combine elements, of `before` to `after` results."""
    if is_floating:
        counts.flops += before - after


def _elements(result: Any) -> int:
    return int(result.data.size) if result.data.dtype.kind == "f" else 0
