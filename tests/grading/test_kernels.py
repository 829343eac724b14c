"""Lifted kernels over real boxes: compiled, then run, away from all else that a student has written."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from autograder.acceptance import Failed, NotRun
from autograder.asker import NO_ANSWER, WorkerLost
from autograder.check_notebook import check_notebook
from autograder.course.release import release
from autograder.exercises import Exercise
from autograder.grading import Grader
from autograder.kernel_bench import BoxBench, KernelBench, LocalBench
from autograder.kernels import Kernel, Kernels
from autograder.lifting import Cells, LiftedKernel, Parameter
from autograder.matrix import run_matrix
from autograder.notebooks import read_notebook
from tests.autograder.kernel_sources import KERNELS
from tests.grading.course import Course, cell_of
from tests.grading.lifted_exercise import KERNEL, NAME, POINTS, WRAPPER, add_lifted_exercise
from tests.system import unavailable
from workbook.gpu.triton_counts import Counts
from workbook.sandbox.isolation.server import available

NAN = float("nan")


@pytest.fixture(scope="module")
def bench() -> Iterator[KernelBench]:
    if reason := available():
        unavailable(reason)
    bench = BoxBench()
    yield bench
    bench.close()


@pytest.fixture
def notes() -> list[tuple[str, str]]:
    return []


Get = Callable[..., Kernel]


@pytest.fixture
def get(bench: KernelBench, notes: list[tuple[str, str]]) -> Get:
    def get(source: str, name: str = "k", seconds: float = 60) -> Kernel:
        return Kernels(bench, [source]).get(name, lambda: seconds, lambda *note: notes.append(note))

    return get


def kernel(*lines: str, parameters: str = "x, n, B: tl.constexpr") -> str:
    return f"@triton.jit\ndef k({parameters}):\n" + "\n".join(f"    {line}" for line in lines)


def close(got: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(got.double(), wanted.double(), rtol=1e-4, atol=1e-5)


def test_add(get: Get, notes: list[tuple[str, str]]) -> None:
    x, y, out = torch.randn(1000), torch.randn(1000), torch.full((1000,), NAN)
    add = get(KERNELS["add"], "add")
    got = add.run((4,), x, y, out, 1000, BLOCK=256)
    assert torch.equal(got[2], x + y)
    assert torch.equal(got[0], x)
    assert bool(out.isnan().all()), "what was given is not changed"
    shown = "x_ptr=float32[1000], y_ptr=float32[1000], out_ptr=float32[1000], n=1000, BLOCK=256"
    assert notes[-1] == (f"add[4]({shown})", "")
    (half,) = add.run((1,), *[torch.ones(1, dtype=torch.float16)] * 2, torch.zeros(1), 1, BLOCK=16)[2:]
    assert half.tolist() == [2.0]


def test_softmax(get: Get) -> None:
    x = torch.randn(5, 100) * 30
    got = get(KERNELS["softmax"], "softmax").run((3,), torch.full_like(x, NAN), x, 100, 5, 100, BLOCK=128)
    close(got[0], torch.softmax(x.double(), 1))


def test_matmul(get: Get) -> None:
    a, b, c = torch.randn(50, 33), torch.randn(33, 20), torch.full((50, 20), NAN)
    matmul = get(KERNELS["matmul"], "matmul")
    blocks = {"BLOCK_M": 32, "BLOCK_N": 16, "BLOCK_K": 16, "GROUP": 2}
    for leaky in (False, True):
        got = matmul.run((4,), a, b, c, 50, 20, 33, 33, 1, 20, 1, 20, 1, **blocks, LEAKY=leaky)
        wanted = a.double() @ b.double()
        close(got[2], torch.nn.functional.leaky_relu(wanted, 0.01) if leaky else wanted)


def test_attention(get: Get) -> None:
    q, k, v = (torch.randn(50, 16) for _ in range(3))
    got = get(KERNELS["attention"], "attention").run(
        (2,), q, k, v, torch.full((50, 16), NAN), 50, 0.25, D=16, BM=32, BN=16
    )
    scores = torch.where(torch.ones(50, 50).tril() > 0, q.double() @ k.double().T / 4, -math.inf)
    close(got[3], torch.softmax(scores, 1) @ v.double())


def test_layernorm(get: Get) -> None:
    x, w, b = torch.randn(3, 70) * 5 + 9, torch.randn(70), torch.randn(70)
    layernorm = get(KERNELS["layernorm"], "layernorm")
    out = layernorm.run((3,), x, w, b, torch.full((3, 70), NAN), 70, 1e-5, BLOCK=32, HAS_BIAS=True)[3]
    close(out, torch.nn.functional.layer_norm(x.double(), (70,), w.double(), b.double()))
    without = layernorm.run((3,), x, w, None, torch.full((3, 70), NAN), 70, 1e-5, BLOCK=32, HAS_BIAS=False)
    close(without[2], torch.nn.functional.layer_norm(x.double(), (70,), w.double()))


def test_histogram(get: Get) -> None:
    x = torch.randint(0, 9, (500,), dtype=torch.int32)
    got = get(KERNELS["histogram"], "histogram").run((2,), x, torch.zeros(9, dtype=torch.int32), 500, BLOCK=64)
    assert got[1].tolist() == torch.bincount(x, minlength=9).tolist()


def test_scan(get: Get) -> None:
    x = torch.randint(-9, 9, (50,), dtype=torch.int32)
    _, sums, total = get(KERNELS["scan"], "scan").run(
        (1,), x, torch.zeros_like(x), torch.zeros(1, dtype=torch.int32), 50, BLOCK=64
    )
    assert sums.tolist() == x.cumsum(0).tolist()
    assert total.item() == x.sum()


def test_every_parameter_takes_its_place(get: Get) -> None:
    lines = ("tl.store(x, a)", "tl.store(x + 1, b)", "tl.store(x + 2, C)", "tl.store(x + 3, d)")
    k = get(kernel(*lines, parameters="x, a, b=2, C: tl.constexpr = 3, d=4.5"))
    zeros = torch.zeros(4)
    assert k.run((1,), zeros, 1)[0].tolist() == [1, 2, 3, 4.5]
    assert k.run((1,), zeros, d=1.5, C=6, a=7)[0].tolist() == [7, 2, 6, 1.5]
    assert k.run((1,), zeros, 1, 2, 9)[0].tolist() == [1, 2, 9, 4.5]
    for arguments, keywords in [((), {}), ((zeros,), {}), ((zeros, 1, 2, 3, 4, 5), {}), ((zeros, 1), {"a": 1})]:
        with pytest.raises(Failed, match="k has the parameters x, a, b, C, d; it is given"):
            k.run((1,), *arguments, **keywords)


def test_code_for_a_gpu(get: Get) -> None:
    add = get(KERNELS["add"], "add")
    values = (torch.zeros(1), torch.zeros(1), torch.zeros(1), 1)
    types = ("*fp32", "*fp32", "*fp32", "i32")
    first = add.compile(80, *values, BLOCK=64)
    assert (first.name, first.arch, first.source, first.threads) == ("add", 80, add.text, 128)
    assert first.cubin[:4] == b"\x7fELF"
    assert first.source_sha256 == add.sha256
    assert ".target sm_80" in first.ptx
    again = get(KERNELS["add"], "add").compile(80, *types, BLOCK=64)
    assert again == first, "the same text gives the same code, wherever it is compiled"
    others = [
        add.compile(90, *types, BLOCK=64),
        add.compile(80, *types, BLOCK=1024),
        add.compile(80, *types, BLOCK=64, num_warps=8),
        add.compile(80, "*bf16", "*bf16", "*bf16", "i32", BLOCK=64),
        add.compile(80, *types, BLOCK=1024, aligned=("x_ptr", "y_ptr", "out_ptr", "n")),
    ]
    assert len({code.sha256 for code in [first, *others]}) == 6
    with pytest.raises(Failed, match="add has no z_ptr"):
        add.compile(80, *types, BLOCK=64, aligned=("z_ptr",))


def test_a_number_may_be_compiled_in_as_a_launch_does_with_1(get: Get) -> None:
    types = ("*fp32", "*fp32", 8, 1, 64, 64)
    double = get(STRIDED, "double")
    plain, known = (double.compile(80, *types, C=4, constants=names) for names in ((), ("step",)))
    assert plain.sha256 != known.sha256
    with pytest.raises(Failed, match="double has no pace, which could be a constant"):
        double.compile(80, *types, C=4, constants=("pace",))


def test_what_the_compiler_rejects_is_not_run(get: Get, notes: list[tuple[str, str]]) -> None:
    k = get(kernel("tl.store(x + tl.arange(0, B), 1)"))
    k.run((1,), torch.zeros(4), 0, B=4)
    with pytest.raises(Failed, match=r"does not compile for sm_80: (?s:.*)power of 2"):
        k.run((1,), torch.zeros(4), 0, B=3)
    assert [asked.split("(")[0].split(" with")[0] for asked, _ in notes] == ["k for sm_80", "k[1]", "k for sm_80"]


def test_it_is_compiled_with_the_constants_and_types_of_the_run(get: Get) -> None:
    k = get(kernel("if B == 8:", "    tl.store(x, tl.arange(0, 3))", "tl.store(x, n)"))
    assert k.run((1,), torch.zeros(1), 5, B=4)[0].item() == 5
    with pytest.raises(Failed, match="does not compile"):
        k.run((1,), torch.zeros(1), 5, B=8)
    k = get(kernel("if x.dtype.element_ty == tl.float16:", "    tl.store(x, tl.arange(0, 3))", "tl.store(x, n)"))
    assert k.run((1,), torch.zeros(1), 5, B=4)[0].item() == 5
    with pytest.raises(Failed, match="does not compile"):
        k.run((1,), torch.zeros(1, dtype=torch.float16), 5, B=4)


HELPERS = """
D = tl.constexpr(None)
@triton.jit
def is_none(a):
    return a is None
