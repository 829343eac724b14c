"""Triton's private parts, as far as running kernels on a CPU needs them, and the one version that they are known of."""

import types
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from workbook.gpu.code import NotRunError

VERSION = "3.9.0"
"""Of Triton. Each part that is used or patched has a test; another version may have all of them changed."""

_MISSING = object()


def check() -> None:
    """Checks that kernels can be run on the CPU here.

    Raises:
        NotRunError: There is no Triton, another one than is known, or one that was told to interpret everything.
    """
    if find_spec("triton") is None:
        raise NotRunError("not run: Triton is not installed here; it needs Linux")
    if (found := metadata.version("triton").split("+")[0]) != VERSION:
        raise NotRunError(
            f"not run: kernels run on a CPU with Triton {VERSION}, whose insides are used; here is {found}"
        )
    import triton

    if triton.knobs.runtime.interpret:
        raise NotRunError(
            "not run: TRITON_INTERPRET is set, and kernels could then not be compiled; unset it, and restart"
        )


@cache
def interpreter() -> Any:
    """Returns the module of Triton's interpreter.

    Raises:
        NotRunError: As `check`.
    """
    check()
    from triton.runtime import interpreter

    return interpreter


def handle(data: Any, kind: Any) -> Any:
    """Returns numpy's array as the interpreter passes it about; the type is of its elements."""
    return interpreter().TensorHandle(data, kind)


def numpy_type(kind: Any) -> Any:
    """Returns numpy's type for one of Triton's."""
    return interpreter()._get_np_dtype(kind)


def is_library(function: Any) -> bool:
    """Returns whether a `@triton.jit` function, or another object, is one of Triton's own."""
    return str(function.__module__).split(".")[0] == "triton"


class Scope:
    """Attributes that are replaced, until they are restored."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Replaces an attribute, which `owner` may have from its class."""
        self._before.append((owner, name, vars(owner).get(name, _MISSING)))
        setattr(owner, name, value)

    def restore(self) -> None:
        """Gives all attributes back, the last one first."""
        while self._before:
            owner, name, value = self._before.pop()
            if value is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


@contextmanager
def language() -> Iterator[None]:
    """Makes the functions of `triton.language` compute at once, in the block, instead of writing code."""
    from triton import language as tl

    def kernel() -> None:
        """Only its globals count: the interpreter looks there for what it is to change."""

    visible = types.FunctionType(kernel.__code__, {"tl": tl, "core": tl.core})
    scope = interpreter()._patch_lang(visible)
    try:
        yield
    finally:
        scope.restore()
