# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise 8.5: an honest benchmark
#
# **Goal**: write `benchmark`, which finds out how long a kernel runs, on devices that do their best
# to mislead it.
#
# **Why it matters.** Every decision about a kernel rests on a time that somebody measured. A GPU
# returns before it has begun, compiles at the first call, changes its clock, keeps the last run's
# data in its cache and is shared with others. A benchmark that ignores one of these is not
# inexact, it is wrong, often by a factor, and nothing in its output says so.
#
# | | |
# |---|---|
# | Difficulty | ●●●○○ |
# | Importance | ●●●●● |
# | Time | 75 minutes |
# | Needs | a CPU: the devices are simulated, and their true times are known |

# %% [markdown]
# ## The contract
#
# ```python
# def benchmark(fn: Callable[[], None], device: Clocked, seconds: float = 0.5) -> dict
# ```
#
# `fn()` launches one run on the device. The result is a dictionary of plain numbers:
#
# | key | |
# |---|---|
# | `"seconds"` | the time of one run, a float |
# | `"low"`, `"high"` | the quartiles of single runs: half of all that count are between them |
# | `"runs"` | how many runs counted, an int; at least 50 |
#
# - **The time of one run** is what the device works on it, on average: with nothing of its data in
#   the cache, at the device's steady clock, and not interrupted. You find it within 5 %.
# - **Time**: by the host's clock, all of it takes at most twice `seconds`; compiling, and work that
#   was there before, come on top.
# - **Errors**: what `fn` raises is raised. Whether it returns or raises, the device has nothing left
#   to do when `benchmark` is over.
#
# What a device can do (times are in seconds; on a GPU, `torch.cuda` has their like):
#
# | call | |
# |---|---|
# | `device.synchronize()` | waits until all that was launched is done |
# | `device.record()` | launches an event, which notes the device's time; returns its number |
# | `device.seconds_between(a, b)` | between two events, in whole ticks; once both have happened |
# | `device.timer_resolution` | between two ticks |
# | `device.clock()` | the host's clock |
# | `device.flush_cache()` | launches the overwriting of a buffer as large as the L2 cache |
#
# What is launched is done in order, one after the other; the host goes on meanwhile.
#
# What you may rely on: `seconds` is at least 0.5, and a run takes at most a hundredth of it. The
# first call may compile, for up to a second. After ten runs none is slow any more for being among
# the first, and 0.1 s after the first run has begun the clock is steady. On average at most one run
# in eight is interrupted, and then takes at least three times as long.

# %% [markdown]
# ## The criteria
#
# | criterion | points | what it asks |
# |---|---|---|
# | `runs-are-asynchronous` | 15 | the run is timed, not its launch, nor what others have launched |
# | `the-cache-is-cold` | 15 | each run begins on a cold cache; the flush is not timed |
# | `first-runs-do-not-count` | 10 | compiling and slow first runs |
# | `the-clock-is-steady` | 10 | clocks that begin too high or too low |
# | `interruptions-do-not-count` | 15 | neither the interrupted runs nor the luckiest |
# | `short-runs-are-found` | 15 | runs of a few ticks, shorter than a launch |
# | `the-spread-is-that-of-runs` | 10 | `low` and `high` |
# | `time-is-bounded` | 5 | long runs are measured less often |
# | `errors-are-passed-on` | 5 | failing launches; nothing is left running |
#
# The criteria stand in `acceptance.py` beside this notebook. Your work is graded by the same
# functions on devices with other numbers, whose times your code cannot look up: it is only lent
# their calls.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import statistics
from collections.abc import Callable

from autograder.check import check
from workbook.gpu.simulated_device import Clocked, Device, Settings, SimulatedDevice
from workbook.show import Table

SETTLED = 0.1  # seconds after the first run has begun until the clock is steady
FIRST_RUNS = 10  # runs that may be slow for being among the first

# %% [markdown]
# ## A device to look at
#
# `SimulatedDevice` is yours to try things on. Everything that misleads is a setting, off unless you
# switch it on, and `settings.run` is the truth. `help(Settings)` lists them.

# %%
device = SimulatedDevice(Settings(run=200e-6))
for _ in range(3):
    device.flush_cache()
    device.run()
device.synchronize()
axes = device.plot()

# %% [markdown]
# Above, when the host was done with each launch; below, when the device worked on it. The host is
# finished long before the first run begins.
#
# > **What the source gets wrong.** *Claim*: a handbook's benchmark of a custom kernel reads the
# > clock, calls the kernel a hundred times, synchronizes, reads the clock again, and divides.
# > *Measured*, below, on devices with one thing each that misleads: without a warm-up, compiling and
# > slow first runs are part of the result; without a synchronize before the clock is started, so is
# > work that was there before. What it finds otherwise is the time on a warm cache, at whatever
# > clock the device has just then, interruptions included. *Correction*: this exercise.


# %%
def printed_benchmark(fn: Callable[[], None], device: Clocked, runs: int = 100) -> float:
    """The source's benchmark, in our words."""
    start = device.clock()
    for _ in range(runs):
        fn()
    device.synchronize()
    return (device.clock() - start) / runs


