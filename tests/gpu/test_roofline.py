"""The roofline model, against numbers worked out by hand."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes

from workbook.gpu.chips import CHIPS, chip
from workbook.gpu.roofline import LABEL, Roofline, Work, duration, roofline

mpl.use("Agg")

GEMM = Work("GEMM 8192³", 2 * 8192**3, 3 * 2 * 8192**2, "bf16")
ADD = Work("vector add", 1 << 26, 12 << 26)


def test_a_large_product_is_bound_by_arithmetic() -> None:
    found = Roofline(GEMM, chip("H100"))
    assert GEMM.intensity == pytest.approx(2731, abs=0.5)
    assert found.ridge == pytest.approx(295, abs=0.5)
    assert found.bound == "compute"
    assert found.attainable == 989.4e12
    assert found.seconds == pytest.approx(2 * 8192**3 / 989.4e12)


def test_an_addition_is_bound_by_memory() -> None:
    found = Roofline(ADD, chip("H200"))
    assert found.bound == "memory"
    assert found.ridge == pytest.approx(66.9 / 4.8, abs=0.1)
    assert found.seconds == pytest.approx((12 << 26) / 4.8e12)
    assert found.attainable == pytest.approx(4.8e12 / 12)


def test_a_copy_has_no_operations() -> None:
    found = Roofline(Work("copy", 0, 1 << 30), chip("A100"))
    assert (found.attainable, found.bound) == (0, "memory")
    assert found.seconds == pytest.approx((1 << 30) / 2039e9)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes=0"):
        Work("nothing", 1, 0)
    with pytest.raises(ValueError, match="a kernel and a chip at least"):
        roofline([], chip("A100"))
    with pytest.raises(ValueError, match="no peak is known for 'fp8'"):
        _ = Roofline(Work("x", 1, 1, "fp8"), chip("A100")).seconds


def test_all_that_is_shown_says_that_it_is_a_model() -> None:
    found = roofline([GEMM, ADD], list(CHIPS.values()))
    assert LABEL in str(found)
    assert LABEL in found._repr_markdown_()
    assert "model" in found._table().header[-1]
    assert LABEL in found.plot().get_xlabel()


def boxes(axes: Axes) -> list[tuple[float, float, float, float]]:
    """Returns the corners of all names of kernels, as drawn."""
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    extents = [text.get_window_extent() for text in axes.texts]
    return [(box.x0, box.y0, box.x1, box.y1) for box in extents]


@pytest.mark.parametrize("number", [1, 3, 9])
def test_names_in_the_plot_do_not_collide(number: int) -> None:
    works = [Work(f"kernel number {n}", 100 + 7 * n, 1 + n // 5, "bf16" if n % 2 else "fp32") for n in range(number)]
    axes = roofline(works, list(CHIPS.values())).plot()
    drawn = boxes(axes)
    assert len(drawn) == number
    for place, one in enumerate(drawn):
        for other in drawn[place + 1 :]:
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart
    width = axes.figure.get_window_extent().width
    assert all(box[0] >= 0 and box[2] <= width for box in drawn)


def test_marks_lie_on_the_roofs() -> None:
    axes = roofline([GEMM, ADD], [chip("H100"), chip("L40S")]).plot()
    marks = [np.asarray(line.get_ydata()).item() for line in axes.lines if line.get_marker() == "o"]
    assert sorted(round(mark, 3) for mark in marks) == [0.072, 0.279, 362.05, 989.4]


@pytest.mark.parametrize(("seconds", "text"), [(2, "2 s"), (0.0123, "12.3 ms"), (4.2e-6, "4.2 µs"), (3e-9, "3 ns")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
