"""Measuring on a GPU, tried on one that only writes down what it is asked for."""

import dataclasses

import pytest

from workbook import device as machine
from workbook.device import Tier
from workbook.gpu import measure
from workbook.gpu.chips import chip
from workbook.gpu.code import NotRunError
from workbook.gpu.measure import do_bench, gpu, need_gpu
from workbook.gpu.roofline import Roofline, Work


class Gpu:
    """Runs nothing; a launch takes the time that it is told, on a clock of its own."""

    name = "a GPU of the test"

    def __init__(self, milliseconds: float, clocks: tuple[int, int] | None = (1980, 1980)) -> None:
        self.milliseconds = milliseconds
        self.clocks = clocks
        self.now = 0.0
        self.done: list[str] = []

    def run(self) -> None:
        self.done.append("run")
        self.now += self.milliseconds

    def event(self) -> "Mark":
        return Mark(self)

    def flush(self) -> None:
        self.done.append("flush")
        self.now += 5

    def synchronize(self) -> None:
        self.done.append("synchronize")

    def clock(self) -> tuple[int, int] | None:
        self.done.append("clock")
        return self.clocks


class Mark:
    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.at = -1.0

    def record(self) -> None:
        self.gpu.done.append("event")
        self.at = self.gpu.now

    def elapsed_time(self, end: "Mark") -> float:
        assert self.gpu.done[-1] in ("synchronize", "clock"), "the GPU has not passed the marks yet"
        return end.at - self.at


def test_each_run_is_marked_after_the_cache_is_empty_and_waited_for_once() -> None:
    device = Gpu(0.2)
    found = do_bench(device.run, device=device, warm_up=0.1, seconds=0.1)
    after = " ".join(device.done).split("clock")
    assert len(after) == 3
    measured = after[1].split()
    assert measured[-1] == "synchronize"
    assert measured[:-1] == ["flush", "event", "run", "event"] * len(found.seconds)
    assert len(found.seconds) == round(100 / 5.2)
    assert found.seconds == pytest.approx([0.2e-3] * len(found.seconds)), "the flush is not counted"


def test_it_warms_up_before() -> None:
    device = Gpu(1)
    do_bench(device.run, device=device, warm_up=0.5, seconds=0, flush=False)
    before = " ".join(device.done).split("clock")[0].split()
    assert before[:3] == ["run", "synchronize", "event"], "the first run, which compiles, is not in the estimate"
    assert before.count("run") == 1 + 5 + 500
    assert before[-1] == "synchronize"
    assert "flush" not in device.done


def test_quartiles_and_conditions() -> None:
    device = Gpu(0)
    lengths = iter([1.0] * 6 + [1.0, 2.0, 3.0, 4.0, 100.0] * 2)

    def run() -> None:
        device.milliseconds = next(lengths)
        device.run()

    found = do_bench(run, device=device, warm_up=0, seconds=0)
    assert len(found.seconds) == 10
    assert (found.quartiles.low, found.median, found.quartiles.high) == pytest.approx((2e-3, 3e-3, 4e-3))
    assert "measured on a GPU of the test; L2 empty; SM clock 1980 MHz before" in str(found)
    assert "3 ms" in found._repr_markdown_()


def test_a_low_clock_is_noted() -> None:
    found = do_bench(Gpu(1).run, device=Gpu(1, (1200, 1980)), warm_up=0, seconds=0)
    assert found.clock_note.endswith("of at most 1980 MHz; low: the GPU was throttled or not warm")
    assert do_bench(Gpu(1).run, device=Gpu(1, None), warm_up=0, seconds=0).clock_note == "clock not known"


def test_a_measurement_beside_the_model() -> None:
    device = Gpu(1.0)
    found = do_bench(device.run, device=device, warm_up=0, seconds=0)
    model = Roofline(Work("copy", 0, 1675_000_000), chip("H100"))
    assert found.reached(model) == pytest.approx(0.5)


def test_a_negative_time_is_refused() -> None:
    with pytest.raises(ValueError, match="seconds=-1"):
        do_bench(lambda: None, device=Gpu(1), seconds=-1)


def test_without_a_gpu_all_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    here = dataclasses.replace(machine.detect(), gpus=(), no_gpu="no NVIDIA driver is installed")
    monkeypatch.setattr(measure.machine, "detect", lambda: here)  # type: ignore[attr-defined]
    assert not here.tiers[Tier.MEASURED].offered
    for call in (need_gpu, gpu, lambda: do_bench(lambda: None)):
        with pytest.raises(NotRunError) as caught:
            call()
        assert str(caught.value) == "not run: no GPU (no NVIDIA driver is installed)"
