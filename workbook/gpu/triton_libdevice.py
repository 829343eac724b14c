"""CUDA's libdevice on a CPU: what its functions give, computed in float64 and rounded once.

A GPU may be a few units in the last place off; the `fast_` functions may be further off.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from workbook.gpu.code import NotRunError
from workbook.gpu.triton_private import handle, numpy_type

_Function = Callable[..., Any]


def _special(name: str) -> _Function:
    """Returns a function of torch.special for arrays."""

    def function(*values: Any) -> Any:
        import torch

        tensors = [torch.from_numpy(np.array(value, np.float64)) for value in values]
        return getattr(torch.special, name)(*tensors).numpy()

    return function


def _each(function: Callable[..., float], kind: Any = np.float64) -> _Function:
    """Returns a function of numbers for arrays."""
    return np.vectorize(function, otypes=[kind])


def _gamma(value: float) -> float:
    try:
        return math.gamma(value)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.copysign(math.inf, value) if value == 0 else math.nan


def _round(value: Any) -> Any:
    return np.copysign(np.floor(np.abs(value) + 0.5), value)


def _bits(value: Any) -> Any:
    return value.view(f"u{value.dtype.itemsize}")


def _norm(*values: Any) -> Any:
    return np.sqrt(sum(np.square(value) for value in values))


def _leading(value: int, width: int) -> int:
    return width - int(value).bit_length()


def _lowest(value: int) -> int:
    return (int(value) & -int(value)).bit_length()


def _reversed(value: int, width: int) -> int:
    return int(f"{int(value):0{width}b}"[::-1], 2)


def _high(left: Any, right: Any) -> Any:
    """Returns the upper half of a product of integers."""
    width = left.dtype.itemsize * 8
    product = left.astype(object) * right.astype(object) >> width
    return (product & ((1 << width) - 1)).astype(f"u{width // 8}").view(left.dtype)


_MATHEMATICS: dict[str, _Function] = {
    **{
        name: getattr(np, name)
        for name in (
            *("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p"),
            *("sqrt", "cbrt", "floor", "ceil", "trunc", "rint", "fabs", "hypot", "fmod", "copysign", "nextafter"),
        )
    },
    **{f"a{name}": getattr(np, f"arc{name}") for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "tan2")},
    **{name: _special(name) for name in ("erf", "erfc", "erfinv", "erfcx")},
    "erfcinv": lambda x: _special("erfinv")(1 - x),
    "normcdf": _special("ndtr"),
    "normcdfinv": _special("ndtri"),
    "lgamma": _special("gammaln"),
    "tgamma": _each(_gamma),
    "j0": _special("bessel_j0"),
    "j1": _special("bessel_j1"),
    "y0": _special("bessel_y0"),
    "y1": _special("bessel_y1"),
    "cyl_bessel_i0": _special("i0"),
    "cyl_bessel_i1": _special("i1"),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "rcbrt": lambda x: 1 / np.cbrt(x),
    "exp10": lambda x: np.power(10.0, x),
    "sinpi": lambda x: np.sin(np.pi * np.fmod(x, 2)),
    "cospi": lambda x: np.cos(np.pi * np.fmod(x, 2)),
    "saturate": lambda x: np.where(np.isnan(x), 0, np.clip(x, 0, 1)),
    "nearbyint": np.rint,
    "round": _round,
    "pow": np.power,
    "powi": np.power,
    "remainder": _each(lambda x, y: math.remainder(x, y) if y and math.isfinite(x) else math.nan),
    "fdim": lambda x, y: np.where(np.isnan(x) | np.isnan(y), np.nan, np.maximum(x - y, 0)),
    "fma": lambda x, y, z: x * y + z,
    "rhypot": lambda x, y: 1 / np.hypot(x, y),
    "norm3d": _norm,
    "norm4d": _norm,
    "rnorm3d": lambda *values: 1 / _norm(*values),
    "rnorm4d": lambda *values: 1 / _norm(*values),
    "ldexp": np.ldexp,
    "scalbn": np.ldexp,
    "logb": lambda x: np.floor(np.log2(np.abs(x))),
    "fast_fdivide": np.divide,
}
"""Of floats, in float64."""

_ROUNDED: dict[str, _Function] = {
    "add_rn": np.add,
    "sub_rn": np.subtract,
    "mul_rn": np.multiply,
    "div_rn": np.divide,
    "sqrt_rn": np.sqrt,
    "rcp_rn": np.reciprocal,
    "rsqrt_rn": lambda x: 1 / np.sqrt(x),
}
"""Likewise; their symbols begin with f or d, for the type."""

_BITWISE: dict[str, _Function] = {
    "clz": _each(lambda x: _leading(x & 0xFFFFFFFF, 32), np.int32),
    "clzll": _each(lambda x: _leading(x & 0xFFFFFFFFFFFFFFFF, 64), np.int32),
    "popc": lambda x: np.bitwise_count(_bits(x)),
    "popcll": lambda x: np.bitwise_count(_bits(x)),
    "ffs": _each(_lowest, np.int32),
    "ffsll": _each(_lowest, np.int32),
    "brev": lambda x: _each(lambda bits: _reversed(bits, 32), np.uint32)(_bits(x)).view(x.dtype),
    "brevll": lambda x: _each(lambda bits: _reversed(bits, 64), np.uint64)(_bits(x)).view(x.dtype),
    "abs": np.abs,
    "llabs": np.abs,
    **dict.fromkeys(("mulhi", "umulhi", "mul64hi", "umul64hi"), _high),
    "hadd": lambda x, y: (x.astype(np.int64) + y) >> 1,
    "uhadd": lambda x, y: (x.astype(np.int64) + y) >> 1,
    "rhadd": lambda x, y: (x.astype(np.int64) + y + 1) >> 1,
    "urhadd": lambda x, y: (x.astype(np.int64) + y + 1) >> 1,
    "sad": lambda x, y, z: np.abs(x.astype(np.int64) - y) + z,
    "usad": lambda x, y, z: np.abs(x.astype(np.int64) - y) + z,
    **dict.fromkeys(("int_as_float", "uint_as_float"), lambda x: x.view(np.float32)),
    "float_as_int": lambda x: x.view(np.int32),
    "float_as_uint": lambda x: x.view(np.uint32),
    "longlong_as_double": lambda x: x.view(np.float64),
    "double_as_longlong": lambda x: x.view(np.int64),
    **dict.fromkeys(("isnanf", "isnand"), np.isnan),
    **dict.fromkeys(("isinff", "isinfd"), np.isinf),
    **dict.fromkeys(("finitef", "isfinited"), np.isfinite),
    **dict.fromkeys(("signbitf", "signbitd"), np.signbit),
}
"""Of integers, and of what floats are made of."""


def find(symbol: str) -> _Function | None:
    """Returns what one of libdevice's functions gives for arrays; None where it is not known here.

    Args:
        symbol: Its name, as `__nv_tanhf`.
    """
    name = symbol.removeprefix("__nv_")
    if (exact := _BITWISE.get(name)) is not None:
        return exact
    if (arithmetic := _ROUNDED.get(name[1:])) is not None:
        return _in_float64(arithmetic)
    for plain in (name, name.removesuffix("f"), name.removeprefix("fast_").removesuffix("f")):
        if (function := _MATHEMATICS.get(plain)) is not None:
            return _in_float64(function)
    return None


def elementwise(library: str, path: str, symbol: str, arguments: Any, kind: Any, is_pure: bool) -> Any:  # noqa: ARG001
    """Computes a function of libdevice where Triton's interpreter is asked for one.

    Raises:
        NotRunError: It is not known here.
    """
    if (function := find(symbol)) is None:
        raise NotRunError(f"not run: libdevice's {symbol.removeprefix('__nv_')} is not known on a CPU")
    result = function(*(argument.data for argument in arguments))
    return handle(np.asarray(result).astype(numpy_type(kind)), kind.scalar)


def _in_float64(function: _Function) -> _Function:
    def computed(*values: Any) -> Any:
        return function(*(value.astype(np.float64) if value.dtype.kind == "f" else value for value in values))

    return computed
