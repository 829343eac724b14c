"""Acceptance criteria of exercise 8.5: an honest benchmark."""

import math
import random
from typing import Any

from autograder.acceptance import Work, criterion, equal, expect, fails_with
from workbook.gpu.simulated_device import Settings, SimulatedDevice

HIDES = ("workbook.bench",)

TOLERANCE = 0.05  # of the time that is to be found
SECONDS = 0.5
QUARTILE = 0.6745  # of a normal distribution, in standard deviations
KEYS = ["high", "low", "runs", "seconds"]


@criterion(
    hint=(
        "When does `fn()` return, and what may the device be doing when you start the clock?",
        "Events are noted by the device when their turn comes: record one before a run, one after.",
        "`start = device.record(); fn(); end = device.record()`; synchronize before you read them.",
    )
)
def runs_are_asynchronous(work: Work, rng: random.Random) -> None:
    """`benchmark` finds the time of a run, though `fn()` returns early and the device is busy."""
    for _ in range(2):
        run, pending = rng.uniform(4e-3, 5e-3), rng.uniform(0.3, 0.6)
        settings = Settings(run=run, pending=pending, flush=rng.uniform(40e-6, 60e-6))
        short = "This is what a launch takes: is the run over when you look at the clock?"
        found(work, settings, rng, short=short, long="Is work in it that was there before?")


@criterion(
    hint=(
        "Who used the cache before your run did? In the world it is never the same run.",
        "Flush before each run, and let no flush stand between a run's two events.",
    )
)
def the_cache_is_cold(work: Work, rng: random.Random) -> None:
    """What is found is the time of a run whose data is not in the cache, without the flush."""
    for _ in range(3):
        run, cached = rng.uniform(500e-6, 900e-6), rng.uniform(0.2, 0.75)
        settings = Settings(run=run, cached=cached, flush=rng.uniform(120e-6, 250e-6))
        short = "The run finds its data in the cache."
        found(work, settings, rng, short=short, long="Is the flush timed, too?")


@criterion(
    hint=(
        "Print the first twenty times of a device with `first_runs`.",
        "Let ten runs pass before the first that counts: they compile, load and allocate.",
    )
)
def first_runs_do_not_count(work: Work, rng: random.Random) -> None:
    """The first call compiles, up to ten runs after it are several times as slow; none counts."""
    for _ in range(3):
        slow = sorted((rng.uniform(4, 15) for _ in range(rng.randint(5, 10))), reverse=True)
        run, compiling = rng.uniform(3e-3, 5e-3), rng.uniform(0.2, 1.0)
        settings = Settings(run=run, compiling=compiling, flush=50e-6, first_runs=tuple(slow))
        found(work, settings, rng, long="Do the first runs count?")


@criterion(
    hint=(
        "Plot times over their number on a device with `boost=0.3`. When do they stop changing?",
        "How many runs make a tenth of a second? Warm up by time, not by number.",
        "Start the clock of the warm-up after the first call and a synchronize: it compiles.",
    )
)
def the_clock_is_steady(work: Work, rng: random.Random) -> None:
    """The device's clock is higher or lower at first; what is found is the time once it is steady."""
    for sign in (1, -1):
        boost, settling = sign * rng.uniform(0.3, 0.4), rng.uniform(0.017, 0.02)
        settings = Settings(
            run=rng.uniform(150e-6, 200e-6),
            compiling=rng.uniform(0.3, 1.0),
            boost=boost,
            settling=settling,
            flush=rng.uniform(40e-6, 60e-6),
            launch=2e-6,
            latency=2e-6,
        )
        early = "The clock is not steady yet."
        found(work, settings, rng, short=early, long=early)


@criterion(
    hint=(
        "Draw a histogram of what you measure on a device with `interrupted=0.1`.",
        "An interrupted run says nothing about your kernel; nor does the luckiest of all.",
        "Either the median, or leave out what is far beyond it and take the mean of the rest.",
    )
)
def interruptions_do_not_count(work: Work, rng: random.Random) -> None:
    """Some runs are interrupted, all of them vary: what counts is the middle of the others."""
    for _ in range(3):
        settings = Settings(
            run=rng.uniform(1e-3, 2e-3),
            jitter=rng.uniform(0.035, 0.05),
            interrupted=rng.uniform(0.08, 0.12),
        )
        long = "Do interrupted runs count?"
        found(work, settings, rng, short="Is this the luckiest run of all?", long=long)


@criterion(
    hint=(
        "How many ticks of the events' clock does such a run take? And what does a launch take?",
        "The host must be ahead: launch flush, event, run and event without waiting in between.",
        "One difference is a whole number of ticks, their mean over 200 runs is not.",
    )
)
def short_runs_are_found(work: Work, rng: random.Random) -> None:
    """A run of a few ticks, shorter than its own launch, is found just as well."""
    for ticks in rng.sample((2, 3, 4), 2):
        settings = Settings(
            run=(ticks + rng.uniform(0.38, 0.62)) * 1e-6,
            cached=rng.uniform(0.4, 0.7),
            launch=rng.uniform(4e-6, 7e-6),
            flush=rng.uniform(80e-6, 120e-6),
        )
        coarse = "Is this a whole number of ticks, or is a launch in it, or a cached run?"
        found(work, settings, rng, short=coarse, long=coarse)


