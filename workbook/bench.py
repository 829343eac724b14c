"""Compares how long functions take, in a way that holds on a machine that others use too.

Each round times every function once, so that what slows the machine down slows all of them; a ratio is taken within a
round, and the quartiles over rounds say how far it can be trusted. Absolute seconds move with the machine's load: they
are shown with the machine's name, for orientation.
"""

import dataclasses
import gc
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbook import device as machine
from workbook.show import Table, in_notebook

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PROGRESS_AFTER = 3.0  # seconds; a comparison expected to take longer shows a bar
REFRESH_EVERY = 0.2  # seconds between two states of the bar


@dataclass(frozen=True)
class Quartiles:
    """The middle of a sample, and the range of its middle half."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The times of several functions, taken in turns.

    Attributes:
        seconds: For each function, in the order given, its seconds in each round; equal places belong together.
        device: "cpu" or "cuda".
        machine: The machine's label, which belongs to each absolute figure.
    """

    seconds: Mapping[str, tuple[float, ...]]
    device: str
    machine: str

    @property
    def baseline(self) -> str:
        """The name of the first function, which the others are compared with."""
        return next(iter(self.seconds))

    @property
    def pairs(self) -> int:
        """The number of rounds."""
        return len(self.seconds[self.baseline])

    def ratios(self, name: str) -> tuple[float, ...]:
        """Returns, round by round, the baseline's seconds over those of `name`: 3 is three times as fast."""
        return tuple(a / b for a, b in zip(self.seconds[self.baseline], self.seconds[name], strict=True))

    def ratio(self, name: str) -> Quartiles:
        """Returns the median and the quartiles of `ratios(name)`."""
        low, median, high = np.percentile(self.ratios(name), [25, 50, 75])
        return Quartiles(float(low), float(median), float(high))

    def ratio_line(self, name: str, what: str) -> str:
        """Returns a line for a benchmark's end: `ratio <median> [<lower quartile> <upper quartile>]`, and of what."""
        ratio = self.ratio(name)
        return f"ratio {ratio.median:.3g} [{ratio.low:.3g} {ratio.high:.3g}] {what}: {name} over {self.baseline}"

    def median_seconds(self, name: str) -> float:
        """Returns the median of a function's seconds; to be shown with `machine` only."""
        return float(np.median(self.seconds[name]))

    def to_dict(self) -> dict[str, Any]:
        """Returns the comparison as JSON values; times in seconds."""
        return {
            "machine": self.machine,
            "device": self.device,
            "baseline": self.baseline,
            "pairs": self.pairs,
            "functions": {
                name: {
                    "seconds": list(seconds),
                    "median_seconds": self.median_seconds(name),
                    "ratio": dataclasses.asdict(self.ratio(name)),
                }
                for name, seconds in self.seconds.items()
            },
        }

    def plot(self, axes: "Axes | None" = None) -> "Axes":
        """Draws the ratios as one box a function: median, middle half, extremes.

        Args:
            axes: Where to draw; a new figure where left out.
        """
        import matplotlib.pyplot as plt

        axes = axes or plt.subplots(figsize=(6, 0.8 + 0.5 * len(self.seconds)), layout="constrained")[1]
        others = [name for name in self.seconds if name != self.baseline]
        axes.boxplot(
            [self.ratios(name) for name in others], orientation="horizontal", tick_labels=others, whis=(0, 100)
        )
        axes.axvline(1, color="grey", linestyle=":")
        axes.invert_yaxis()
        axes.set_xlabel(f"times as fast as {self.baseline}\n({self._conditions()})")
        return axes

    def _conditions(self) -> str:
        how = "interleaved rounds" if self.device == "cpu" else "interleaved rounds of triton.testing.do_bench"
        return f"{self.pairs} {how} on {self.machine}"

    def _table(self) -> Table:
        rows = []
        for name in self.seconds:
            ratio = self.ratio(name)
            compared = (f"{ratio.median:.3g}", f"{ratio.low:.3g} to {ratio.high:.3g}")
            seconds = _duration(self.median_seconds(name))
            rows.append((name, seconds, *(("1", "baseline") if name == self.baseline else compared)))
        return Table(("", "median time", "times as fast", "middle half"), rows)

    def __str__(self) -> str:
        return f"{self._table()}\n{self._conditions()}"

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return f"{self._table()._repr_markdown_()}\n\n*{self._conditions()}*"