@triton.jit
def one():
    return 1
"""

DROPPED = {
    "a loop's variable": ("for i in range(1, 2):", "    if i * 65536 * 65536 != 0:", "        tl.store(x, 7)"),
    "of tl.range": ("for i in tl.range(1, 2):", "    if i * 65536 * 65536 != 0:", "        tl.store(x, 7)"),
    "after the loop": ("i = 7", "for i in range(3):", "    pass", "if i == 2:", "    tl.store(x, 7)"),
    "a loop backwards": ("step = -1", "for i in range(3, 0, step):", "    tl.store(x, 7)"),
    "beyond the type": ("for i in range(2147483647, 2147483650):", "    tl.store(x, 7)"),
    "conditional expression": ("if (1 if n > 0 else 1) * 65536 * 65536 != 0:", "    tl.store(x, 7)"),
    "conditional expression of floats": ("if (1.0 if n > 0 else 1.0) + 1e-10 != 1.0:", "    tl.store(x, 7)"),
    "tuple": ("a, b = 1, 1", "if a * 65536 * 65536 != 0:", "    tl.store(x, 7)"),
    "tuple in a tuple": ("a = ((1, 1), 1)", "if a[0][0] * 65536 * 65536 != 0:", "    tl.store(x, 7)"),
    "tuple of a helper": ("a, b = one(), one()", "if a * 65536 * 65536 != 0:", "    tl.store(x, 7)"),
    "augmented": ("B *= 65536", "B *= 65536", "if B != 0:", "    tl.store(x, 7)"),
    "not": ("if (not (n != n)) * 65536 * 65536 != 0:", "    tl.store(x, 7)"),
    "and of many": ("i = tl.arange(0, 4)", "tl.store(x + i, 7, mask=(i < 0) and (i < 4))"),
    "or": ("a = 5", "if (a or B) == 5:", "    tl.store(x, 7)"),
    "min": ("if min(1, n * 0 + 1) * 65536 * 65536 != 0:", "    tl.store(x, 7)"),
    "min of many": ("i = tl.arange(0, 4)", "tl.store(x + i, 7, mask=min(i - 4, i) >= 0)"),
    "None": ("if is_none(D) == False:", "    tl.store(x, 7)"),
    "assumption": ("tl.assume(n < 0)", "if n > 0:", "    tl.store(x, 7)"),
    "division by zero": ("a = 0", "if n // a == 0:", "    tl.store(x, 7)"),
    "division of the lowest": ("a = -2147483647", "b = -1", "if (a - 1) // b < 0:", "    tl.store(x, 7)"),
    "integer of NaN": ("a = float('nan')", "if a.to(tl.int32) < 0:", "    tl.store(x, 7)"),
    "list": ("if [B, 2] != (8, 2):", "    tl.store(x, 7)"),
    "shape": ("s = tl.zeros((4, 8), tl.float32).shape", "if s[1] * 65536 * 65536 != 0:", "    tl.store(x, 7)"),
    "wide shift": ("a = 40", "if (n << a) == 0:", "    tl.store(x, 7)"),
    "large float": ("a = 3e10", "if a.to(tl.int32) < 0:", "    tl.store(x, 7)"),
}


@pytest.mark.parametrize("case", DROPPED)
def test_what_the_compiler_drops_is_not_run(get: Get, case: str) -> None:
    k = get(HELPERS + kernel(*DROPPED[case]))
    k.compile(80, "*fp32", "i32", B=8)
    with suppress(Failed):  # it may say that this has no meaning
        assert k.run((1,), torch.zeros(4), 5, B=8)[0].tolist() == [0] * 4


KEPT = {
    "loops": ("s = 0", "for i in range(3, 0, -1):", "    for j in tl.range(i):", "        s += j", "tl.store(x, s)", 4),
    "conditional expression": ("a = (2 if n > 0 else 3) if B == 8 else 5", "tl.store(x, a)", 2),
    "of a constant": ("tl.store(x, tl.sum(tl.arange(0, 4 if B == 8 else 8), 0))", 6),
    "max of many": ("tl.store(x, tl.sum(max(tl.arange(0, 4) - 2, 0), 0))", 1),
    "max of constants": ("tl.store(x, tl.sum(tl.arange(0, max(B, 2)), 0))", 28),
    "and": ("if n > 3 and n < 9:", "    tl.store(x, 1)", 1),
    "not of many": ("i = tl.arange(0, 4)", "tl.store(x + i, 1, mask=not (i > 8))", 1),
    "or, not": ("if not (n > 3 or n < 1):", "    tl.store(x, 1)", 0),
    "None": ("if is_none(D):", "    tl.store(x, 1)", 1),
    "random numbers": ("tl.store(x, (tl.max(tl.rand(5, tl.arange(0, 4)), 0) < 1).to(tl.int32))", 1),
    "sorted": ("tl.store(x, tl.max(tl.sort(tl.arange(0, 4)), 0))", 3),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_the_compiler_keeps_is_run(get: Get, case: str) -> None:
    *lines, wanted = KEPT[case]
    assert get(HELPERS + kernel(*map(str, lines))).run((1,), torch.zeros(4), 5, B=8)[0][0].item() == wanted


def test_numbers_have_types(get: Get) -> None:
    k = get(kernel("tl.store(x, n.to(tl.float64))", parameters="x, n"))
    numbers = [0.1, True, -5, 1 << 31, -(1 << 63), (1 << 63) + 2048, float("inf")]
    for value in numbers:
        wanted = torch.tensor(value, dtype=torch.float32 if isinstance(value, float) else torch.float64).item()
        assert k.run((1,), torch.zeros(1, dtype=torch.float64), value)[0].item() == wanted
    assert k.compile(80, "*fp64", (1 << 64) - 1) == k.compile(80, "*fp64", "u64")
    assert k.compile(80, "*fp64", 1 << 62) == k.compile(80, "*fp64", "i64")
    for wrong in (1 << 64, 1 << 70, -(1 << 63) - 1):
        with pytest.raises(TypeError, match="up to 64 bits"):
            k.compile(80, "*fp64", wrong)
    for dtype in (torch.complex64, torch.uint16):
        with pytest.raises(TypeError, match=f"takes tensors and numbers, not {str(dtype).split('.')[1]}"):
            k.compile(80, torch.zeros(1, dtype=dtype), 1)


def test_what_a_mask_leaves_out_shows(get: Get) -> None:
    total = "tl.store(out, tl.sum(tl.load(x + i, mask=i < n{}), 0))"
    for kind, other, wanted in (
        (torch.float32, "", NAN), (torch.float32, ", other=0", 5), (torch.int32, ", other=0", 5),
        (torch.int32, "", (5 + 3 * ((1 << 31) - 1) + (1 << 31)) % (1 << 32) - (1 << 31)), (torch.bool, "", 8),
    ):  # fmt: skip
        k = get(kernel("i = tl.arange(0, B)", total.format(other), parameters="x, out, n, B: tl.constexpr"))
        out = torch.zeros(1, dtype=torch.int32 if kind == torch.bool else kind)
        after = k.run((1,), torch.ones(5).to(kind), out, 5, B=8)[1]
        assert torch.equal(after, torch.tensor([wanted], dtype=out.dtype)) or (wanted != wanted and after.isnan().all())


def test_a_notebook_is_read_once(bench: KernelBench, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Sequence[str]] = []

    def cells(sources: Sequence[str]) -> Cells:
        read.append(sources)
        return Cells(sources)

    monkeypatch.setattr("autograder.kernels.Cells", cells)
    kernels = Kernels(bench, [kernel("pass")])
    assert read == [], "nor is one that nobody asks for a kernel of"
    for _ in range(3):
        kernels.get("k", lambda: 1, lambda *note: None)
    assert len(read) == 1


def test_servers_are_started_before_time_counts(exercise: Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := available():
        unavailable(reason)
    running: list[int] = []

    def judge(*_: object, **__: object) -> list[object]:
        running.append(len(grader._bench.servers()))
        return []

    monkeypatch.setattr("autograder.grading.judge", judge)
    with Grader() as grader:
        grader.grade(read_notebook(exercise.notebook), exercise)
    assert running == [1]


BEYOND = {
    "load": ("tl.store(x, tl.load(x + n))", "it reads element 4 of x, which has 4 elements (program (0, 0, 0))"),
    "load before": ("tl.store(x, tl.load(x - n))", "it reads element -4 of x, which has 4 elements"),
    "store": ("tl.store(x + n, 1)", "it writes element 4 of x"),
    "one lane": ("tl.store(x + tl.arange(0, 8), 1, mask=tl.arange(0, 8) <= n)", "it writes element 4 of x"),
    "atomic add": ("tl.atomic_add(x + n, 1)", "it updates element 4 of x"),
    "atomic exchange": ("tl.atomic_cas(x + n, 0, 1)", "it exchanges element 4 of x"),
    "far away": ("tl.store(x + (n << 27), 1)", "it writes element "),
    "in a helper": ("tl.store(x, h(x + n))", "it reads element 4 of x"),
}


@pytest.mark.parametrize("case", BEYOND)
def test_beyond_the_elements(get: Get, case: str) -> None:
    line, message = BEYOND[case]
    k = get("@triton.jit\ndef h(p):\n    return tl.load(p)\n" + kernel(line, parameters="x, y, n"))
    with pytest.raises(Failed) as caught:
        k.run((1,), torch.zeros(4, dtype=torch.int32), torch.zeros(100_000, dtype=torch.int32), 4)
    assert caught.value.message.startswith(f"k fails: {message}")


STRIDED = """
@triton.jit
def double(x, out, rows, step, stride, to_stride, C: tl.constexpr):
    i, j = tl.arange(0, 4)[:, None], tl.arange(0, C)[None, :]
    inside = i < rows
    tl.store(out + i * to_stride + j, 2 * tl.load(x + i * stride + j * step, mask=inside), mask=inside)
