"""Triton kernels on the CPU: the routes that they take, what is counted, and what is said of what goes wrong."""

import re
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.autograder.kernel_sources import KERNELS
from tests.system import unavailable
from workbook.gpu import triton_cpu
from workbook.gpu.code import NotRunError
from workbook.gpu.triton_cpu import Counts, OutOfBounds, Undefined, install, installed, watch

try:
    import triton
    import triton.language as tl
except ImportError:
    unavailable("Triton is not installed")
from workbook.gpu.triton_compiler import load
from workbook.gpu.triton_private import Scope

install()

PRIVATE = "workbook.gpu.triton_private"
SCALE = tl.constexpr(3.0)


@triton.jit  # type: ignore[untyped-decorator]
def scaled(x: Any) -> Any:
    return x * SCALE


@triton.jit  # type: ignore[untyped-decorator]
def add(x_ptr: Any, y_ptr: Any, out_ptr: Any, n: Any, BLOCK: tl.constexpr) -> None:  # noqa: N803
    """Adds.

    def add(x_ptr): is no definition.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    total = tl.load(x_ptr + i, mask=inside) + scaled(tl.load(y_ptr + i, mask=inside))
    tl.store(out_ptr + i, total, mask=inside)


def kernel(*lines: str, parameters: str = "x, n") -> Any:
    body = "\n".join(f"    {line}" for line in lines)
    text = f"import triton\nimport triton.language as tl\n\n@triton.jit\ndef k({parameters}):\n{body}\n"
    return load(text, "k")


def module(name: str) -> Any:
    return load("import triton\nimport triton.language as tl\n" + KERNELS[name], name)


def test_a_kernel_runs_where_its_tensors_are() -> None:
    x, y, out = torch.randn(1000), torch.randn(1000), torch.zeros(1000)
    assert add[(4,)](x, y, out, 1000, BLOCK=256) is None
    torch.testing.assert_close(out, x + 3 * y)
    with pytest.raises(RuntimeError, match="outside of the scope of a kernel"):
        scaled(x)


def test_it_is_the_kernel_that_a_gpu_runs() -> None:
    assert type(add) is triton.runtime.jit.JITFunction
    assert installed()
    before = triton.runtime.jit.JITFunction.run
    install()
    assert triton.runtime.jit.JITFunction.run is before, "to do it again does nothing"


@pytest.mark.parametrize("where", ["cuda", "both", "warmup"])
def test_what_is_not_on_the_cpu_takes_tritons_own_path(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Any] = []
    triton_cpu._installed.pop("launches").restore()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(
                triton.runtime.jit.JITFunction, "run", lambda self, *args, **named: taken.append((args, named))
            )
            scope = Scope()
            triton_cpu.ROUTES["launches"](scope)

            class OnGpu(torch.Tensor):
                device = torch.device("cuda")

            gpu, cpu = torch.zeros(1).as_subclass(OnGpu), torch.zeros(1)
            if where == "warmup":
                scaled.warmup(cpu, grid=(1,))
            else:
                scaled[(1,)](*([gpu] if where == "cuda" else [gpu, cpu]), num_warps=8)
            scope.restore()
    finally:
        install()
    assert len(taken) == 1
    assert taken[0][1]["warmup"] is (where == "warmup")


def test_names_that_the_interpreter_uses_do_not_appear_in_the_module() -> None:
    before = set(globals())
    add[(1,)](torch.zeros(4), torch.zeros(4), torch.zeros(4), 4, BLOCK=4)
    assert set(globals()) == before


def test_a_kernel_within_a_function_knows_what_is_around_it() -> None:
    def make(factor: float) -> Any:
        scale = tl.constexpr(factor)

        @triton.jit  # type: ignore[untyped-decorator]
        def k(x: Any) -> None:
            tl.store(x, tl.load(x) * scale)

        return k

    x = torch.ones(1)
    make(3)[(1,)](x)
    make(5)[(1,)](x)
    assert x.item() == 15


def test_constants_may_change_between_launches() -> None:
    k = kernel("tl.store(x, C)", parameters="x")
    x = torch.zeros(1)
    for value in (1, 2):
        k.fn.__globals__["C"] = tl.constexpr(value)
        k[(1,)](x)
        assert x.item() == value


@pytest.mark.parametrize("size", [0, 1, 5, 64])
def test_sizes(size: int) -> None:
    x, out = torch.randn(size), torch.zeros(size)
    add[(triton.cdiv(size, 16),)](x, x, out, size, BLOCK=16)
    torch.testing.assert_close(out, 4 * x)


def test_grids() -> None:
    k = kernel(
        "i = tl.program_id(0) * 6 + tl.program_id(1) * 2 + tl.program_id(2)", "tl.store(x + i, i)", parameters="x"
    )
    x = torch.zeros(12)
    k[(2, 3, 2)](x)
    assert x.tolist() == list(range(12))
    seen: list[Any] = []

    def grid(given: dict[str, Any]) -> tuple[int]:
        seen.append(given)
        return (1,)

    add[grid](x, x, x, 1, BLOCK=4)
    assert list(seen[0]) == ["x_ptr", "y_ptr", "out_ptr", "n", "BLOCK"]
    assert seen[0]["BLOCK"] == 4
    with pytest.raises(ValueError, match="three dimensions"):
        k[(1, 1, 1, 1)](x)


def test_arguments() -> None:
    k = kernel(
        *("tl.store(x, a)", "tl.store(x + 1, b[0])", "tl.store(x + 2, C)", "if y is not None:", "    tl.store(y, 1)"),
        *("tl.store(b[1], 7)",),
        parameters="x, y, a, b, C: tl.constexpr = 3",
    )
    x, y, z = torch.zeros(3), torch.zeros(1), torch.zeros(1)
    k[(1,)](x, None, 0.5, (2, z), num_warps=8)
    k[(1,)](x, y, a=True, b=(4, z))
    assert (x.tolist(), y.item(), z.item()) == ([1, 4, 3], 1, 7)
    with pytest.raises(KeyError, match="warps was specified but unrecognised"):
        k[(1,)](x, y, 1, (1, z), warps=8)
    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        k[(1,)](x, y)
    with pytest.raises(OutOfBounds, match=r"element 1 of b\[1\]"):
        kernel("tl.store(b[1] + 1, 7)", parameters="b")[(1,)]((1, z))


def test_a_hook_sees_the_arguments() -> None:
    k, seen = kernel("pass"), []
    k.add_pre_run_hook(lambda *args, **named: seen.append((args, named)))
    x = torch.zeros(1)
    k[(1,)](x, n=2)
    assert seen == [((x,), {"n": 2})]


def test_descriptors() -> None:
    from triton.tools.tensor_descriptor import TensorDescriptor

    k = kernel("d.store([0, 4], d.load([2, 4]) * 2)", parameters="d")
    x = torch.arange(32.0).view(4, 8)
    with watch() as counts:
        k[(1,)](TensorDescriptor.from_tensor(x, [2, 4]))
    assert torch.equal(x[:2, 4:], torch.arange(32.0).view(4, 8)[2:, 4:] * 2)
    assert (counts.loaded, counts.stored) == ({"d": 32}, {"d": 32})
    made = kernel("d = tl.make_tensor_descriptor(x, [4, 8], [8, 1], [2, 4])", "d.store([0, 0], d.load([6, 0]))")
    made[(1,)](x, 1)
    assert x[:2, :4].eq(0).all()


def autotuned(**options: Any) -> Any:
    k = kernel(
        *("tl.static_assert(B > 1, 'too small')", "i = tl.program_id(0) * B + tl.arange(0, B)"),
        *("tl.store(x + i, tl.load(x + i, i < n) * 2, i < n)",),
        parameters="x, n, B: tl.constexpr",
    )
    configs = [triton.Config({"B": size}) for size in (1, 16, 64)]
    return triton.autotune(configs, key=["n"], **options)(k)


def test_autotuning_needs_no_gpu() -> None:
    tuned = autotuned(restore_value=["x"], cache_results=True)
    x = torch.ones(100)
    with watch() as counts:
        for _ in range(2):
            tuned[lambda given: (triton.cdiv(100, given["B"]),)](x, 100)
    assert x.tolist() == [4] * 100
    assert tuned.best_config.kwargs == {"B": 16}, "the first that can be compiled"
    assert (counts.launches, counts.bytes) == (2, 1600), "what is tried out does not count"
    assert not tuned.cache, "on a GPU it is tuned anew"
    assert "do_bench" not in vars(tuned)
    assert tuned.cache_results


def test_autotuning_tries_each_configuration_as_a_gpu_does() -> None:
    tuned = autotuned()
    x = torch.ones(10)
    tuned[(1,)](x, 10)
    assert x.tolist() == [8] * 10, "nothing was told to restore x"


def test_all_configurations_give_the_same() -> None:
    wanted = torch.arange(100.0) * 2
    for config in autotuned().configs[1:]:
        x = torch.arange(100.0)
        autotuned().fn[(triton.cdiv(100, config.kwargs["B"]),)](x, 100, **config.all_kwargs())
        assert torch.equal(x, wanted)


def test_heuristics() -> None:
    k = triton.heuristics({"B": lambda given: triton.next_power_of_2(given["n"])})(autotuned().fn)
    x = torch.ones(5)
    k[(1,)](x, 5)
    assert x.tolist() == [2] * 5


def test_counts() -> None:
    x, y, out = torch.randn(1000).half(), torch.randn(1000), torch.zeros(1000)
    with watch() as counts:
        add[(4,)](x, y, out, 1000, BLOCK=256)
        with watch() as inner:
            add[(1,)](x, y, out, 10, BLOCK=16)
    add[(1,)](x, y, out, 10, BLOCK=16)
    assert vars(inner) == vars(
        Counts(1, 1, counts.loaded.__class__({"x_ptr": 20, "y_ptr": 40}), inner.stored, dot_flops=0, flops=32)
    )
    assert counts.loaded == {"x_ptr": 2020, "y_ptr": 4040}
    assert counts.stored == {"out_ptr": 4040}
    assert (counts.launches, counts.programs, counts.bytes) == (2, 5, 10100)
    assert counts.flops == counts.all_flops == 2 * (1024 + 16)


FLOPS = {
    "add": ("i + 0.5", 16),
    "integers": ("i + 1", 0),
    "comparison": ("(i + 0.0 < 3).to(tl.float32)", 16),
    "negation, absolute": ("tl.abs(-(i * 1.0))", 16),
    "fma": ("tl.fma(f, f, f)", 32),
    "exp": ("tl.exp(f)", 16),
    "sqrt, rsqrt, erf": ("tl.sqrt(f) + tl.rsqrt(f) + tl.erf(f)", 5 * 16),
    "maximum": ("tl.maximum(f, 0.0)", 16),
    "sum": ("tl.sum(f)", 15),
    "rows": ("tl.sum(tl.reshape(f, (4, 4)), 1)", 12),
    "max of integers": ("tl.max(i)", 0),
    "argmax": ("tl.argmax(f, 0)", 15),
    "cumsum": ("tl.cumsum(f)", 15),
    "bfloat16": ("tl.sum(f.to(tl.bfloat16) * f.to(tl.bfloat16))", 16 + 15),
    "dot": ("tl.dot(tl.zeros((16, 32), tl.float16), tl.zeros((32, 8), tl.float16))", 0),
}


@pytest.mark.parametrize("case", FLOPS)
def test_flops(case: str) -> None:
    expression, wanted = FLOPS[case]
    k = kernel("i = tl.arange(0, 16)", "f = i.to(tl.float32)", f"y = {expression}", parameters="x")
    with watch() as counts:
        k[(1,)](torch.zeros(1))
    assert counts.flops == wanted
    assert counts.dot_flops == (2 * 16 * 32 * 8 if case == "dot" else 0)


def test_lanes_that_share_an_element_count_once() -> None:
    k = kernel("i = tl.arange(0, 16)", "tl.store(x + i // 4, tl.load(x + i * 0))", "tl.atomic_add(x + i, 1, i < 3)")
    with watch() as counts:
        k[(1,)](torch.zeros(16), 1)
    assert (counts.loaded, counts.stored, counts.updated) == ({"x": 4}, {"x": 16}, {"x": 12})
    assert counts.bytes == 4 + 16 + 24


def test_programs_run_in_an_order_that_is_drawn() -> None:
    k = kernel("i = tl.atomic_add(x, 1)", "tl.store(x + 1 + i, tl.program_id(0))", parameters="x")

    def order(shuffle: int | None) -> list[int]:
        x = torch.zeros(31, dtype=torch.int32)
        with watch(shuffle):
            k[(30,)](x)
        return x[1:].tolist()

    assert order(None) == [*range(30)]
    assert order(0) == order(0) != order(1)
    assert sorted(order(0)) == [*range(30)]


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.int16, torch.bool, torch.complex64])
def test_what_is_not_written_shows(kind: torch.dtype) -> None:
    like = torch.zeros(3, dtype=kind)
    with watch(poison=True):
        made = [
            *(
                torch.empty(3, dtype=kind),
                torch.empty_like(like),
                like.new_empty(3),
                torch.empty_strided((3,), (1,), dtype=kind),
            ),
            like.new_empty_strided((3,), (1,)),
        ]
    for tensor in made:
        if kind in (torch.int16, torch.bool):
            assert tensor.tolist() == [True if kind == torch.bool else 32767] * 3
        else:
            assert tensor.isnan().all()
    assert torch.equal(like, torch.zeros(3, dtype=kind))


def test_a_kernel_that_forgets_its_tail() -> None:
    x = torch.ones(10)
    with watch(poison=True):
        out = torch.empty_like(x)
        add[(10 // 4,)](x, x, out, 10, BLOCK=4)
    assert out.isnan().tolist() == [False] * 8 + [True] * 2


def test_a_fault_names_the_program_and_the_line() -> None:
    x = torch.zeros(10)
    with pytest.raises(OutOfBounds) as caught:
        add[(3,)](x, x, torch.zeros(4), 10, BLOCK=4)
    line = "tl.store(out_ptr + i, total, mask=inside)"
    assert str(caught.value) == (
        f"it writes element 4 of out_ptr, which has 4 elements (program (1, 0, 0)), in add: {line}"
    )
    assert line in Path(__file__).read_text().splitlines()[caught.value.line_number - 1]


def test_a_fault_in_a_helper_and_in_a_condition() -> None:
    text = "@triton.jit\ndef h(p):\n    return tl.load(p)\n@triton.jit\ndef k(x):\n    if {}:\n        tl.store(x, 1)\n"
    for condition, where in (
        ("h(x + 9) > 0", "h: return tl.load(p)"),
        ("tl.load(x) > 0 and tl.load(x + 9) > 0", "k: if "),
    ):
        k = load("import triton\nimport triton.language as tl\n" + text.format(condition), "k")
        with pytest.raises(OutOfBounds, match="element 9 of x.*, in " + re.escape(where)):
            k[(1,)](torch.ones(4))


def test_after_a_fault_all_is_as_before() -> None:
    with pytest.raises(Undefined, match=r"shifts by more than there are bits.*in k: y = n << 40"):
        kernel("y = n << 40")[(1,)](torch.zeros(1), 1)
    with pytest.raises(RuntimeError, match="outside of the scope"):
        scaled(1)
    builder = triton.runtime.interpreter.interpreter_builder
    assert set(vars(builder)) <= {"arch", "options", "codegen_fns", "grid_dim", "grid_idx"}
    out = torch.zeros(1)
    add[(1,)](out, out, out, 1, BLOCK=1)


def test_other_errors_are_python_s_own() -> None:
    with pytest.raises(NameError, match="nowhere"):
        kernel("y = nowhere + 1")[(1,)](torch.zeros(1), 1)


@pytest.mark.parametrize("name", ["softmax", "matmul", "attention", "layernorm", "scan", "histogram"])
def test_whole_kernels_in_bfloat16(name: str) -> None:
    torch.manual_seed(0)
    if name == "softmax":
        x = (torch.randn(5, 100) * 3).bfloat16()
        out = torch.zeros_like(x)
        module(name)[(3,)](out, x.float(), 100, 5, 100, BLOCK=128)
        wanted = torch.softmax(x.float(), 1)
    elif name == "matmul":
        a, b, out = torch.randn(50, 33).bfloat16(), torch.randn(33, 20).bfloat16(), torch.zeros(50, 20).bfloat16()
        blocks = {"BLOCK_M": 32, "BLOCK_N": 16, "BLOCK_K": 16, "GROUP": 2, "LEAKY": False}
        module(name)[(4,)](a, b, out, 50, 20, 33, 33, 1, 20, 1, 20, 1, **blocks)
        wanted = a.float() @ b.float()
    elif name == "attention":
        q, k, v = (torch.randn(50, 16).bfloat16() for _ in range(3))
        out = torch.zeros(50, 16).bfloat16()
        module(name)[(2,)](q.float(), k.float(), v, out, 50, 0.25, D=16, BM=32, BN=16)
        scores = torch.where(torch.ones(50, 50).tril() > 0, q.float() @ k.float().T / 4, -torch.inf)
        wanted = torch.softmax(scores, 1) @ v.float()
    elif name == "layernorm":
        x, w = torch.randn(3, 70).bfloat16(), torch.randn(70).bfloat16()
        out = torch.zeros_like(x)
        module(name)[(3,)](x, w, None, out, 70, 1e-5, BLOCK=32, HAS_BIAS=False)
        wanted = torch.nn.functional.layer_norm(x.float(), (70,), w.float())
    elif name == "scan":
        x = torch.randint(-9, 9, (50,)).bfloat16()
        out = torch.zeros_like(x)
        module(name)[(1,)](x, out, torch.zeros(1).bfloat16(), 50, BLOCK=64)
        wanted = x.float().cumsum(0)
    else:
        out = torch.zeros(9).bfloat16()
        module(name)[(2,)](torch.arange(500, dtype=torch.int32) % 9, out, 500, BLOCK=64)
        wanted = torch.bincount(torch.arange(500) % 9).float()
    torch.testing.assert_close(out.float(), wanted, rtol=2e-2, atol=2e-2)


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: dict[str, Callable[[], object]] = {
        "Triton is not installed": lambda: monkeypatch.setattr(f"{PRIVATE}.find_spec", lambda name: None),
        r"with Triton 3\.9\.0, .* here is 3\.7\.1": lambda: monkeypatch.setattr(
            metadata, "version", lambda name: "3.7.1"
        ),
        "TRITON_INTERPRET is set": lambda: monkeypatch.setenv("TRITON_INTERPRET", "1"),
    }
    for message, change in refused.items():
        change()
        with pytest.raises(NotRunError, match=f"^not run: .*{message}"):
            install()
        monkeypatch.undo()


def test_where_there_is_a_gpu_another_version_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def check() -> None:
        raise NotRunError("not run: another version")

    monkeypatch.setattr(f"{PRIVATE}.check", check)
    with pytest.raises(NotRunError, match="another version"):
        install()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    install()
