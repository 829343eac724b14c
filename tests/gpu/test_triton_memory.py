"""The memory of kernels: what is an element of a tensor, and what is not."""

import numpy as np
import pytest
import torch

from workbook.gpu.triton_counts import Counts
from workbook.gpu.triton_faults import OutOfBounds
from workbook.gpu.triton_memory import Memory

WIDE = torch.arange(60.0).view(6, 10)

VIEWS = {
    "whole": WIDE,
    "rows": WIDE[2:4],
    "columns": WIDE[:, 3:5],
    "steps": WIDE[::2, 1::3],
    "transposed": WIDE.T,
    "transposed columns": WIDE[:, 2:4].T,
    "one": WIDE[3, 7],
    "row": WIDE[3:4, 2:9],
    "expanded": WIDE[:, 2:3].expand(6, 5),
    "windows": WIDE.view(-1).unfold(0, 4, 2),
    "windows with holes": WIDE.view(-1).as_strided((3, 3), (7, 2)),
    "overlap as many as fit": WIDE.view(-1).as_strided((2, 3), (1, 2)),
    "holes that repeats make up for": WIDE.view(-1).as_strided((2, 2, 2), (0, 3, 1)),
    "diagonal": WIDE.diagonal(),
    "bytes": torch.arange(20, dtype=torch.uint8)[3::4],
    "empty": WIDE[:0],
    "empty within": WIDE[:, 5:5],
}


def places(view: torch.Tensor) -> set[int]:
    """Returns the elements of a view, counted in memory from its first."""
    indices = np.ndindex(*view.shape)
    return {sum(index * step for index, step in zip(at, view.stride(), strict=True)) for at in indices}


@pytest.mark.parametrize("case", VIEWS)
def test_only_elements_are_within(case: str) -> None:
    view = VIEWS[case]
    memory = Memory(Counts())
    memory.add("other", WIDE)
    address, size = memory.add("x", view), view.element_size()
    wanted = places(view)
    for place in range(-70, 140):
        at = np.array([address + place * size], np.uint64)
        if place in wanted:
            assert memory.reads(at, True, size)[0] == view.data_ptr() + place * size
        else:
            with pytest.raises(OutOfBounds, match=r" of x\b"):
                memory.reads(at, True, size)


def test_what_is_said() -> None:
    memory = Memory(Counts())
    x, y = memory.add("x", WIDE), memory.add("y", WIDE[:, ::2])

    def said(address: int, size: int = 4) -> str:
        with pytest.raises(OutOfBounds) as caught:
            memory.writes(np.array([x, address], np.uint64), np.array([False, True]), size)
        return caught.value.what

    assert said(x + 240) == "it writes element 60 of x, which has 60 elements"
    assert said(x - 4) == "it writes element -1 of x, which has 60 elements"
    assert said(x + 238) == "it writes between two elements of x, 238 bytes after its first"
    assert said(x + 236, 8) == "it writes element 59 of x, which has 60 elements"
    where = "where it has none: its shape is (6, 5) and its strides are (10, 2)"
    assert said(y + 4) == f"it writes memory 1 elements after the first of y, {where}"
    assert said(y + 8, 8).startswith("it writes memory 2 elements after the first of y"), "half of it is no element"
    for address in (0, 5, WIDE.data_ptr(), 1 << 60):
        assert said(address) == "it writes memory that belongs to none of its tensors"


def test_lanes_of_several_tensors() -> None:
    counts = Counts()
    memory = Memory(counts)
    a, b = torch.arange(4.0), torch.arange(4, dtype=torch.int32)
    x, y = memory.add("a", a), memory.add("b", b)
    addresses = np.array([[x, y + 4], [y + 4, 77]], np.uint64)
    real = memory.updates(addresses, np.array([[True, True], [True, False]]), 4)
    assert real.tolist()[0] == [a.data_ptr(), b.data_ptr() + 4]
    assert real[1, 0] == b.data_ptr() + 4
    assert counts.updated == {"a": 4, "b": 4}
    assert memory.exchanges(np.array([x + 4], np.uint64), 4) == a.data_ptr() + 4


def test_addresses_do_not_depend_on_where_tensors_lie() -> None:
    seen = set()
    for _ in range(3):
        keep = torch.empty(1000)
        memory = Memory(Counts())
        seen.add((memory.add("x", torch.zeros(64)), memory.add("y", keep)))
    assert len({(x >> 12, y >> 12) for x, y in seen}) == 1
    memory = Memory(Counts())
    whole = torch.zeros(1024)
    assert (memory.add("x", whole[3:]) - whole[3:].data_ptr()) % 16 == 0, "they are aligned alike"


def test_nothing_is_looked_at_where_no_lane_is_active() -> None:
    counts = Counts()
    nothing = np.array([3], np.uint64)
    assert Memory(counts).reads(nothing, np.array([False]), 4) is nothing
    assert counts.bytes == 0
