"""bfloat16 on the CPU, against torch: all of its numbers, and what lies between them."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.system import unavailable
from workbook.gpu.triton_cpu import install

try:
    import triton  # noqa: F401
except ImportError:
    unavailable("Triton is not installed")
from workbook.gpu import triton_bfloat16
from workbook.gpu.triton_compiler import load
from workbook.gpu.triton_private import handle

install()

BF16 = torch.bfloat16
ALL = torch.arange(-(1 << 15), 1 << 15).to(torch.int16).view(BF16)
N = 1 << 16


def elementwise(expression: str, *given: torch.Tensor, kind: torch.dtype = BF16) -> torch.Tensor:
    """Returns what an expression of x, y and z makes of tensors."""
    names = "xyz"[: len(given)]
    lines = ["i = tl.arange(0, N)", *(f"{name} = tl.load({name}_ptr + i)" for name in names)]
    parameters = ", ".join([*(f"{name}_ptr" for name in names), "out", "N: tl.constexpr"])
    body = "\n".join(f"    {line}" for line in [*lines, f"tl.store(out + i, {expression})"])
    k = load(f"import triton\nimport triton.language as tl\n\n@triton.jit\ndef k({parameters}):\n{body}\n", "k")
    out = torch.zeros(len(given[0]), dtype=kind)
    k[(1,)](*given, out, len(given[0]))
    return out


def same(got: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(got, wanted, rtol=0, atol=0, equal_nan=True)


def once(value: torch.Tensor) -> torch.Tensor:
    """Returns numbers of float64 in bfloat16, each rounded once, by way of fractions of the last place."""
    mantissa, exponent = np.frexp(value.numpy())
    return torch.from_numpy(np.ldexp(np.rint(np.ldexp(mantissa, 8)), exponent - 8)).to(BF16)


def number_of(x: torch.Tensor, y: torch.Tensor, function: Any) -> torch.Tensor:
    """Returns what a function gives, or the one that is a number. torch.fmax is wrong where NaN has a sign."""
    return torch.where(x.isnan(), y, torch.where(y.isnan(), x, function(x, y)))


OTHER = ALL[torch.randperm(N, generator=torch.Generator().manual_seed(0))]

BINARY: dict[str, Any] = {
    "x + y": lambda x, y: x + y,
    "x - y": lambda x, y: x - y,
    "x * y": lambda x, y: x * y,
    "x / y": lambda x, y: (x.float() / y.float()).to(BF16),
    "tl.maximum(x, y)": lambda x, y: number_of(x, y, torch.maximum),
    "tl.minimum(x, y)": lambda x, y: number_of(x, y, torch.minimum),
    "tl.where(x < y, x, y)": lambda x, y: torch.where(x < y, x, y),
    "(x <= y).to(tl.bfloat16)": lambda x, y: (x <= y).to(BF16),
    "(x != y).to(tl.float32).to(tl.bfloat16)": lambda x, y: (x != y).to(BF16),
    "x + 0.1": lambda x, y: x + torch.tensor(0.1, dtype=BF16),
    "-x": lambda x, y: -x,
    "tl.abs(x)": lambda x, y: x.abs(),
    "tl.clamp(x, -2.0, 3.0)": lambda x, y: torch.where(x.isnan(), -2, x.clamp(-2, 3)),
    "x.to(tl.float16).to(tl.bfloat16)": lambda x, y: x.to(torch.float16).to(BF16),
    "x.to(tl.float64).to(tl.bfloat16)": lambda x, y: x,
    "x.to(tl.int16, bitcast=True).to(tl.bfloat16, bitcast=True)": lambda x, y: x,
    "tl.full((N,), 0.3, tl.bfloat16)": lambda x, y: torch.full_like(x, 0.3),
    "tl.split(tl.join(x, y))[1]": lambda x, y: y,
}


@pytest.mark.parametrize("expression", BINARY)
def test_all_numbers(expression: str) -> None:
    same(elementwise(expression, ALL, OTHER), BINARY[expression](ALL, OTHER))


def test_fused_multiply_add_rounds_once() -> None:
    x, y, z = (torch.randn(4096, generator=torch.Generator().manual_seed(seed)).to(BF16) for seed in range(3))
    got = elementwise("tl.fma(x, y, z)", x, y, z)
    same(got, once(x.double() * y.double() + z.double()))
    assert not torch.equal(got, x * y + z)


@pytest.mark.parametrize(
    "kind", [torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int8, torch.bool]
)
def test_casts(kind: torch.dtype) -> None:
    x = (torch.randn(4096, generator=torch.Generator().manual_seed(0)) * 1000).to(kind)
    got = elementwise("x.to(tl.bfloat16)", x)
    same(got, once(x.double()))
    same(elementwise("x.to(tl.bfloat16)", got), got)
    if kind.is_floating_point:
        same(elementwise(f"x.to(tl.{str(kind).split('.')[1]})", got, kind=kind), got.to(kind))


def test_ties_go_to_even_and_large_numbers_to_infinity() -> None:
    x = torch.tensor(
        [
            1 + 2**-8,
            1 + 3 * 2**-8,
            1 + 2**-8 + 2**-23,
            3.4e38,
            -3.4e38,
            torch.inf,
            torch.nan,
            0.0,
            -0.0,
            1e-40,
            2.0,
            3.0,
        ]
    )
    x = torch.cat([x, x[:4]])
    got = elementwise("x.to(tl.bfloat16)", x)
    same(got, x.to(BF16))
    assert got[:3].tolist() == [1, 1 + 2**-6, 1 + 2**-7]
    toward_zero = elementwise("x.to(tl.bfloat16, fp_downcast_rounding='rtz')", x)
    assert toward_zero[:4].tolist() == [1, 1 + 2**-7, 1, torch.finfo(BF16).max]


def test_a_number_of_float64_is_rounded_once() -> None:
    x = torch.tensor(
        [1 + 2**-8 + 2**-40, 1 + 2**-8 - 2**-40, -1 - 2**-8 - 2**-40, 1e300, -1e300, 1e-300, 5e-46, 1.0],
        dtype=torch.float64,
    )
    got = elementwise("x.to(tl.bfloat16)", x)
    assert got.tolist() == [1 + 2**-7, 1, -1 - 2**-7, torch.inf, -torch.inf, 0, 0, 1]


def test_of_floats_to_integers() -> None:
    x = torch.tensor([1.5, -2.75, 300, 0], dtype=BF16)
    assert elementwise("x.to(tl.int32)", x, kind=torch.int32).tolist() == [1, -2, 300, 0]


@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("count", [1, 2, 8, 13])
def test_reductions_are_rounded_as_they_go(axis: int | None, count: int) -> None:
    from triton import language as tl

    x = torch.randn(count, 6, generator=torch.Generator().manual_seed(count)).to(BF16)
    data = handle(x.view(torch.int16).numpy().view(np.uint16), tl.bfloat16)

    def tensor(value: Any) -> torch.Tensor:
        return torch.from_numpy(np.atleast_1d(value.data).view(np.int16)).view(BF16)

    got = tensor(triton_bfloat16.reduced(data, axis, np.add))
    wanted = x.double().sum() if axis is None else x.double().sum(axis)
    torch.testing.assert_close(got.double(), wanted.reshape(-1), rtol=0.02, atol=0.05)
    same(tensor(triton_bfloat16.reduced(data, axis, np.fmax)), (x.max() if axis is None else x.amax(axis)).reshape(-1))
    if axis is not None:
        got = tensor(triton_bfloat16.scanned(data, axis, np.add))
        torch.testing.assert_close(got.double(), x.double().cumsum(axis), rtol=0.02, atol=0.05)


def test_a_long_sum_loses_what_a_gpu_loses() -> None:
    """Not as much as one term after the other would: 256 + 1 is 256."""
    x = torch.ones(4096, dtype=BF16)
    assert elementwise("tl.zeros((N,), tl.bfloat16) + tl.sum(x)", x)[0].item() == 4096
    assert (
        elementwise(
            "tl.zeros((N,), tl.bfloat16) + tl.sum(x)",
            x + torch.cat([torch.tensor([256.0]), torch.zeros(4095)]).to(BF16),
        )[0].item()
        == 4352
    )


def test_keeping_dimensions_and_indices() -> None:
    x = torch.randn(64, generator=torch.Generator().manual_seed(1)).to(BF16)
    square = "tl.reshape(x, (8, 8))"
    got = elementwise(f"tl.reshape({square} - tl.max({square}, 1, keep_dims=True), (64,))", x)
    same(got, (x.view(8, 8) - x.view(8, 8).amax(1, keepdim=True)).view(64))
    assert elementwise("tl.zeros((N,), tl.int32) + tl.argmax(x, 0)", x, kind=torch.int32)[0].item() == x.argmax()
    same(elementwise("tl.sort(x)", x), x.sort().values)
    same(elementwise("tl.cumsum(x, reverse=True)", x[:2]), x[:2].flip(0).cumsum(0).flip(0))
    torch.testing.assert_close(
        elementwise("tl.cumprod(x, 0)", x[:8]).float(), x[:8].float().cumprod(0), rtol=0.03, atol=1e-3
    )
