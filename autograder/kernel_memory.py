"""The memory of a kernel that Triton's interpreter runs: nothing but the elements of its tensors is read or written.

Where a mask keeps a load from reading, and nothing says what to take instead, there is whatever a sum shows.

Without this the interpreter reads and writes whatever lies at an address. Every access passes through here, so this is
also where to count them. It stands on the interpreter's private parts: Triton is pinned, and a test holds each of them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

FENCE = 1 << 16
"""Bytes that belong to no tensor, before and after each: one step too far must not end in the next tensor."""


class OutOfBounds(Exception):  # noqa: N818 - it says what happened
    """A kernel reads or writes past the elements of its tensors."""


def fenced(tensor: "torch.Tensor") -> "torch.Tensor":
    """Returns a copy of a tensor, contiguous, with a fence around it."""
    import torch

    margin = FENCE // tensor.element_size()
    around = torch.zeros(tensor.numel() + 2 * margin, dtype=tensor.dtype)
    inside = around[margin : margin + tensor.numel()].view(tensor.shape)
    inside.copy_(tensor)
    return inside


@contextmanager
def bounded(tensors: Mapping[str, "torch.Tensor"]) -> Iterator[None]:
    """Raises OutOfBounds in the block where a kernel leaves the elements of these tensors.

    Args:
        tensors: All that the kernel gets, contiguous, by the names of its parameters.
    """
    from triton.runtime.interpreter import TensorHandle
    from triton.runtime.interpreter import interpreter_builder as builder

    ranges = [
        (name, tensor.data_ptr(), tensor.data_ptr() + tensor.numel() * tensor.element_size())
        for name, tensor in tensors.items()
    ]
    load, store = builder.create_masked_load, builder.create_masked_store
    exchange, update = builder.create_atomic_cas, builder.create_atomic_rmw

    def masked_load(pointers: Any, mask: Any, other: Any, *rest: Any, **named: Any) -> Any:
        _check(ranges, pointers, mask.data, "reads", builder.grid_idx)
        loaded = load(pointers, mask, other, *rest, **named)
        if other is None:
            loaded = TensorHandle(_spoilt(loaded.data, mask.data), loaded.dtype)
        return loaded

    def masked_store(pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        _check(ranges, pointers, mask.data, "writes", builder.grid_idx)
        return store(pointers, value, mask, *rest)

    def atomic_cas(pointers: Any, *rest: Any) -> Any:
        _check(ranges, pointers, True, "exchanges", builder.grid_idx)
        return exchange(pointers, *rest)

    def atomic_rmw(operation: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        _check(ranges, pointers, mask.data, "updates", builder.grid_idx)
        return update(operation, pointers, value, mask, *rest)

    builder.create_masked_load, builder.create_masked_store = masked_load, masked_store
    builder.create_atomic_cas, builder.create_atomic_rmw = atomic_cas, atomic_rmw
    try:
        yield
    finally:
        del builder.create_masked_load, builder.create_masked_store
        del builder.create_atomic_cas, builder.create_atomic_rmw


def _spoilt(values: Any, mask: Any) -> Any:
    """Returns values with NaN, or the largest integer, where the mask is not set."""
    import numpy as np

    spoilt = {"f": np.nan, "b": True}.get(values.dtype.kind)
    return np.where(mask, values, np.iinfo(values.dtype).max if spoilt is None else spoilt).astype(values.dtype)


def _check(ranges: list[tuple[str, int, int]], pointers: Any, mask: Any, does: str, program: Any) -> None:
    import numpy as np

    size = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
    active = pointers.data[np.broadcast_to(mask, pointers.data.shape)]
    inside = np.zeros(active.shape, dtype=bool)
    for _, begin, end in ranges:
        if end > begin:
            inside |= (active >= np.uint64(begin)) & (active <= np.uint64(end - size))
    if inside.all():
        return
    address = int(active[~inside][0])
    if not ranges:
        raise OutOfBounds(f"it {does} memory, and has no tensor")
    name, begin, end = min(ranges, key=lambda known: min(abs(address - known[1]), abs(address - known[2])))
    raise OutOfBounds(
        f"it {does} element {(address - begin) // size} of {name}, which has {(end - begin) // size} elements "
        f"(program {tuple(program)})"
    )
