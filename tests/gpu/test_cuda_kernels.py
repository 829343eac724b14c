"""CUDA kernels that are cut out of a notebook and judged, in boxes and beside a notebook."""

import random
from collections.abc import Iterator

import pytest
import torch

from autograder.acceptance import Failed, Work, criterion, equal
from autograder.asker import LocalAsker, WorkerLost
from autograder.cuda_bench import CudaBench, CudaBoxBench, CudaLocalBench
from autograder.cuda_kernels import CudaKernel, CudaKernels
from autograder.cuda_lifting import CudaCells, Refused
from autograder.judge import Verdict, run_criterion
from tests.gpu.cuda_samples import ADD, nvrtc, on_cpu  # noqa: F401 - fixtures
from tests.system import unavailable
from workbook.gpu.cuda_cpu import unwritten
from workbook.sandbox.isolation.server import available

CELL = f'ADD = r"""{ADD}"""'


@pytest.fixture(scope="module", params=["box", "local"])
def bench(request: pytest.FixtureRequest) -> Iterator[CudaBench]:
    if request.param == "box" and (reason := available()):
        unavailable(reason)
    bench = CudaBoxBench() if request.param == "box" else CudaLocalBench()
    yield bench
    bench.close()


def lifted(bench: CudaBench, cell: str, seconds: float = 60.0) -> CudaKernel:
    return CudaKernels(bench, [cell]).get("ADD", None, lambda: seconds, lambda *_: None)


@pytest.mark.usefixtures("on_cpu", "nvrtc")
def test_a_kernel_is_compiled_and_run(bench: CudaBench) -> None:
    kernel = lifted(bench, CELL)
    assert kernel.compile(90).cubin.startswith(b"\x7fELF")
    x, y = torch.randn(1001), torch.randn(2000)[::2]
    ran = kernel.run(4, 256, x[1:], y[:1000].contiguous(), unwritten(1000), 1000)
    assert torch.equal(ran.tensors["z"], x[1:] + y[:1000])
    assert ran.bytes == 12_000


@pytest.mark.usefixtures("on_cpu", "nvrtc")
@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("i < n", "i <= n", "reads bytes 4000 to 4003 of x"),
        ("if (i < n)", "__shared__ char b[1 << 30]; b[i] = n; if (b[n])", "too much shared data"),
        ("int i", "int j", 'identifier "i" is undefined'),
        ("if (i < n)", "while (true) z[0] += 1; if (i < n)", "did not come to its end"),
        ("if (i < n)", "getpid(); if (i < n)", "getpid"),
        ("if (i < n)", "z[1 << 28] = 3; if (i < n)", "neither a tensor nor a variable"),
    ],
)
def test_what_is_wrong_fails_with_its_reason(bench: CudaBench, old: str, new: str, says: str) -> None:
    kernel = lifted(bench, CELL.replace(old, new), seconds=4.0 if "while" in new else 60.0)
    with pytest.raises((Failed, WorkerLost), match=says):
        kernel.run(4, 256, torch.ones(1000), torch.ones(1000), unwritten(1000), 1000)


@pytest.mark.usefixtures("on_cpu", "nvrtc")
def test_what_is_compiled_for_one_criterion_serves_the_next(bench: CudaBench) -> None:
    asked: list[str] = []

    def get(kernels: CudaKernels) -> CudaKernel:
        return kernels.get("ADD", None, lambda: 60.0, lambda what, _: asked.append(what))

    kernels = CudaKernels(bench, [CELL])
    code = get(kernels).compile(90)
    assert get(kernels).compile(90) is code
    for _ in range(2):
        get(kernels).run(1, 32, torch.ones(5), torch.ones(5), unwritten(5), 5)
    assert [what for what in asked if "<<<" not in what] == ["add for sm_90", "add for sm_80", "add for a CPU"]
    assert get(CudaKernels(bench, [CELL])).compile(90) is not code


def test_a_bench_is_started_before_it_is_asked() -> None:
    if reason := available():
        unavailable(reason)
    bench = CudaBoxBench()
    try:
        assert bench.servers() == []
        bench.start()
        started = bench.servers()
        bench.start()
        assert bench.servers() == started
        assert len(started) == 1
    finally:
        bench.close()
    assert bench.servers() == []


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (f"ADD = '' + r'''{ADD}'''", "one constant text"),
        (f"ADD = f'''{ADD.replace('{', '{{').replace('}', '}}')}'''", "one constant text"),
        (f"if True:\n    ADD = r'''{ADD}'''", "one constant text"),
        (f"{CELL}\nADD += ''", "one constant text"),
        (f"{CELL}\ndef f():\n    global ADD\n", "one constant text"),
        ("OTHER = 3", "no cell assigns"),
        ("%magic\nADD = ''", "could not be read"),
    ],
)
def test_a_text_that_is_not_constant_is_not_cut_out(cell: str, says: str) -> None:
    with pytest.raises(Refused, match=says):
        CudaCells([cell]).lift("ADD")


def test_the_last_text_counts_and_other_letters_stand_in_comments_alone() -> None:
    assert CudaCells([CELL, 'ADD = r"""// 中文\n"""']).lift("ADD") == "// __\n"


def test_cells_that_are_slow_to_parse_are_not_read() -> None:
    """The parts of an f-string take a hundred times as long as other text."""
    slow = 'f"' + "{1}" * 33_000 + '"'
    with pytest.raises(Refused, match="40 cells could not be read"):
        CudaCells(["OTHER = 1", *[slow] * 40]).lift("ADD")
    assert CudaCells([CELL, *[slow] * 40]).lift("ADD") == ADD


def test_a_text_with_two_kernels_is_asked_for_by_name() -> None:
    kernels = CudaKernels(CudaLocalBench(), [CELL.replace('"""\n', '"""\n__global__ void other(int* z) {}\n', 1)])
    with pytest.raises(Failed, match="must define one kernel"):
        kernels.get("ADD", None, lambda: 1.0, lambda *_: None)
    assert kernels.get("ADD", "add", lambda: 1.0, lambda *_: None).name == "add"
    with pytest.raises(Failed, match="must define the kernel third"):
        kernels.get("ADD", "third", lambda: 1.0, lambda *_: None)


@criterion(hint="Is the last element there?", seconds=30)
def adds(work: Work, rng: random.Random) -> None:
    """The kernel adds."""
    n = rng.randrange(1, 1000)
    x, y = torch.randn(n), torch.randn(n)
    ran = work.cuda("ADD").run(-(-n // 256), 256, x, y, unwritten(n), n)
    equal(ran.tensors["z"], x + y)
    equal(ran.bytes, 12 * n)


@pytest.mark.usefixtures("on_cpu", "nvrtc")
def test_a_criterion_asks_for_a_kernel(bench: CudaBench) -> None:
    def verdict(cell: str) -> Verdict:
        kernels = CudaKernels(bench, [cell])
        return run_criterion(adds, LocalAsker({}), "seed", lambda: None, cuda_kernels=kernels)  # type: ignore[arg-type,return-value]

    assert verdict(CELL).state == "passed"
    failed = verdict(CELL.replace("i < n", "i < n - 1"))
    assert failed.state == "failed"
    assert any(line.startswith("add<<<") for line in failed.evidence)
    assert run_criterion(adds, LocalAsker({}), "seed", lambda: None).state == "not run"  # type: ignore[arg-type,return-value]
