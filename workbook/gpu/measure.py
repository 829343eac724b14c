"""What a GPU adds: how long a kernel really takes.

The measurement is that of `triton.testing.do_bench`, spelled out: warm up, then for each run empty the L2 cache, mark
the time on the GPU before and after, and wait once, at the end. Without a GPU all of it says "not run: no GPU".
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from workbook import device as machine
from workbook.bench import Quartiles
from workbook.device import Tier
from workbook.gpu.code import NotRunError
from workbook.gpu.roofline import Roofline, duration
from workbook.show import Table

WARM_UP, MEASURE = 0.025, 0.1  # seconds
_ESTIMATE = 5  # runs
_MOST = 10_000  # runs
_THROTTLED = 0.9  # of the highest clock


class Event(Protocol):
    """A mark in the GPU's queue, as torch.cuda.Event is."""

    def record(self) -> object:
        """Puts the mark behind all that was launched before."""

    def elapsed_time(self, end: Any, /) -> float:
        """Returns the milliseconds from this mark to a later one, once the GPU has passed both."""


class Device(Protocol):
    """What a measurement asks of a GPU."""

    @property
    def name(self) -> str:
        """What it is called, beside a figure."""

    def event(self) -> Event:
        """Returns a mark that is not yet in the queue."""

    def flush(self) -> None:
        """Launches something that leaves nothing of what kernels use in the L2 cache."""

    def synchronize(self) -> None:
        """Waits until the GPU has done all that was launched."""

    def clock(self) -> tuple[int, int] | None:
        """Returns the clock of its SMs in MHz, now and at most; None where the driver does not tell."""


@dataclass(frozen=True, repr=False)
class Timing:
    """How long a function took on a GPU.

    Attributes:
        seconds: Of each run.
        device: The GPU's name.
        flushed: Whether each run found the L2 cache empty.
        clocks: In MHz before, after and at most; None where the driver does not tell.
    """

    seconds: tuple[float, ...]
    device: str
    flushed: bool
    clocks: tuple[int, int, int] | None

    @cached_property
    def quartiles(self) -> Quartiles:
        """The median and the middle half of the runs."""
        low, median, high = np.percentile(self.seconds, [25, 50, 75])
        return Quartiles(float(low), float(median), float(high))

    @property
    def median(self) -> float:
        """Seconds."""
        return self.quartiles.median

    @property
    def clock_note(self) -> str:
        """What the clock was, with a warning where it was low: then the GPU was hot, capped or idle before."""
        if self.clocks is None:
            return "clock not known"
        before, after, most = self.clocks
        low = "; low: the GPU was throttled or not warm" if min(before, after) < _THROTTLED * most else ""
        return f"SM clock {before} MHz before and {after} MHz after, of at most {most} MHz{low}"

    def reached(self, model: Roofline) -> float:
        """Returns which part of a chip's bound was reached: the model's shortest time over the median."""
        return model.seconds / self.median

    def _table(self) -> Table:
        quartiles = self.quartiles
        middle = f"{duration(quartiles.low)} to {duration(quartiles.high)}"
        return Table(("median", "middle half", "runs"), [(duration(quartiles.median), middle, len(self.seconds))])

    def _conditions(self) -> str:
        return f"measured on {self.device}; L2 {'empty' if self.flushed else 'as it was'}; {self.clock_note}"

    def __str__(self) -> str:
        return f"{self._table()}\n({self._conditions()})"

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return f"{self._table()._repr_markdown_()}\n\n*{self._conditions()}*"


def need_gpu() -> None:
    """Passes where CUDA can be used.

    Raises:
        NotRunError: It cannot: "not run: no GPU", and why.
    """
    offer = machine.detect().tiers[Tier.MEASURED]
    if not offer.offered:
        reason = offer.reason.removeprefix("no GPU: ")
        raise NotRunError(f"not run: no GPU ({reason})")


def gpu() -> Device:
    """Returns this machine's GPU.

    Raises:
        NotRunError: There is none.
    """
    need_gpu()
    return _Cuda()


def do_bench(
    function: Callable[[], object],
    *,
    device: Device | None = None,
    warm_up: float = WARM_UP,
    seconds: float = MEASURE,
    flush: bool = True,
) -> Timing:
    """Measures how long what a function launches takes on a GPU.

    Args:
        function: Launches it, and need not wait. What it does on the CPU counts only as far as the GPU waits for it.
        device: Which GPU; this machine's where left out.
        warm_up: For how long it runs before it counts.
        seconds: For about how long it runs then; 10 runs at least.
        flush: Whether each run finds the L2 cache empty, as in a program whose other kernels use it meanwhile.

    Raises:
        NotRunError: "not run: no GPU", where none is given and none is there.
        ValueError: A time is negative.
    """
    if warm_up < 0 or seconds < 0:
        raise ValueError(f"warm_up={warm_up}, seconds={seconds}: seconds, 0 or more")
    device = device or gpu()
    function()  # compiles, and allocates
    device.synchronize()
    start, end = device.event(), device.event()
    start.record()
    for _ in range(_ESTIMATE):
        if flush:
            device.flush()
        function()
    end.record()
    device.synchronize()
    estimate = max(start.elapsed_time(end) / 1000 / _ESTIMATE, 1e-7)
    for _ in range(min(_MOST, round(warm_up / estimate))):
        function()
    device.synchronize()
    before = device.clock()
    marks = []
    for _ in range(min(_MOST, max(10, round(seconds / estimate)))):
        if flush:
            device.flush()  # before the first mark: it is not what is measured
        start, end = device.event(), device.event()
        start.record()
        function()
        end.record()
        marks.append((start, end))
    device.synchronize()
    after = device.clock()
    clocks = (before[0], after[0], after[1]) if before and after else None
    return Timing(tuple(start.elapsed_time(end) / 1000 for start, end in marks), device.name, flush, clocks)


class _Cuda:
    """This machine's GPU, through torch."""

    def __init__(self) -> None:
        import torch

        self._cuda = torch.cuda
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        size = max(2 * int(getattr(properties, "L2_cache_size", 0)), 256 << 20)
        self._cache = torch.empty(size // 4, dtype=torch.int32, device="cuda")
        self._uuid = f"GPU-{properties.uuid}"
        self.name: str = properties.name

    def event(self) -> Event:
        event: Event = self._cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        return event

    def flush(self) -> None:
        self._cache.zero_()

    def synchronize(self) -> None:
        self._cuda.synchronize()

    def clock(self) -> tuple[int, int] | None:
        try:
            pynvml = importlib.import_module("pynvml")
        except ImportError:
            return None
        try:
            pynvml.nvmlInit()
            try:
                handle = pynvml.nvmlDeviceGetHandleByUUID(self._uuid)
                kind = pynvml.NVML_CLOCK_SM
                return pynvml.nvmlDeviceGetClockInfo(handle, kind), pynvml.nvmlDeviceGetMaxClockInfo(handle, kind)
            finally:
                pynvml.nvmlShutdown()
        except pynvml.NVMLError:
            return None