WORLDS = {
    "calm": Settings(run=1e-3),
    "busy before": Settings(run=1e-3, pending=0.05),
    "compiles, first runs slow": Settings(run=1e-3, compiling=0.4, first_runs=(8, 5, 3, 2)),
    "cache": Settings(run=1e-3, cached=0.5),
    "interrupted": Settings(run=1e-3, interrupted=0.1),
    "clock boosts": Settings(run=1e-3, boost=0.3),
    "short": Settings(run=2.5e-6),
}


def errors_of(benchmark: Callable[..., float]) -> Table:
    """How far off a benchmark is in each world."""
    rows = []
    for name, settings in WORLDS.items():
        device = SimulatedDevice(settings, seed=1)
        rows.append((name, f"{benchmark(device.run, device) / settings.run - 1:+.1%}"))
    return Table(("world", "error"), rows)


errors_of(printed_benchmark)

# %% [markdown]
# You build the benchmark from three parts. `put_together` makes one of the parts that you have, with
# naive ones in place of the rest, so that each step can be checked alone. What is graded is the
# `benchmark` that you write last.


# %% nbgrader={"grade": false, "grade_id": "put-together", "locked": true, "schema_version": 3, "solution": false, "task": false}
Result = dict[str, float]


def no_warm_up(fn: Callable[[], None], device: Clocked) -> None:
    """To be replaced in step 2."""


def naive_summary(times: list[float]) -> Result:
    """To be replaced in step 3."""
    mean = statistics.fmean(times)
    return {"seconds": mean, "low": mean, "high": mean, "runs": len(times)}


def put_together(
    sample: Callable[[Callable[[], None], Clocked, int], list[float]],
    warm_up: Callable[[Callable[[], None], Clocked], None] = no_warm_up,
    summary: Callable[[list[float]], Result] = naive_summary,
) -> Callable[..., Result]:
    """Returns a benchmark of 200 runs, made of these parts."""

    def benchmark(fn: Callable[[], None], device: Clocked, seconds: float = 0.5) -> Result:
        warm_up(fn, device)
        return summary(sample(fn, device, 200))

    return benchmark


# %% [markdown]
# ## Step 1: one run, on the device's own clock
#
# `sample` measures some runs, each on a cold cache, and returns the time of each. Between a run's
# two events there must be that run and nothing else: no flush, and no waiting for the host. Keep
# the host ahead of the device: launch everything, synchronize once, then read.
#
# <details><summary>Hint 1</summary>
#
# The host needs a few µs for a launch. If the device has nothing to do meanwhile, the first event
# happens at once, and the wait for the launch is timed as well. What could keep the device busy?
# </details>
# <details><summary>Hint 2</summary>
#
# `flush_cache(); start = record(); fn(); end = record()`, for each run. The flush keeps the device
# busy while the host launches the other three.
# </details>


# %% nbgrader={"grade": false, "grade_id": "sample", "locked": false, "schema_version": 3, "solution": true, "task": false}
def sample(fn: Callable[[], None], device: Clocked, runs: int) -> list[float]:
    """Returns the seconds of each of some runs, each on a cold cache."""
    ### BEGIN SOLUTION
    events = []
    for _ in range(runs):
        device.flush_cache()
        start = device.record()
        fn()
        events.append((start, device.record()))
    device.synchronize()
    return [device.seconds_between(start, end) for start, end in events]
    ### END SOLUTION


# %%
device = SimulatedDevice(Settings(run=1e-3, cached=0.5, pending=0.05))
[round(seconds * 1e6) for seconds in sample(device.run, device, 5)]

# %% [markdown]
# Expected output: five numbers near 1000, in µs; the spread of a run is 1 % here.

# %% nbgrader={"grade": true, "grade_id": "runs-are-asynchronous", "locked": true, "points": 15, "schema_version": 3, "solution": false, "task": false}
check("runs-are-asynchronous", put_together(sample), Device)

# %% nbgrader={"grade": true, "grade_id": "the-cache-is-cold", "locked": true, "points": 15, "schema_version": 3, "solution": false, "task": false}
check("the-cache-is-cold", put_together(sample), Device)

# %% [markdown]
# ## Step 2: warm up
#
# Runs that do not count, until neither compiling, nor slow first runs, nor the clock matter.
#
# <details><summary>Hint 1</summary>
#
# A fixed number of runs is ten microseconds for one kernel and a second for another. The clock wants
# time, the first runs want a number: go on until both have enough.
# </details>
# <details><summary>Hint 2</summary>
#
# The first call compiles before it launches. If your clock is running already, the tenth of a
# second is over before the device has begun.
# </details>


# %% nbgrader={"grade": false, "grade_id": "warm-up", "locked": false, "schema_version": 3, "solution": true, "task": false}
def warm_up(fn: Callable[[], None], device: Clocked) -> None:
    """Runs `fn` until the device is as it will stay."""
    ### BEGIN SOLUTION
    fn()
    device.synchronize()
    start = device.clock()
    runs = 1
    while runs < FIRST_RUNS or device.clock() - start < SETTLED:
        for _ in range(5):
            device.flush_cache()
            fn()
            runs += 1
        device.synchronize()
    ### END SOLUTION


