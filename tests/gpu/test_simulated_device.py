"""A simulated device: launches, events, cache, clock and interruptions behave as its settings say."""

import statistics
from typing import Any

import matplotlib as mpl
import pytest

from workbook.gpu import simulated_device
from workbook.gpu.simulated_device import Settings, SimulatedDevice

mpl.use("Agg")
EXACT: dict[str, Any] = {"jitter": 0.0, "resolution": 1e-9}


def timed(device: SimulatedDevice, runs: int, *, flush: bool = True) -> list[float]:
    events = []
    for _ in range(runs):
        if flush:
            device.flush_cache()
        start = device.record()
        device.run()
        events.append((start, device.record()))
    device.synchronize()
    return [device.seconds_between(start, end) for start, end in events]


def test_a_launch_returns_before_the_run_is_over() -> None:
    device = SimulatedDevice(Settings(run=1e-3, **EXACT))
    began = device.clock()
    device.run()
    assert device.clock() - began < 10e-6
    assert device.launches[-1].ended > device.clock()
    device.synchronize()
    assert not device.busy
    assert device.clock() - began > 1e-3


def test_events_time_the_device_once_they_have_happened() -> None:
    device = SimulatedDevice(Settings(run=1e-3, pending=0.1, **EXACT))
    device.flush_cache()
    start = device.record()
    device.run()
    end = device.record()
    with pytest.raises(RuntimeError, match="synchronize first"):
        device.seconds_between(start, end)
    device.synchronize()
    assert device.seconds_between(start, end) == pytest.approx(1e-3, rel=1e-4)
    with pytest.raises(LookupError):
        device.seconds_between(start, end + 1)


def test_an_idle_device_waits_for_the_launch() -> None:
    device = SimulatedDevice(Settings(run=3e-6, launch=6e-6, **EXACT))
    assert timed(device, 1, flush=False)[0] > 8e-6
    assert timed(device, 2)[1] == pytest.approx(3e-6, rel=0.01)


def test_ticks_are_whole_and_right_on_average() -> None:
    times = timed(SimulatedDevice(Settings(run=2.5e-6), seed=1), 2000)
    assert {round(one * 1e6, 6) for one in times} <= {1.0, 2.0, 3.0, 4.0}
    assert statistics.fmean(times) == pytest.approx(2.5e-6, rel=0.03)


def test_the_cache_is_warm_unless_it_is_flushed() -> None:
    settings = Settings(run=1e-3, cached=0.5, **EXACT)
    assert timed(SimulatedDevice(settings), 3, flush=False) == pytest.approx([1e-3, 5e-4, 5e-4], rel=0.01)
    assert timed(SimulatedDevice(settings), 3) == pytest.approx([1e-3] * 3, rel=1e-3)


def test_first_runs_compiling_and_the_clock_pass() -> None:
    device = SimulatedDevice(Settings(run=1e-3, compiling=0.5, first_runs=(8.0, 2.0), **EXACT))
    began = device.clock()
    first, *others = timed(device, 3)
    assert first == pytest.approx(0.508, rel=1e-3), "its first event happens before it is compiled"
    assert others == pytest.approx([2e-3, 1e-3], rel=1e-3)
    assert device.clock() - began > 0.5
    assert device.elapsed < 0.02
    times = timed(SimulatedDevice(Settings(run=1e-3, boost=0.25, settling=0.02, **EXACT)), 100)
    assert times[0] == pytest.approx(0.8e-3, rel=1e-3)
    assert times[-1] == pytest.approx(1e-3, rel=0.01)


def test_interruptions_are_as_frequent_and_as_long_as_they_should_be() -> None:
    times = timed(SimulatedDevice(Settings(run=1e-3, interrupted=0.1, interruption=(2, 3)), seed=2), 1000)
    late = [one for one in times if one > 2e-3]
    assert 60 < len(late) < 140
    assert all(2.9e-3 < one < 4.1e-3 for one in late)


def test_a_full_queue_holds_the_host_up() -> None:
    device = SimulatedDevice(Settings(run=1e-3, queue=4, **EXACT))
    began = device.clock()
    for _ in range(10):
        device.run()
    assert 4e-3 < device.clock() - began < 7e-3


def test_the_same_seed_gives_the_same_times() -> None:
    settings = Settings(run=1e-3, interrupted=0.2)
    first, again, other = (timed(SimulatedDevice(settings, seed), 20) for seed in (1, 1, 2))
    assert first == again != other


def test_launches_can_be_drawn() -> None:
    device = SimulatedDevice(Settings(run=1e-3, pending=1e-3))
    timed(device, 3)
    assert [one.kind for one in device.launches] == ["pending", *["flush", "run"] * 3]
    axes = device.plot(count=5)
    assert len(axes.patches) == 5


def test_launches_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated_device, "MOST", 4)
    device = SimulatedDevice(Settings(run=1e-3))
    for _ in range(4):
        device.run()
        device.record()
    for launch in (device.run, device.flush_cache, device.record):
        with pytest.raises(RuntimeError, match="no more than 4"):
            launch()
