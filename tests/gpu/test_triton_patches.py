"""Each change that is made in Triton is needed: what it is for goes wrong without it."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch

from tests.system import unavailable
from workbook.gpu import triton_cpu
from workbook.gpu.code import CompileError
from workbook.gpu.compiling import Answer, Question, ask
from workbook.gpu.triton_cpu import Undefined, install, watch
from workbook.gpu.triton_patches import PATCHES

try:
    import triton
except ImportError:
    unavailable("Triton is not installed")
from workbook.gpu.triton_compiler import load

install()

HEAD = "import triton\nimport triton.language as tl\nfrom triton.language.extra import libdevice\n\n"
BF16 = torch.bfloat16


def kernel(*lines: str, above: str = "") -> Any:
    body = "\n".join(f"    {line}" for line in ["i = tl.arange(0, 8)", *lines])
    return load(f"{HEAD}{above}\n@triton.jit\ndef k(x, out):\n{body}\n", "k")


def given(lines: list[str], x: torch.Tensor, above: str = "") -> torch.Tensor:
    """Returns what a kernel makes of x."""
    out = torch.zeros(8, dtype=x.dtype)
    kernel(*lines, above=above)[(1,)](x, out)
    return out


def memory() -> None:
    answer = ask("tests.gpu.test_triton_patches:double", {"patched": sorted(PATCHES)})
    assert answer == {"first": 2.0}


def double(question: Question) -> Answer:
    for name in PATCHES.keys() - question["patched"]:
        del PATCHES[name]
    return {"first": given(["tl.store(out + i, tl.load(x + i) * 2)"], torch.ones(8))[0].item()}


def masked_lanes() -> None:
    total = given(["tl.store(out, tl.sum(tl.load(x + i, mask=i < 5)))"], torch.ones(8))
    assert total[0].isnan()


def flops() -> None:
    with watch() as counts:
        given(["y = tl.load(x + i) * 2", "y = tl.fma(y, y, y)", "tl.store(out + i, tl.exp(y))"], torch.ones(8))
        given(["y = tl.zeros((16, 16), tl.float16)", "y = tl.dot(y, y)"], torch.ones(8))
    assert (counts.flops, counts.dot_flops) == (8 + 16 + 8, 2 * 16**3)


def flops_of_reductions() -> None:
    with watch() as counts:
        given(["tl.store(out, tl.sum(tl.load(x + i)) + tl.max(tl.cumsum(tl.load(x + i)), 0))"], torch.ones(8))
    assert counts.flops == 7 + 7 + 7 + 1


def bfloat16_arithmetic() -> None:
    x = torch.randn(8).to(BF16)
    assert torch.equal(given(["y = tl.load(x + i)", "tl.store(out + i, y * y + y)"], x), x * x + x)


def bfloat16_casts() -> None:
    x = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -3.0, 0.1, 1e-40, 65504, 1e38])
    assert torch.equal(
        given(["tl.store(out + i, tl.load(x + i).to(tl.bfloat16).to(tl.float32))"], x), x.to(BF16).float()
    )
    y = x.double()
    assert torch.equal(
        given(["tl.store(out + i, tl.load(x + i).to(tl.bfloat16).to(tl.float64))"], y), y.to(BF16).double()
    )


def bfloat16_dot() -> None:
    lines = [
        "y = (i * 0 + 3).to(tl.bfloat16)[:, None] + tl.zeros((8, 8), tl.bfloat16)",
        "tl.store(out + i, tl.sum(tl.dot(y, y), 1))",
    ]
    assert given(lines, torch.zeros(1)).tolist() == [8 * 72] * 8


def bfloat16_atomics() -> None:
    assert given(["tl.atomic_add(out + i // 4, tl.load(x + i), i > 0)"], torch.full((8,), 1.5, dtype=BF16)).tolist()[
        :2
    ] == [4.5, 6]


def bfloat16_reductions() -> None:
    x = torch.tensor([1, -2, 3, -4, 5, -6, 7, -8], dtype=BF16)
    lines = [
        "y = tl.load(x + i)",
        "tl.store(out, tl.sum(y))",
        "tl.store(out + 1, tl.max(y, 0))",
        "tl.store(out + 2, tl.argmin(y, 0))",
    ]
    assert given(lines, x).tolist()[:3] == [-4, 7, 7]
    assert torch.equal(given(["tl.store(out + i, tl.cumsum(tl.load(x + i)))"], x), x.cumsum(0))


def undefined() -> None:
    for lines in (["y = i << (i + 40)"], ["y = i // i"], ["y = i % i"], ["y = tl.load(x).to(tl.int32)"]):
        with pytest.raises(Undefined):
            given(lines, torch.full((8,), 1e20))


def combining_functions() -> None:
    lines = ["s = 1", "if s * 65536 * 65536 != 0:", "    s = 7", "return a * b * s"]
    above = "\n    ".join(["@triton.jit\ndef product(a, b):", *lines])
    assert (
        given(["tl.store(out, tl.reduce(tl.load(x + i), 0, product))"], torch.full((8,), 2.0), above)[0].item() == 256
    )


def libdevice() -> None:
    x = torch.randn(8)
    torch.testing.assert_close(given(["tl.store(out + i, libdevice.tanh(tl.load(x + i)))"], x), x.tanh())


def static_assert() -> None:
    from triton.compiler.errors import CompileTimeAssertionFailure

    with pytest.raises(CompileTimeAssertionFailure, match=r"^static_assert failed: not so$"):
        given(["tl.static_assert(1 == 2, 'not so')"], torch.zeros(1))


CHECKS: dict[str, Callable[[], None]] = {name.replace(" ", "_"): globals()[name.replace(" ", "_")] for name in PATCHES}


@pytest.mark.parametrize("name", PATCHES)
def test_each_is_needed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check = CHECKS[name.replace(" ", "_")]
    check()
    monkeypatch.delitem(PATCHES, name)
    if name == "memory":
        with pytest.raises(CompileError, match="the compiler crashed: SIGSEGV"):
            check()
        return
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - an assertion, or whatever comes of what is wrong
        check()
    assert isinstance(caught.value, Exception | pytest.fail.Exception)


def launches() -> None:
    given(["tl.store(out + i, 1)"], torch.zeros(1))


def calls() -> None:
    given(["tl.store(out + i, one())"], torch.zeros(1), "@triton.jit\ndef one():\n    return 1\n")


def autotuning() -> None:
    k = load(f"{HEAD}@triton.jit\ndef k(x, B: tl.constexpr):\n    tl.store(x, B)\n", "k")
    x = torch.zeros(1)
    triton.autotune([triton.Config({"B": size}) for size in (2, 3)], key=[])(k)[(1,)](x)
    assert x.item() == 2


@pytest.mark.parametrize("name", triton_cpu.ROUTES)
def test_each_route_is_needed(name: str) -> None:
    check = globals()[name]
    check()
    triton_cpu._installed.pop(name).restore()
    try:
        with pytest.raises(RuntimeError):
            check()
    finally:
        install()
    check()


def test_nothing_is_left_changed() -> None:
    from triton.language.extra import libdevice
    from triton.runtime import interpreter

    owners = (interpreter.interpreter_builder, interpreter.ReduceOps, interpreter.ScanOps, libdevice)
    before = [dict(vars(owner)) for owner in owners]
    given(["tl.store(out + i, libdevice.exp(tl.load(x + i)))"], torch.zeros(8))
    with suppress(Undefined):
        given(["y = i << 40"], torch.zeros(8))
    for owner, was in zip(owners, before, strict=True):
        now = dict(vars(owner))
        assert {name: now[name] for name in now if name not in ("grid_idx", "grid_dim")} == {
            name: was[name] for name in was if name not in ("grid_idx", "grid_dim")
        }