@criterion(
    hint=(
        "The quartiles say between which times half of all runs fall.",
        "Leave out what was interrupted, then `statistics.quantiles(times, n=4)`.",
    )
)
def the_spread_is_that_of_runs(work: Work, rng: random.Random) -> None:
    """`low` and `high` are the quartiles of single runs, of which at least 50 were measured."""
    for interrupted in (0.0, rng.uniform(0.08, 0.1)):
        jitter = rng.uniform(0.05, 0.06)
        run = rng.uniform(400e-6, 800e-6)
        settings = Settings(run=run, jitter=jitter, interrupted=interrupted)
        device = SimulatedDevice(settings, rng.getrandbits(64))
        got = measured(work, device, SECONDS)
        runs = got["runs"]
        expect(50 <= runs <= device.runs, f"`runs` is {runs}: at least 50 are to count")
        middle, half = got["seconds"], QUARTILE * jitter * run
        for name, below in (("low", middle - got["low"]), ("high", got["high"] - middle)):
            hint = "Take the quartiles of the runs, not the extremes, nor the error of the mean."
            said = f"{micro(below)} from `seconds`, it should be about {micro(half)}"
            expect(0.4 * half <= below <= 2.2 * half, f"`{name}` is {said}", hint)


@criterion(
    hint=(
        "What do 300 runs cost if one takes a hundredth of `seconds`?",
        "Measure ten at a time, and look at the host's clock in between.",
    )
)
def time_is_bounded(work: Work, rng: random.Random) -> None:
    """`benchmark` takes at most twice as long as `seconds` says, and the time is right."""
    for _ in range(2):
        seconds = rng.uniform(0.5, 1.0)
        settings = Settings(run=seconds / rng.uniform(100, 110), compiling=rng.uniform(0.1, 0.5))
        device = found(work, settings, rng, seconds=seconds)
        took = f"{device.elapsed:.3g} s for `seconds={seconds:.3g}`"
        expect(device.elapsed <= 2 * seconds, f"it took {took}", "Is the number of runs fixed?")


@criterion(
    hint=(
        "Who launched what the device still does when the next benchmark begins?",
        "`try: … finally: device.synchronize()`.",
    )
)
def errors_are_passed_on(work: Work, rng: random.Random) -> None:
    """What `fn` raises is raised, and the device has nothing left to do, whatever happened."""
    for limit in (0, rng.randint(3, 9), rng.randint(40, 60)):
        device = SimulatedDevice(Settings(run=rng.uniform(2e-3, 4e-3)), rng.getrandbits(64))

        def fn(device: SimulatedDevice = device, limit: int = limit) -> None:
            if device.runs >= limit:
                raise OverflowError("too many resources requested for launch")
            device.run()

        with fails_with("OverflowError", "A benchmark of what fails has no result: let it raise."):
            work.call("benchmark", fn, lent(work, device), SECONDS)
        after = f"after {limit} runs and an error"
        expect(not device.busy, f"{after} the device is still busy", "Synchronize in `finally`.")


def found(
    work: Work,
    settings: Settings,
    rng: random.Random,
    *,
    seconds: float = SECONDS,
    short: str = "",
    long: str = "",
) -> SimulatedDevice:
    """Expects that the benchmark finds a device's time, or says what too short or too long means."""
    device = SimulatedDevice(settings, rng.getrandbits(64))
    got = measured(work, device, seconds)["seconds"]
    off = got / settings.run - 1
    said = f"found {micro(got)}, a run takes {micro(settings.run)}: {off:+.1%}"
    expect(abs(off) <= TOLERANCE, said, short if off < 0 else long)
    expect(not device.busy, "the device is still busy when the benchmark returns")
    return device


def measured(work: Work, device: SimulatedDevice, seconds: float) -> dict[str, Any]:
    """What the benchmark says of a device, if it has the form that the contract asks for."""
    got = work.call("benchmark", device.run, lent(work, device), seconds)
    expect(type(got) is dict, f"expected a dictionary, got {got!r:.100}")
    equal(sorted(got), KEYS)
    equal(type(got["runs"]), int, "`runs` is how many runs counted.")
    for name in ("seconds", "low", "high"):
        right = type(got[name]) is float and math.isfinite(got[name])
        expect(right, f"`{name}` is {got[name]!r:.100}: not a finite float")
    return dict(got)


def lent(work: Work, device: SimulatedDevice) -> Any:
    """A device in the notebook's process whose calls are answered here."""
    calls = (device.synchronize, device.record, device.seconds_between, device.clock)
    return work.new("Device", *calls, device.flush_cache, device.timer_resolution)


def micro(seconds: float) -> str:
    """A time in µs."""
    return f"{seconds * 1e6:.4g} µs"
