"""Timing against a clock of our own, so that what is true is known."""

import json
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import matplotlib as mpl
import numpy as np
import pytest

from workbook import bench, device
from workbook.bench import Comparison, compare

MACHINE = "2 cores of a test machine, 8 GiB, no GPU"


class Machine:
    """Functions that take a known time on a clock that only they move, and what was called when."""

    def __init__(self) -> None:
        self.now = 100.0
        self.calls: list[str] = []
        self.slowness: Callable[[], float] = lambda: 1.0

    def clock(self) -> float:
        return self.now

    def function(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.calls.append(name)
            self.now += seconds * self.slowness()

        return run


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_a_known_ratio_is_found(machine: Machine) -> None:
    functions = {"slow": machine.function("slow", 0.3), "fast": machine.function("fast", 0.1)}
    found = compare(functions, pairs=5, warmup=0, clock=machine.clock)
    assert found.baseline == "slow"
    assert found.ratio("fast").median == pytest.approx(3)
    assert found.ratio("slow").median == 1
    assert found.median_seconds("slow") == pytest.approx(0.3)
    assert found.median_seconds("fast") == pytest.approx(0.1)


def test_a_machine_that_slows_down_moves_seconds_but_not_the_ratio(machine: Machine) -> None:
    """From the third round on all takes four times as long."""
    machine.slowness = lambda: 4.0 if len(machine.calls) > 4 else 1.0
    functions = {"slow": machine.function("slow", 0.3), "fast": machine.function("fast", 0.1)}
    found = compare(functions, pairs=9, warmup=0, clock=machine.clock)
    assert found.seconds["fast"] == pytest.approx([0.1] * 2 + [0.4] * 7)
    assert found.median_seconds("fast") == pytest.approx(0.4)
    assert found.ratio("fast").low == pytest.approx(3)
    assert found.ratio("fast").high == pytest.approx(3)


def test_a_slow_spell_within_one_round_is_left_outside_the_quartiles(machine: Machine) -> None:
    machine.slowness = lambda: 50.0 if len(machine.calls) == 5 else 1.0
    functions = {"slow": machine.function("slow", 0.3), "fast": machine.function("fast", 0.1)}
    ratio = compare(functions, pairs=9, warmup=0, clock=machine.clock).ratio("fast")
    assert [ratio.low, ratio.median, ratio.high] == pytest.approx([3, 3, 3])


def test_quartiles() -> None:
    """Ratios 1 to 5, in disorder: by hand the quartiles are 2, 3 and 4. Those of the times would give 6, 6, 6."""
    found = Comparison({"a": (3.0, 10.0, 4.0, 8.0, 5.0), "b": (1.0, 2.0, 4.0, 2.0, 2.5)}, "cpu", MACHINE)
    assert found.ratios("b") == (3, 5, 1, 4, 2)
    assert found.ratio("b") == bench.Quartiles(2, 3, 4)
    assert (found.median_seconds("a"), found.median_seconds("b")) == (5, 2)


def test_each_round_calls_each_function_once(machine: Machine) -> None:
    functions = {name: machine.function(name, 1) for name in "abc"}
    compare(functions, pairs=40, warmup=2, clock=machine.clock)
    rounds = [machine.calls[place : place + 3] for place in range(0, len(machine.calls), 3)]
    assert len(rounds) == 42
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    # Each second round reverses the one before it, so that no function is ahead of another more often.
    assert all(second == first[::-1] for first, second in zip(rounds[::2], rounds[1::2], strict=True))
    assert len({tuple(order) for order in rounds}) == 6


def test_the_order_comes_from_the_seed(machine: Machine) -> None:
    def calls(seed: int) -> list[str]:
        machine.calls.clear()
        functions = {name: machine.function(name, 1) for name in "abcd"}
        compare(functions, pairs=10, seed=seed, clock=machine.clock)
        return list(machine.calls)

    assert calls(1) == calls(1)
    assert calls(1) != calls(2)


def test_seconds_stay_with_their_function_and_round(machine: Machine) -> None:
    """Whatever the order of calls, a function's time is its own, and equal places are one round."""
    machine.slowness = lambda: 1 + (len(machine.calls) - 1) // 3  # 1 in the warm-up round, then 2, 3, 4, 5
    functions = {name: machine.function(name, seconds) for name, seconds in [("a", 1), ("b", 2), ("c", 3)]}
    found = compare(functions, pairs=4, warmup=1, clock=machine.clock)
    assert found.seconds == {"a": (2, 3, 4, 5), "b": (4, 6, 8, 10), "c": (6, 9, 12, 15)}


def test_warmup_does_not_count(machine: Machine) -> None:
    machine.slowness = lambda: 100.0 if len(machine.calls) <= 4 else 1.0
    functions = {"a": machine.function("a", 0.3), "b": machine.function("b", 0.1)}
    found = compare(functions, pairs=3, warmup=2, clock=machine.clock)
    assert found.pairs == 3
    assert max(found.seconds["a"]) == pytest.approx(0.3)


def test_an_exception_names_the_function(machine: Machine) -> None:
    calls = []

    def fail() -> None:
        machine.now += 1
        calls.append("bad")
        if len(calls) == 3:
            raise KeyError("no such block")

    good = machine.function("good", 1)
    with pytest.raises(KeyError, match="no such block") as raised:
        compare({"good": good, "bad": fail}, warmup=1, clock=machine.clock)
    assert raised.value.__notes__ == ["raised by 'bad', round 2"]
    calls.clear()
    with pytest.raises(KeyError) as raised:
        compare({"bad": fail, "good": good}, warmup=3, clock=machine.clock)
    assert raised.value.__notes__ == ["raised by 'bad', warming up"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"pairs": 1}, "pairs=1: quartiles need two rounds or more"),
        ({"pairs": 0}, "pairs=0: quartiles need two rounds or more"),
        ({"warmup": -1}, "warmup=-1"),
        ({"device": "tpu"}, 'no device is called \'tpu\': choose "auto", "cpu" or "cuda"'),
    ],
)
def test_bad_arguments(arguments: dict[str, object], said: str, machine: Machine) -> None:
    functions = {"a": machine.function("a", 1), "b": machine.function("b", 1)}
    with pytest.raises(ValueError, match=said):
        compare(functions, clock=machine.clock, **arguments)  # type: ignore[arg-type]
    assert machine.calls == []