"""


def test_views(get: Get) -> None:
    wide = torch.arange(24.0).view(4, 6)
    view = wide[1:, 1:5:2]
    out = torch.full((3, 9), NAN)[:, 3:5]
    double = get(STRIDED, "double")
    x, after = double.run((1,), view, out, 3, 2, 6, 9, C=2)
    assert torch.equal(x, view)
    assert torch.equal(after, view * 2)
    assert after.is_contiguous()
    with pytest.raises(Failed, match=r"reads memory 1 elements after the first of x, where it has none: its shape is"):
        double.run((1,), view, out, 3, 1, 6, 9, C=2)
    with pytest.raises(Failed, match=r"writes memory 2 elements after the first of out"):
        double.run((1,), view, out, 3, 2, 6, 2, C=2)
    transposed = double.run((1,), wide.T[:2, :2], torch.zeros(2, 2), 2, 6, 1, 2, C=2)[1]
    assert torch.equal(transposed, wide.T[:2, :2] * 2)


def test_what_a_kernel_does_is_counted(get: Get) -> None:
    half = torch.ones(1000, dtype=torch.float16)
    counts = get(KERNELS["add"], "add").run((4,), half, half, half, 1000, BLOCK=256).counts
    assert (counts.launches, counts.programs, counts.flops, counts.dot_flops) == (1, 4, 1024, 0)
    assert counts.loaded == {"x_ptr": 2000, "y_ptr": 2000}
    assert counts.stored == {"out_ptr": 2000}
    assert counts.bytes == 6000
    a = torch.ones(32, 32)
    blocks = {"BLOCK_M": 16, "BLOCK_N": 16, "BLOCK_K": 16, "GROUP": 1, "LEAKY": False}
    counts = get(KERNELS["matmul"], "matmul").run((4,), a, a, a, 32, 32, 32, 32, 1, 32, 1, 32, 1, **blocks).counts
    assert counts.dot_flops == 2 * 32**3
    assert counts.loaded == {"a_ptr": 2 * 32 * 32 * 4, "b_ptr": 2 * 32 * 32 * 4}
    numbers = torch.arange(64, dtype=torch.int32)
    counts = get(KERNELS["histogram"], "histogram").run((2,), numbers, torch.zeros_like(numbers), 64, BLOCK=32).counts
    assert counts.updated == {"counts_ptr": 256}


def test_the_order_of_programs_can_be_drawn(get: Get) -> None:
    k = get(kernel("tl.store(x, tl.program_id(0))", parameters="x"))
    last = [k.run((50,), torch.zeros(1), shuffle=seed)[0].item() for seed in (None, None, 1, 1, 2)]
    assert last[0] == last[1] == 49
    assert last[2] == last[3] != last[4]


def test_within_the_elements(get: Get) -> None:
    line = "tl.store(x + tl.arange(0, 8), 1, mask=tl.arange(0, 8) < n)"
    assert get(kernel(line)).run((1,), torch.zeros(4), 4, B=1)[0].tolist() == [1] * 4
    assert get(kernel(line)).run((1,), torch.zeros(0), 0, B=1)[0].shape == (0,)


def test_bfloat16(get: Get) -> None:
    x, y = torch.randn(1000).bfloat16(), torch.randn(1000).bfloat16()
    assert torch.equal(get(KERNELS["add"], "add").run((4,), x, y, torch.zeros_like(x), 1000, BLOCK=256)[2], x + y)
    inside = get(kernel("tl.store(x, n.to(tl.bfloat16).to(tl.float32))"))
    assert inside.run((1,), torch.zeros(1), 257, B=1)[0].item() == 256


def test_without_triton(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autograder.kernel_bench.find_spec", lambda name: None)
    for module in ("channel", "server"):  # which there may not be either
        monkeypatch.setitem(sys.modules, f"workbook.sandbox.isolation.{module}", None)
    with pytest.raises(NotRun, match="needs Triton"):
        get(kernel("pass")).run((1,), torch.zeros(1), 1, B=1)


def test_a_kernel_that_does_not_end(get: Get) -> None:
    k = get(kernel("while n > 0:", "    n += 0", "tl.store(x, n)"), seconds=1.5)
    with pytest.raises(WorkerLost, match=NO_ANSWER):
        k.run((1,), torch.zeros(1), 1, B=1)
    assert k.run((1,), torch.zeros(1), -1, B=1)[0].item() == -1, "the next one is answered"


def test_an_error_of_the_kernel_is_told(get: Get) -> None:
    k = get(kernel("y = x + n", "if n > 1:", "    y = tl.load(x)", "tl.store(x, y)"))
    with pytest.raises(Failed, match=r"k does not compile for sm_80: .*at 3:"):
        k.run((1,), torch.zeros(1), 1, B=1)


def raw(bench: KernelBench, text: str, seconds: float = 60) -> Kernel:
    """A kernel that was not lifted: the process is what it is for."""
    text = f"import triton\nimport triton.language as tl\n{text}\n@triton.jit\ndef k(x):\n    tl.store(x, 1)\n"
    lifted = LiftedKernel("k", text, "", (Parameter("x", False, False),))
    return Kernel(lifted, bench, lambda: seconds, lambda *note: None)


CRASHES = "import os, workbook.gpu.triton_cpu as cpu; cpu._launch = lambda *_: os._exit(3)"


def test_a_compiler_or_interpreter_that_crashes(bench: KernelBench, get: Get) -> None:
    with pytest.raises(WorkerLost, match="the process died: SIGABRT, while it compiled k"):
        raw(bench, "import os; os.abort()").run((1,), torch.zeros(1))
    with pytest.raises(WorkerLost, match="the process died: exit status 3, while it ran k"):
        raw(bench, CRASHES).run((1,), torch.zeros(1))
    assert get(kernel("tl.store(x, n)")).run((1,), torch.zeros(1), 4, B=1)[0].item() == 4


def test_nothing_of_the_judge_is_in_there(bench: KernelBench) -> None:
    for module in ("autograder.lifting", "autograder.kernels", "workbook.bench", "tests"):
        with pytest.raises(Failed, match="No module named"):
            raw(bench, f"import {module}").run((1,), torch.zeros(1))


def test_what_comes_back_is_not_trusted(bench: KernelBench) -> None:
    class Forging(KernelBench):
        def __init__(self, verb: str, answer: Any, blobs: Sequence[bytes] = ()) -> None:
            self.verb, self.answer, self.blobs = verb, answer, list(blobs)

        def ask(self, question: Any, blobs: Any, *, seconds: float) -> Any:
            if question["verb"] == self.verb:
                return self.answer, self.blobs
            return bench.ask(question, blobs, seconds=seconds)

        def _worker(self) -> Any:
            raise NotImplementedError

        def close(self) -> None:
            pass

    answers: list[dict[str, Any]] = [{}, {"value": []}, {"value": [1]}, {"value": {"$evil": 1}}, {"error": ["x"]}]
    for answer in answers:
        for verb in ("compile", "run"):
            with pytest.raises(Failed, match="k"):
                raw(Forging(verb, answer), "").run((1,), torch.zeros(1))
    with pytest.raises(NotRun, match=r"^another version$"):
        raw(Forging("run", {"not run": "not run: another version"}), "").run((1,), torch.zeros(1))
    tensor = {"$tensor": {"dtype": "float32", "shape": [1], "blob": 0}}
    wrong: list[Any] = [None, [], {}, {**vars(Counts()), "loaded": {"x": "many"}}, {**vars(Counts()), "flops": 1.5}]
    for counts in wrong:
        forged = {"value": {"tensors": [tensor], "counts": counts}}
        with pytest.raises(Failed, match="no counts"):
            raw(Forging("run", forged, [bytes(4)]), "").run((1,), torch.zeros(1))


def test_on_a_students_machine() -> None:
    bench = LocalBench()
    kernels = Kernels(bench, [KERNELS["add"], kernel("while n > 0:", "    n += 0", "tl.store(x, n)")])
    try:
        add = kernels.get("add", lambda: math.inf, lambda *note: None)
        ones = torch.ones(5)
        assert add.run((1,), ones, ones, ones, 5, BLOCK=8)[2].tolist() == [2] * 5
        loop = kernels.get("k", lambda: 2, lambda *note: None)
        loop.compile(80, torch.zeros(1), 1, B=1)
        with pytest.raises(WorkerLost, match=NO_ANSWER):
            loop.run((1,), torch.zeros(1), 1, B=1)
        assert add.run((1,), ones, ones, ones, 5, BLOCK=8)[2].tolist() == [2] * 5
        with pytest.raises(WorkerLost, match="the process died while it compiled k"):
            raw(bench, "import os; os.abort()").run((1,), torch.zeros(1))
    finally:
        bench.close()


@pytest.fixture(scope="module")
def exercise(tmp_path_factory: pytest.TempPathFactory) -> Exercise:
    course = Course(tmp_path_factory.mktemp("lifted") / "course")
    exercise = add_lifted_exercise(course.root)
    assert release(exercise).problems == []
    return exercise


@pytest.mark.usefixtures("bench")
def test_the_exercise_proves_itself(exercise: Exercise) -> None:
    report = run_matrix([exercise], seed=None, jobs=2, on_outcome=lambda *_: None)
    assert report.holds, report.to_json()


FORGED = """
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    pass