def compare(
    functions: Mapping[str, Callable[[], object]],
    *,
    pairs: int = 15,
    warmup: int = 2,
    device: str = "cpu",
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Times functions against the first of them, in turns.

    Args:
        functions: What to call, by name; the first is the baseline.
        pairs: Rounds that count. Each times every function once; on a GPU, once through `triton.testing.do_bench`,
            which repeats it for 0.1 s with a cold L2 cache and waits for the GPU.
        warmup: Rounds before those, which do not count.
        device: Where the functions compute: "cpu", "cuda", or "auto".
        seed: Draws the order within a round; each second round has the order of the one before it reversed.
        clock: Returns seconds; for a CPU only.

    Raises:
        ValueError: Fewer than two functions or rounds, or a function that takes no measurable time.
        DeviceError: `device` is not there.
        Exception: Whatever a function raises, with a note that names it.
    """
    if len(functions) < 2:
        raise ValueError(f"a comparison needs two functions or more, not {len(functions)}")
    if pairs < 2:
        raise ValueError(f"pairs={pairs}: quartiles need two rounds or more; 15 is a good number")
    if warmup < 0:
        raise ValueError(f"warmup={warmup}: a number of rounds, 0 or more")
    device = machine.select(device)
    measure = _gpu_seconds if device == "cuda" else _cpu_seconds
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    with _progress((warmup + pairs) * len(functions)) as step:
        for number, order in enumerate(_orders(list(functions), warmup + pairs, seed), start=1 - warmup):
            for name in order:
                try:
                    elapsed = measure(functions[name], clock)
                except Exception as error:
                    error.add_note(f"raised by {name!r}, " + (f"round {number}" if number > 0 else "warming up"))
                    raise
                if elapsed <= 0:
                    raise ValueError(f"{name!r} took no measurable time: let one call do more work")
                if number > 0:
                    seconds[name].append(elapsed)
                step()
    return Comparison({name: tuple(values) for name, values in seconds.items()}, device, machine.detect().label)


def _orders(names: list[str], rounds: int, seed: int) -> Iterator[list[str]]:
    """Yields the order of each round: a random one, then its reverse, so that neither first place is favoured."""
    generator = random.Random(seed)
    for number in range(rounds):
        if number % 2 == 0:
            generator.shuffle(names)
        else:
            names.reverse()
        yield list(names)


def _cpu_seconds(function: Callable[[], object], clock: Callable[[], float]) -> float:
    enabled = gc.isenabled()
    gc.disable()  # a collection would be charged to whichever function it falls into
    try:
        start = clock()
        function()
        return clock() - start
    finally:
        if enabled:
            gc.enable()


def _gpu_seconds(function: Callable[[], object], _clock: Callable[[], float]) -> float:
    import triton.testing

    return float(triton.testing.do_bench(function, return_mode="median")) / 1000


@contextmanager
def _progress(steps: int) -> Iterator[Callable[[], None]]:
    """Yields a function to call after each step; a bar appears once it is clear that they take a while."""
    start = refreshed = time.monotonic()
    done = 0
    show: Callable[[int], None] | None = None

    def step() -> None:
        nonlocal done, refreshed, show
        done += 1
        now = time.monotonic()
        if show is None and (now - start) / done * steps > PROGRESS_AFTER:
            show = bars.enter_context(_bar(steps))
        # Drawn here, between timings: a thread of its own would run during them.
        if show is not None and (now - refreshed > REFRESH_EVERY or done == steps):
            show(done)
            refreshed = now

    with ExitStack() as bars:
        yield step


@contextmanager
def _bar(steps: int) -> Iterator[Callable[[int], None]]:
    """Shows a progress bar, in a notebook or in a terminal; yields a function that takes the number of steps done."""
    if in_notebook():
        from IPython.display import ProgressBar

        cell_bar = ProgressBar(steps)
        cell_bar.display()
        yield lambda done: setattr(cell_bar, "progress", done)
        return

    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("comparing", total=steps)
        yield lambda done: bar.update(task, completed=done, refresh=True)


def _duration(seconds: float) -> str:
    for unit, scale in [("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)]:
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
