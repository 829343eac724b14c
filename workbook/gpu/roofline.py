"""The roofline model: what a chip's peaks allow a kernel at best, from its counted operations and bytes.

It is a model, not a measurement. It takes both of a chip's peaks as reached, and all waiting, launching and reading
twice as avoided; what a kernel really takes is longer, often twice as long or more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from workbook.gpu.chips import Chip
from workbook.show import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABEL = "roofline model from datasheet peaks, not a measurement"
_COLOURS = ("#3b82f6", "#d97706", "#16a34a", "#db2777", "#7c3aed")
_CHARACTER = 0.0095  # of a figure's width, which a character of a kernel's name takes


@dataclass(frozen=True)
class Work:
    """What one run of a kernel does, counted.

    Attributes:
        name: Of the kernel.
        flops: Floating-point operations; a multiply-add is two.
        bytes: Read from and written to the chip's memory. Count each byte once if the caches hold it meanwhile.
        precision: "bf16" (also FP16) on the tensor cores, "fp32" outside them.
    """

    name: str
    flops: int
    bytes: int
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.flops < 0 or self.bytes < 1:
            raise ValueError(f"{self.name}: flops={self.flops}, bytes={self.bytes}: a kernel moves a byte at least")

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: operations for each byte."""
        return self.flops / self.bytes


@dataclass(frozen=True)
class Roofline:
    """What a chip allows a kernel at best: a model, not a measurement."""

    work: Work
    chip: Chip

    @property
    def ridge(self) -> float:
        """The intensity from which on arithmetic is the limit, and no longer memory: operations for each byte."""
        return self.chip.peak(self.work.precision) / self.chip.bandwidth

    @property
    def attainable(self) -> float:
        """Operations a second, at best."""
        return min(self.chip.peak(self.work.precision), self.work.intensity * self.chip.bandwidth)

    @property
    def seconds(self) -> float:
        """The time that a run takes at least."""
        return max(self.work.flops / self.chip.peak(self.work.precision), self.work.bytes / self.chip.bandwidth)

    @property
    def bound(self) -> str:
        """What limits it: "memory" or "compute"."""
        return "memory" if self.work.intensity < self.ridge else "compute"


@dataclass(frozen=True, repr=False)
class Rooflines:
    """Kernels on chips. A notebook and `print` show it as a table; `plot` draws it."""

    works: Sequence[Work]
    chips: Sequence[Chip]

    def __post_init__(self) -> None:
        if not self.works or not self.chips:
            raise ValueError("a roofline needs a kernel and a chip at least")

    @property
    def all(self) -> tuple[Roofline, ...]:
        """Each kernel on each chip."""
        return tuple(Roofline(work, chip) for work in self.works for chip in self.chips)

    def _table(self) -> Table:
        header = ("kernel", "FLOP/byte", "chip", "ridge", "limit", "at best", "at least (model)")
        rows = [
            (
                each.work.name,
                f"{each.work.intensity:.3g}",
                each.chip.name,
                f"{each.ridge:.0f} ({each.work.precision})",
                each.bound,
                f"{each.attainable / 1e12:.3g} TFLOP/s",
                duration(each.seconds),
            )
            for each in self.all
        ]
        return Table(header, rows)

    def __str__(self) -> str:
        return f"{self._table()}\n({LABEL})"

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return f"{self._table()._repr_markdown_()}\n\n*{LABEL}*"

    def plot(self, axes: "Axes | None" = None) -> "Axes":
        """Draws the chips' roofs and the kernels under them, both axes logarithmic.

        A kernel is a dotted line at its intensity, with a mark where it meets each chip's roof. Roofs of BF16 on the
        tensor cores are solid, those of FP32 dashed; only the precisions that the kernels have are drawn.

        Args:
            axes: Where to draw; a new figure where left out.
        """
        import matplotlib.pyplot as plt
        from matplotlib.lines import Line2D

        axes = axes or plt.subplots(figsize=(8, 5.2), layout="constrained")[1]
        precisions = sorted({work.precision for work in self.works})
        ridges = [chip.peak(precision) / chip.bandwidth for chip in self.chips for precision in precisions]
        shown = [work.intensity for work in self.works if work.flops]
        low, high = min(ridges + shown) / 6, max(ridges + shown) * 6
        x = np.geomspace(low, high, 400)
        handles = []
        for chip, colour in zip(self.chips, _colours(len(self.chips)), strict=True):
            for precision in precisions:
                roof = np.minimum(chip.peak(precision), x * chip.bandwidth) / 1e12
                dash: Literal["-", "--"] = "-" if precision == "bf16" else "--"
                axes.plot(x, roof, linestyle=dash, color=colour, linewidth=1.8, alpha=0.85)
                peak = f"{chip.peak(precision) / 1e12:.4g} TFLOP/s, ridge {chip.peak(precision) / chip.bandwidth:.0f}"
                label = f"{chip.name}, {precision.upper()}: {peak}"
                handles.append(Line2D([], [], color=colour, linestyle=dash, label=label))
            for work in self.works:
                if work.flops:
                    attainable = Roofline(work, chip).attainable / 1e12
                    axes.plot(work.intensity, attainable, "o", color=colour, markersize=7, markeredgecolor="white")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(low, high)
        self._name_kernels(axes)
        axes.set_xlabel(f"arithmetic intensity, FLOP for each byte of memory traffic\n({LABEL})")
        axes.set_ylabel("attainable TFLOP/s")
        axes.grid(visible=True, which="major", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, -0.2), ncols=2, frameon=False, fontsize=8)
        return axes

    def _name_kernels(self, axes: "Axes") -> None:
        """Draws a dotted line for each kernel, and its name above it, at a height where it has room."""
        low, high = axes.get_xlim()
        free: list[float] = []  # for each height, where along the axis the last name ends
        for work in sorted((work for work in self.works if work.flops), key=lambda work: work.intensity):
            axes.axvline(work.intensity, color="grey", linestyle=":", linewidth=1, zorder=0)
            place = float(np.log(work.intensity / low) / np.log(high / low))
            width = _CHARACTER * (len(work.name) + 2)
            level = next((number for number, end in enumerate(free) if place - width / 2 >= end), len(free))
            free[level : level + 1] = [place + width / 2]
            side = "left" if place < width / 2 else "right" if place > 1 - width / 2 else "center"
            axes.annotate(
                work.name,
                (work.intensity, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 4 + 13 * level),
                textcoords="offset points",
                ha=side,
                va="bottom",
                fontsize=9,
                annotation_clip=False,
            )


def roofline(works: Work | Sequence[Work], chips: Chip | Sequence[Chip]) -> Rooflines:
    """Puts kernels under the roofs of chips."""
    return Rooflines(
        (works,) if isinstance(works, Work) else tuple(works), (chips,) if isinstance(chips, Chip) else tuple(chips)
    )


def duration(seconds: float) -> str:
    """Returns a time with its unit, to three digits."""
    for unit, scale in [("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)]:
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def _colours(number: int) -> list[str]:
    return [_COLOURS[index % len(_COLOURS)] for index in range(number)]
