"""The memory of a kernel that runs on a CPU: nothing but the elements of its tensors is read or written.

A kernel gets addresses that do not exist, far apart for each of its tensors; they are made into real ones when memory
is accessed. So an address tells of which tensor it was computed, whatever lies beside that tensor in memory, and is the
same in each run. A tensor may be a view: what lies between its elements is none of them.
"""

import math
from collections import Counter
from typing import Any

import numpy as np

from workbook.gpu.triton_counts import Counts
from workbook.gpu.triton_faults import OutOfBounds

_BITS = 48  # of an address that say where in the surroundings of a tensor; those above say of which
_MIDDLE = 1 << (_BITS - 1)
_ALIGNED = 0xFF  # the bits of a real address that the kernel sees: how well a tensor is aligned may matter


class Memory:
    """The tensors of one launch."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._tensors: list[_Tensor] = []
        self._shifts = np.zeros(1, np.uint64)  # from the addresses of the kernel to real ones, by their number

    def add(self, name: str, tensor: Any) -> int:
        """Takes a tensor in, and returns its address for the kernel."""
        known = _Tensor(name, tensor, len(self._tensors) + 1)
        self._tensors.append(known)
        shift = (tensor.data_ptr() - known.address) % (1 << 64)
        self._shifts = np.append(self._shifts, np.uint64(shift))
        return known.address

    def reads(self, addresses: Any, mask: Any, size: int) -> Any:
        """Returns the real addresses of elements of `size` bytes, for those that the mask lets through."""
        return self._real(addresses, mask, size, "reads", self._counts.loaded)

    def writes(self, addresses: Any, mask: Any, size: int) -> Any:
        """Returns real addresses likewise."""
        return self._real(addresses, mask, size, "writes", self._counts.stored)

    def updates(self, addresses: Any, mask: Any, size: int) -> Any:
        """Returns real addresses likewise."""
        return self._real(addresses, mask, size, "updates", self._counts.updated)

    def exchanges(self, addresses: Any, size: int) -> Any:
        """Returns real addresses likewise."""
        return self._real(addresses, True, size, "exchanges", self._counts.updated)

    def _real(self, addresses: Any, mask: Any, size: int, does: str, counter: "Counter[str]") -> Any:
        active = addresses[np.broadcast_to(mask, addresses.shape)]
        if not active.size:
            return addresses
        owners = active >> np.uint64(_BITS)
        first = int(owners[0])
        if (owners == first).all():
            self._access(first, active, size, does, counter)
            return addresses + self._shifts[first]
        for owner in np.unique(owners):
            self._access(int(owner), active[owners == owner], size, does, counter)
        places = addresses >> np.uint64(_BITS)
        return addresses + self._shifts[np.where(places < len(self._shifts), places, 0)]

    def _access(self, owner: int, addresses: Any, size: int, does: str, counter: "Counter[str]") -> None:
        if not 0 < owner <= len(self._tensors):
            raise OutOfBounds(f"it {does} memory that belongs to none of its tensors")
        tensor = self._tensors[owner - 1]
        offsets = addresses - np.uint64(tensor.address)
        inside = tensor.inside(offsets, size)
        if not inside.all():
            raise OutOfBounds(f"it {does} {tensor.about(int(offsets[~inside][0].astype(np.int64)))}")
        distinct = offsets.size if (offsets[1:] > offsets[:-1]).all() else np.unique(offsets).size
        counter[tensor.name] += distinct * size


class _Tensor:
    """A tensor, and where its elements are.

    Attributes:
        name: Of the parameter.
        address: Of the first element, for the kernel.
    """

    def __init__(self, name: str, tensor: Any, number: int) -> None:
        self.name = name
        self.address: int = (number << _BITS) + _MIDDLE + (tensor.data_ptr() & _ALIGNED)
        self._shape, self._strides = tuple(tensor.shape), tuple(tensor.stride())
        self._size = tensor.element_size()
        span = 1 + sum((count - 1) * step for count, step in zip(self._shape, self._strides, strict=True))
        self._span = span if tensor.numel() else 0  # elements of memory from the first to the last
        self._holes = self._elements() if self._span > tensor.numel() or self._overlaps() else None

    def _overlaps(self) -> bool:
        """Returns whether elements share memory: then there may be holes although the count would fit."""
        steps = sorted((step, count) for count, step in zip(self._shape, self._strides, strict=True) if count > 1)
        return any(step != math.prod(count for _, count in steps[:index]) for index, (step, _) in enumerate(steps))

    def _elements(self) -> Any:
        """Returns what of its memory is an element."""
        elements = np.zeros(self._span, bool)
        np.lib.stride_tricks.as_strided(elements, self._shape, self._strides)[...] = True
        return elements

    def inside(self, offsets: Any, size: int) -> Any:
        """Returns which accesses, at bytes after the first element, are to elements."""
        end = self._span * self._size - size
        if end < 0:
            return np.zeros(offsets.shape, bool)
        inside = (offsets <= np.uint64(end)) & (offsets & np.uint64(size - 1) == 0)
        if self._holes is not None:
            places = np.where(inside, offsets, 0) // self._size
            last = np.where(inside, offsets + np.uint64(size - 1), 0) // self._size
            inside &= self._holes[places] & self._holes[last]
        return inside

    def about(self, offset: int) -> str:
        """Returns what an access is to that is no element."""
        index = offset // self._size
        if offset % self._size:
            return f"between two elements of {self.name}, {offset} bytes after its first"
        if self._holes is None:
            return f"element {index} of {self.name}, which has {self._span} elements"
        return (
            f"memory {index} elements after the first of {self.name}, where it has none: "
            f"its shape is {self._shape} and its strides are {self._strides}"
        )