def test_one_function_is_no_comparison(machine: Machine) -> None:
    with pytest.raises(ValueError, match="two functions or more, not 1"):
        compare({"a": machine.function("a", 1)})


def test_a_time_of_zero_is_refused(machine: Machine) -> None:
    with pytest.raises(ValueError, match="'b' took no measurable time"):
        compare({"a": machine.function("a", 1), "b": lambda: None}, clock=machine.clock)


def test_real_functions_on_a_real_clock() -> None:
    """300 times the work: 5 is far below what any load makes of it."""
    small, large = np.ones(1_000), np.ones(300_000)
    found = compare({"large": lambda: np.sort(large), "small": lambda: np.sort(small)}, pairs=5)
    assert found.ratio("small").median > 5
    assert found.machine == device.detect().label


@pytest.fixture
def comparison() -> Comparison:
    seconds = {"eager": (0.3, 0.6, 0.3), "one | pass": (0.1, 0.2, 0.1), "lazy": (2.0, 2.0, 2.0)}
    return Comparison(seconds, "cpu", MACHINE)


def test_every_form_carries_its_machine(comparison: Comparison) -> None:
    text = str(comparison)
    assert text.splitlines()[-1] == f"3 interleaved rounds on {MACHINE}"
    assert "300 ms" in text
    assert [line.split() for line in text.splitlines()[1:3]] == [
        ["eager", "300", "ms", "1", "baseline"],
        ["one", "|", "pass", "100", "ms", "3", "3", "to", "3"],
    ]
    markdown = comparison._repr_markdown_()
    assert "one \\| pass" in markdown
    assert f"*3 interleaved rounds on {MACHINE}*" in markdown
    values = json.loads(json.dumps(comparison.to_dict()))
    assert values["machine"] == MACHINE
    assert values["baseline"] == "eager"
    assert values["functions"]["lazy"]["seconds"] == [2, 2, 2]
    assert values["functions"]["lazy"]["ratio"]["median"] == pytest.approx(0.15)


def test_the_plot_has_a_box_for_each_other_function(comparison: Comparison) -> None:
    mpl.use("agg")
    axes = comparison.plot()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one | pass", "lazy"]
    assert MACHINE in axes.get_xlabel()
    assert "eager" in axes.get_xlabel()
    again = comparison.plot(axes)
    assert again is axes


@pytest.mark.parametrize(
    ("seconds", "text"), [(12, "12 s"), (0.25, "250 ms"), (3.21e-5, "32.1 µs"), (4e-8, "40 ns"), (1, "1 s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert bench._duration(seconds) == text


def test_a_gpu_is_timed_by_do_bench(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for Triton and for the GPU: this shows what is asked of do_bench, not that it works on one."""
    asked = []

    def do_bench(function: Callable[[], None], **options: object) -> float:
        asked.append(options)
        start = machine.now
        function()
        return (machine.now - start) * 1000  # do_bench gives milliseconds

    triton = ModuleType("triton")
    testing = ModuleType("triton.testing")
    vars(testing)["do_bench"] = do_bench
    vars(triton)["testing"] = testing
    monkeypatch.setitem(sys.modules, "triton", triton)
    monkeypatch.setitem(sys.modules, "triton.testing", testing)
    monkeypatch.setattr(device, "select", lambda _: "cuda")

    functions = {"slow": machine.function("slow", 0.004), "fast": machine.function("fast", 0.001)}
    found = compare(functions, pairs=4, warmup=1, device="cuda")
    assert found.ratio("fast").median == pytest.approx(4)
    assert found.median_seconds("fast") == pytest.approx(0.001)
    assert asked == [{"return_mode": "median"}] * 10
    assert all(sorted(machine.calls[place : place + 2]) == ["fast", "slow"] for place in range(0, 10, 2))
    assert "triton.testing.do_bench" in str(found)


def test_progress_is_shown_once_it_will_take_a_while(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich draws bars for terminals only
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(bench, "time", SimpleNamespace(monotonic=machine.clock))
    functions = {"a": machine.function("a", 0.01), "b": machine.function("b", 0.01)}
    compare(functions, pairs=20, warmup=0, clock=machine.clock)  # 0.4 s
    assert capsys.readouterr().err == ""
    compare(functions, pairs=400, warmup=0, clock=machine.clock)  # 8 s
    shown = capsys.readouterr().err
    assert "comparing" in shown
    assert "50%" in shown


def test_progress_in_a_notebook(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython
    from IPython import display

    bars = []

    class Bar(display.ProgressBar):  # type: ignore[misc]
        def display(self) -> None:
            bars.append(self)

        def update(self) -> None: ...

    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel="a kernel"))
    monkeypatch.setattr(display, "ProgressBar", Bar)
    monkeypatch.setattr(bench, "time", SimpleNamespace(monotonic=machine.clock))
    functions = {"a": machine.function("a", 0.01), "b": machine.function("b", 0.01)}
    compare(functions, pairs=20, warmup=0, clock=machine.clock)  # 0.4 s
    assert bars == []
    compare(functions, pairs=400, warmup=0, clock=machine.clock)  # 8 s
    assert [(bar.total, bar.progress) for bar in bars] == [(800, 800)]
