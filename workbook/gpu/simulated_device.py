"""A GPU whose times are known, to try benchmarks on: launches, events, a cache and a clock, all in virtual time.

What misleads a benchmark on a real GPU can be switched on here one by one, and what it should have found stands in the
settings. No call waits for anything: a second of the device passes as fast as Python computes it.

    device = SimulatedDevice(Settings(run=200e-6, cached=0.5), seed=1)
    start = device.record()
    device.run()
    end = device.record()
    device.synchronize()
    device.seconds_between(start, end)
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RECORDING = 1e-6
"""Seconds of the host for the launch of an event."""

READING = 50e-9
"""Seconds of the host to read its clock."""

FLUSHING_JITTER = 0.05
"""Standard deviation of a flush's duration, as a part of it."""

SHORTEST = 0.05
"""Part of its duration that a run takes at least, however its jitter falls."""


MOST = 100_000
"""Launches, and events, that a device takes in all: a benchmark without end finds one."""


class Clocked(Protocol):
    """What a benchmark may ask of a device. Times are seconds."""

    @property
    def timer_resolution(self) -> float:
        """Between two ticks of the clock that events read."""

    def synchronize(self) -> None:
        """Waits until the device has done all that was launched."""

    def record(self) -> int:
        """Launches an event, which notes the device's time when its turn comes; returns its number."""

    def seconds_between(self, start: int, end: int) -> float:
        """Returns the time between two events, in whole ticks. Raises RuntimeError until both have happened."""

    def clock(self) -> float:
        """Returns the host's clock."""

    def flush_cache(self) -> None:
        """Launches the overwriting of a buffer as large as the L2 cache, so that nothing else is left in it."""


@dataclass(frozen=True)
class Device:
    """The same calls, each given as a function: this is how a judge lends a device that it keeps to itself."""

    synchronize: Callable[[], None]
    record: Callable[[], int]
    seconds_between: Callable[[int, int], float]
    clock: Callable[[], float]
    flush_cache: Callable[[], None]
    timer_resolution: float


@dataclass(frozen=True)
class Settings:
    """How a device behaves. Times are seconds; everything that misleads is switched off.

    Attributes:
        run: One run on a cold cache at the steady clock, on average and not interrupted: what a benchmark should find.
        jitter: Standard deviation of a run's duration, as a part of it.
        cached: What part of its duration a run takes when the one before has left its data in the cache.
        flush: A flush of the cache.
        launch: What a launch takes of the host.
        latency: From the end of the last run until the host has noticed.
        resolution: Between two ticks of the events' clock.
        queue: Launches that may wait; the next one blocks the host.
        compiling: What the first call takes of the host, before it launches anything.
        first_runs: How many times as long each of the first runs takes.
        boost: How much faster the clock is at the first run than when it is steady: 0.3 is 30 %; negative is slower.
        settling: In which that difference shrinks to 1/e, from the first run on.
        interrupted: Probability that a run is interrupted by somebody else's work.
        interruption: How long that takes, lowest and highest, in runs.
        pending: Somebody else's work that the device still has to do at the beginning.
    """

    run: float
    jitter: float = 0.01
    cached: float = 1.0
    flush: float = 100e-6
    launch: float = 5e-6
    latency: float = 8e-6
    resolution: float = 1e-6
    queue: int = 1024
    compiling: float = 0.0
    first_runs: tuple[float, ...] = ()
    boost: float = 0.0
    settling: float = 0.02
    interrupted: float = 0.0
    interruption: tuple[float, float] = (2.0, 10.0)
    pending: float = 0.0


@dataclass(frozen=True)
class Launch:
    """One thing that the device did. Times are seconds of the host's clock.

    Attributes:
        kind: What it was.
        launched: When the host was done with launching it.
        began: When the device began with it.
        ended: When the device was done with it.
    """

    kind: Literal["run", "flush", "pending"]
    launched: float
    began: float
    ended: float


