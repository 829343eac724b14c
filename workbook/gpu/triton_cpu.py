"""Triton kernels on the CPU, from the same source that a GPU runs.

After `install()`, `kernel[grid](…)` looks where its tensors are. On a GPU nothing is other than without it. On the CPU
the kernel is run by Triton's interpreter, corrected where that computes something else than a GPU; each access to
memory is checked, and all of them are counted: see `watch`.

    from workbook.gpu import triton_cpu

    triton_cpu.install()

    with triton_cpu.watch(shuffle=0, poison=True) as counts:
        add[(4,)](x, y, out, n, BLOCK=256)
    print(counts.bytes, counts.flops)

What is not modelled: `tl.dot` takes all of float32, where a GPU takes TF32 unless told otherwise; programs run one
after the other, so a race shows as another result in another order, or not at all.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from workbook.gpu import triton_private
from workbook.gpu.code import NotRunError
from workbook.gpu.triton_counts import Counts
from workbook.gpu.triton_faults import KernelFault, OutOfBounds, Undefined
from workbook.gpu.triton_private import Scope

__all__ = ["Counts", "KernelFault", "OutOfBounds", "Undefined", "install", "installed", "watch"]

_watches: "list[_Watch]" = []
_tuning: list[Counts] = []
_installed: dict[str, Scope] = {}


class _Watch:
    """What `watch` was told."""

    def __init__(self, shuffle: int | None) -> None:
        self.counts = Counts()
        self.order = None if shuffle is None else random.Random(shuffle)


def install() -> None:
    """Lets kernels run on the CPU whose tensors are there. To do it again does nothing.

    Where Triton is another version than the one whose insides are known, and there is a GPU, nothing is changed:
    kernels run on that alone.

    Raises:
        NotRunError: There is neither that version of Triton nor a GPU; or TRITON_INTERPRET is set.
    """
    try:
        triton_private.check()
    except NotRunError:
        if _has_gpu():
            return
        raise
    for name, route in ROUTES.items():
        if name not in _installed:
            scope = Scope()
            route(scope)
            _installed[name] = scope


def installed() -> bool:
    """Returns whether kernels run on the CPU."""
    return bool(_installed)


@contextmanager
def watch(shuffle: int | None = None, *, poison: bool = False) -> Iterator[Counts]:
    """Counts what kernels do on the CPU, in the block.

    Args:
        shuffle: Runs the programs of each launch in an order that is drawn from this seed. A GPU promises none.
        poison: Fills what `torch.empty` and its like make with NaN, or with the largest integer: what a kernel forgets
            to write shows.

    Yields:
        What was done up to now. What autotuning tries out is not counted.
    """
    watched = _Watch(shuffle)
    _watches.append(watched)
    try:
        with _poison() if poison else nullcontext():
            yield watched.counts
    finally:
        _watches.remove(watched)


def _poison() -> Any:
    import torch
    from torch.overrides import TorchFunctionMode

    makers = {
        torch.empty,
        torch.empty_like,
        torch.empty_strided,
        torch.Tensor.new_empty,
        torch.Tensor.new_empty_strided,
    }

    class Poison(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = function(*args, **(kwargs or {}))
            if function not in makers:
                return made
            if made.dtype.is_floating_point or made.dtype.is_complex:
                return made.fill_(float("nan"))
            return made.fill_(True if made.dtype == torch.bool else torch.iinfo(made.dtype).max)

    return Poison()


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _is_on_cpu(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    """Returns whether a kernel with these arguments runs on the CPU."""
    devices = {tensor.device.type for tensor in _tensors([*arguments, *keywords.values()])}
    return devices == {"cpu"} or (not devices and not _has_gpu())


def _tensors(values: Any) -> Iterator[Any]:
    import torch

    for value in values:
        if isinstance(value, tuple):
            yield from _tensors(value)
        elif isinstance(value, torch.Tensor):
            yield value
        elif isinstance(base := getattr(value, "base", None), torch.Tensor):  # of a TensorDescriptor or TensorWrapper
            yield base


def _launch(kernel: Any, grid: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    from workbook.gpu.triton_launch import Launch

    counts = Counts()
    order = next((watched.order for watched in reversed(_watches) if watched.order is not None), None)
    try:
        Launch(kernel, counts).run(grid, arguments, keywords, order)
    finally:
        for total in _tuning or [watched.counts for watched in _watches]:
            total.add(counts)


def _route_launches(scope: Scope) -> None:
    """`kernel[grid](…)` goes where the tensors are."""
    from triton.runtime.jit import JITFunction

    plain = JITFunction.run

    def run(self: Any, *args: Any, grid: Any, warmup: Any, **kwargs: Any) -> Any:
        if warmup or not _is_on_cpu(args, kwargs):
            return plain(self, *args, grid=grid, warmup=warmup, **kwargs)
        return _launch(self, grid, args, kwargs)

    scope.set(JITFunction, "run", run)


def _route_calls(scope: Scope) -> None:
    """A kernel that runs on the CPU can call others."""
    from triton.runtime.jit import JITFunction

    from workbook.gpu.triton_launch import current

    plain = JITFunction.__call__

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if (launch := current()) is None:
            return plain(self, *args, **kwargs)
        return launch.function(self)(*args, **kwargs)

    scope.set(JITFunction, "__call__", call)


def _route_autotuning(scope: Scope) -> None:
    """On the CPU all configurations are as fast; each is run once, as on a GPU, and the first that runs is taken."""
    from triton.runtime.autotuner import Autotuner

    plain = Autotuner.run

    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_on_cpu(args, kwargs):
            return plain(self, *args, **kwargs)
        own = Scope()
        own.set(self, "do_bench", _without_time)
        own.set(self, "cache_results", False)  # it would ask for the GPU
        own.set(self, "cache", vars(self).setdefault("_on_cpu", {}))
        try:
            return plain(self, *args, **kwargs)
        finally:
            own.restore()

    scope.set(Autotuner, "run", run)


def _without_time(launch: Callable[[], None], quantiles: Any) -> list[float]:
    _tuning.append(Counts())
    try:
        launch()
    finally:
        _tuning.pop()
    return [0.0] * len(quantiles)


ROUTES: dict[str, Callable[[Scope], None]] = {
    "launches": _route_launches,
    "calls": _route_calls,
    "autotuning": _route_autotuning,
}
"""What `install` changes in Triton, by its name."""