import types
import triton.compiler, triton.runtime.interpreter as interpreter, triton.runtime.jit as jit

def run(self, x, y, out, n, **_):
    out.copy_(x + y)

interpreter.InterpretedFunction.run = jit.JITFunction.run = run
triton.compile = lambda *_, **__: types.SimpleNamespace(asm={"cubin": b"\\x7fELF"})
tl.load = tl.store = lambda *_, **__: None
add_kernel.sha256 = add_kernel.text = add_kernel.fn = run
"""


def test_what_the_students_process_says_of_a_kernel_is_of_no_account(exercise: Exercise) -> None:
    if reason := available():
        unavailable(reason)
    with Grader() as grader:
        for text, earned in ((FORGED, 2), (FORGED + KERNEL, 11)):  # 2 are of the kernel in CUDA C
            notebook = read_notebook(exercise.notebook)
            cell_of(notebook, "kernel")["source"] = text
            grade = grader.grade(notebook, exercise)
            assert grade.points == earned, grade


def test_a_students_own_check(exercise: Exercise, tmp_path: Path) -> None:
    notebook = json.loads(exercise.notebook.read_text())
    (tmp_path / "acceptance.py").write_text((exercise.folder / "acceptance.py").read_text())
    wrong = WRAPPER.replace("out = ", "%time out = ")  # a cell with a magic is no reason not to find the kernel
    cell_of(notebook, "wrapper")["source"] = wrong.replace("x, y, out", "x, x, out")
    path = tmp_path / f"{NAME}.ipynb"
    path.write_text(json.dumps(notebook))
    report = check_notebook(path, lambda line: None)
    states = [(verdict.criterion, verdict.state) for verdict in report.verdicts]
    assert states == list(zip(POINTS, ("passed", "passed", "failed", "passed"), strict=True)), report.verdicts