class SimulatedDevice:
    """A device and its host, in virtual time.

    Attributes:
        settings: How it behaves.
        launches: All that it has done or still has to do, in order.
        runs: How many runs were launched.
    """

    def __init__(self, settings: Settings, seed: int = 0) -> None:
        """Prepares a device that nobody has used yet.

        Args:
            settings: How it behaves.
            seed: Of jitter and interruptions.
        """
        self.settings = settings
        self.launches: list[Launch] = []
        self.runs = 0
        self._rng = random.Random(seed)
        self._began = self._now = self._rng.uniform(1e3, 1e4)
        self._free = self._now  # when it will have done all
        self._waiting: deque[float] = deque()  # when each launch that may still wait begins
        self._events: list[float] = []
        self._first_run = math.inf  # when it began
        self._cached = False
        if settings.pending:
            self._launch("pending", lambda _: settings.pending)

    @property
    def timer_resolution(self) -> float:
        """Seconds between two ticks of the clock that events read."""
        return self.settings.resolution

    @property
    def busy(self) -> bool:
        """Whether something is left to do."""
        return self._free > self._now

    @property
    def elapsed(self) -> float:
        """Seconds of the host since the beginning, without compiling."""
        return self._now - self._began - (self.settings.compiling if self.runs else 0.0)

    def run(self) -> None:
        """Launches the work that is to be timed, and returns before it is done. The first call compiles it.

        Raises:
            RuntimeError: There have been too many launches.
        """
        if not self.runs:
            self._now += self.settings.compiling
        self._launch("run", self._duration)

    def flush_cache(self) -> None:
        """Launches the overwriting of a buffer as large as the L2 cache.

        Raises:
            RuntimeError: There have been too many launches.
        """
        self._launch("flush", lambda _: self.settings.flush * self._jittered(FLUSHING_JITTER))
        self._cached = False

    def record(self) -> int:
        """Launches an event, which notes the device's time when its turn comes; returns its number.

        Raises:
            RuntimeError: There have been too many.
        """
        _bounded(self._events)
        self._now += RECORDING
        self._events.append(max(self._now, self._free))
        return len(self._events) - 1

    def seconds_between(self, start: int, end: int) -> float:
        """Returns the time between two events, in whole ticks.

        Raises:
            RuntimeError: One of them has not happened yet.
            LookupError: There is no such event.
        """
        if not all(type(event) is int and 0 <= event < len(self._events) for event in (start, end)):
            raise LookupError(f"there is no such event: {start!r}, {end!r}")
        if max(self._events[start], self._events[end]) > self._now:
            raise RuntimeError("an event has not happened yet: synchronize first")
        tick = self.settings.resolution
        return (math.floor(self._events[end] / tick) - math.floor(self._events[start] / tick)) * tick

    def synchronize(self) -> None:
        """Waits until all that was launched is done."""
        self._now = max(self._now, self._free) + self.settings.latency

    def clock(self) -> float:
        """Returns the host's clock."""
        self._now += READING
        return self._now

    def plot(self, first: int = 0, count: int = 20, axes: Axes | None = None) -> Axes:
        """Draws a part of the launches: when the host was done with each, and when the device worked on it.

        Args:
            first: Where to begin in `launches`.
            count: How many to draw.
            axes: Where to draw; a new figure where left out.
        """
        import matplotlib.pyplot as plt

        axes = axes or plt.subplots(figsize=(8, 2), layout="constrained")[1]
        shown = self.launches[first : first + count]
        colours = {"run": "C0", "flush": "0.8", "pending": "C3"}
        for kind in dict.fromkeys(one.kind for one in shown):
            some = [one for one in shown if one.kind == kind]
            begin = [(one.began - shown[0].launched) * 1e6 for one in some]
            width = [(one.ended - one.began) * 1e6 for one in some]
            axes.barh([0] * len(some), width, left=begin, color=colours[kind], edgecolor="white", label=kind)
            launched = [(one.launched - shown[0].launched) * 1e6 for one in some]
            axes.plot(launched, [1] * len(some), "|", color=colours[kind], markersize=16)
        axes.set_yticks([0, 1], ["device works", "host has launched"])
        axes.set_ylim(-0.6, 1.6)
        axes.set_xlabel("µs of virtual time")
        axes.legend(loc="upper right", ncols=3, fontsize="small")
        return axes

    def _launch(self, kind: Literal["run", "flush", "pending"], duration: Callable[[float], float]) -> None:
        _bounded(self.launches)
        self._now += self.settings.launch
        while self._waiting and self._waiting[0] <= self._now:
            self._waiting.popleft()
        if len(self._waiting) >= self.settings.queue:
            self._now = self._waiting.popleft()
        began = max(self._now, self._free)
        if kind == "run":
            self._first_run = min(self._first_run, began)
        self._free = began + duration(began)
        self._waiting.append(began)
        self.launches.append(Launch(kind, self._now, began, self._free))

    def _duration(self, began: float) -> float:
        settings = self.settings
        seconds = settings.run * self._jittered(settings.jitter)
        if self._cached:
            seconds *= settings.cached
        seconds /= 1 + settings.boost * math.exp(-(began - self._first_run) / settings.settling)
        if self.runs < len(settings.first_runs):
            seconds *= settings.first_runs[self.runs]
        if self._rng.random() < settings.interrupted:
            seconds += settings.run * self._rng.uniform(*settings.interruption)
        self.runs += 1
        self._cached = True
        return seconds

    def _jittered(self, jitter: float) -> float:
        return max(SHORTEST, self._rng.gauss(1, jitter))


def _bounded(launched: Sized) -> None:
    if len(launched) >= MOST:
        raise RuntimeError(f"the device takes no more than {MOST:,} launches")