# %%
device = SimulatedDevice(Settings(run=1e-3, boost=0.3, compiling=0.4, first_runs=(8, 5, 3, 2)))
warm_up(device.run, device)
[round(seconds * 1e6) for seconds in sample(device.run, device, 5)]

# %% [markdown]
# Expected output: five numbers near 1000 once more.

# %% nbgrader={"grade": true, "grade_id": "first-runs-do-not-count", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("first-runs-do-not-count", put_together(sample, warm_up), Device)

# %% nbgrader={"grade": true, "grade_id": "the-clock-is-steady", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("the-clock-is-steady", put_together(sample, warm_up), Device)

# %% [markdown]
# ## Step 3: one number of many, and how far it can be trusted
#
# Some of the times are of interrupted runs. Of the rest you want the average and the quartiles. The
# median is not always the average: a run of 2.5 ticks is timed as two ticks or as three, never as
# what it is.
#
# <details><summary>Hint 1</summary>
#
# The median is a good judge of which times belong to interrupted runs, whatever the ticks.
# </details>
# <details><summary>Hint 2</summary>
#
# Keep what is less than twice the median; then `statistics.fmean` and `statistics.quantiles(…, n=4)`.
# </details>


# %% nbgrader={"grade": false, "grade_id": "summary", "locked": false, "schema_version": 3, "solution": true, "task": false}
def summary(times: list[float]) -> Result:
    """Returns `seconds`, `low`, `high` and `runs` of the times of single runs."""
    ### BEGIN SOLUTION
    middle = statistics.median(times)
    calm = [seconds for seconds in times if seconds < 2 * middle]
    low, _, high = statistics.quantiles(calm, n=4)
    return {"seconds": statistics.fmean(calm), "low": low, "high": high, "runs": len(calm)}
    ### END SOLUTION


# %%
device = SimulatedDevice(Settings(run=2.5e-6, interrupted=0.1))
{name: f"{value:.3g}" for name, value in summary(sample(device.run, device, 300)).items()}

# %% [markdown]
# Expected output: `seconds` within 5 % of 2.5e-06, `low` and `high` one tick apart.

# %% nbgrader={"grade": true, "grade_id": "interruptions-do-not-count", "locked": true, "points": 15, "schema_version": 3, "solution": false, "task": false}
check("interruptions-do-not-count", put_together(sample, warm_up, summary), Device)

# %% nbgrader={"grade": true, "grade_id": "short-runs-are-found", "locked": true, "points": 15, "schema_version": 3, "solution": false, "task": false}
check("short-runs-are-found", put_together(sample, warm_up, summary), Device)

# %% nbgrader={"grade": true, "grade_id": "the-spread-is-that-of-runs", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("the-spread-is-that-of-runs", put_together(sample, warm_up, summary), Device)

# %% [markdown]
# ## Step 4: the benchmark
#
# Put it together: warm up, measure, sum up. Measure 300 runs if there is time for them, fewer if
# not. And see to it that the device has nothing left to do, also where `fn` raises.
#
# <details><summary>Hint 1</summary>
#
# Measure ten runs at a time, and look at the host's clock after each ten.
# </details>
# <details><summary>Hint 2</summary>
#
# `deadline = device.clock() + seconds` after the warm-up; stop at 300 runs, or after 60 once the
# deadline is over. All of it stands in `try: … finally: device.synchronize()`.
# </details>


# %% nbgrader={"grade": false, "grade_id": "benchmark", "locked": false, "schema_version": 3, "solution": true, "task": false}
def benchmark(fn: Callable[[], None], device: Clocked, seconds: float = 0.5) -> Result:
    """Returns how long one run takes, and the spread of runs: see the contract."""
    ### BEGIN SOLUTION
    try:
        warm_up(fn, device)
        deadline = device.clock() + seconds
        times: list[float] = []
        while len(times) < 60 or (len(times) < 300 and device.clock() < deadline):
            times += sample(fn, device, 10)
        return summary(times)
    finally:
        device.synchronize()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "time-is-bounded", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check("time-is-bounded", benchmark, Device)

# %% nbgrader={"grade": true, "grade_id": "errors-are-passed-on", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check("errors-are-passed-on", benchmark, Device)

# %% [markdown]
# ## The printed benchmark's worlds, once more

# %%
errors_of(lambda fn, device: benchmark(fn, device)["seconds"])

# %% [markdown]
# Expected output: no error beyond 5 % in any world.
#
# ## What you have now
#
# A benchmark that knows six ways to be misled. On a real GPU it needs `torch.cuda.Event`,
# `torch.cuda.synchronize` and a buffer to write; `triton.testing.do_bench` does much of this, and
# now you can say what. Where it stops holding: a real clock settles over seconds, not a tenth of
# one; whether it has must be measured. And a cold cache is a choice: a kernel that always follows
# the one that makes its data finds it in the cache, and should be timed so.
