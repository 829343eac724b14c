"""CUDA's libdevice on the CPU, against torch and Python."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.system import unavailable
from workbook.gpu.code import NotRunError
from workbook.gpu.triton_cpu import install

try:
    from triton.language.extra.cuda import libdevice
except ImportError:
    unavailable("Triton is not installed")
from workbook.gpu.triton_compiler import load
from workbook.gpu.triton_libdevice import find

install()

GENERATOR = torch.Generator().manual_seed(0)
ANY = torch.randn(64, generator=GENERATOR) * 3
POSITIVE = ANY.abs() + 0.01
UNIT = ANY.sin() * 0.99
WHOLE = torch.randint(-(1 << 31), 1 << 31, (64,), generator=GENERATOR).int()


def run(name: str, *given: torch.Tensor, kind: torch.dtype | None = None, imported: bool = False) -> torch.Tensor:
    """Returns what a function gives for tensors."""
    loads = ", ".join(f"tl.load(p{index} + i)" for index in range(len(given)))
    parameters = "".join(f"p{index}, " for index in range(len(given)))
    how = (
        f"from triton.language.extra.libdevice import {name}"
        if imported
        else "from triton.language.extra import libdevice"
    )
    called = name if imported else f"libdevice.{name}"
    text = f"""import triton
import triton.language as tl
{how}

@triton.jit
def k({parameters}out):
    i = tl.arange(0, 64)
    tl.store(out + i, {called}({loads}))
"""
    out = torch.zeros(64, dtype=kind or given[0].dtype)
    load(text, "k")[(1,)](*given, out)
    return out


ONE: dict[str, tuple[torch.Tensor, Any]] = {
    **{
        name: (ANY, getattr(torch, name))
        for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "exp2", "expm1")
    },
    **{name: (POSITIVE, getattr(torch, name)) for name in ("log", "log2", "log10", "log1p", "sqrt", "rsqrt", "lgamma")},
    **{name: (UNIT, getattr(torch, name)) for name in ("asin", "acos", "atan", "atanh", "erfinv")},
    **{name: (ANY, getattr(torch, name)) for name in ("asinh", "erf", "erfc", "floor", "ceil", "trunc")},
    "acosh": (POSITIVE + 1, torch.acosh),
    "cbrt": (POSITIVE, lambda x: x ** (1 / 3)),
    "rcbrt": (POSITIVE, lambda x: x ** (-1 / 3)),
    "exp10": (ANY, lambda x: 10**x),
    "tgamma": (POSITIVE, lambda x: x.lgamma().exp()),
    "rint": (ANY, torch.round),
    "nearbyint": (ANY, torch.round),
    "round": (
        torch.cat([ANY[:60], torch.tensor([0.5, -0.5, 2.5, -1.5])]),
        lambda x: x.sign() * (x.abs() + 0.5).floor(),
    ),
    "abs": (ANY, torch.abs),
    "sinpi": (ANY, lambda x: (x * math.pi).sin()),
    "cospi": (ANY, lambda x: (x * math.pi).cos()),
    "saturatef": (ANY, lambda x: x.clamp(0, 1)),
    "erfcx": (ANY, torch.special.erfcx),
    "erfcinv": (UNIT + 1, lambda x: torch.erfinv(1 - x)),
    "normcdf": (ANY, torch.special.ndtr),
    "normcdfinv": (UNIT.abs(), torch.special.ndtri),
    "j0": (ANY, torch.special.bessel_j0),
    "y1": (POSITIVE, torch.special.bessel_y1),
    "cyl_bessel_i0": (ANY, torch.special.i0),
    "logb": (POSITIVE, lambda x: x.log2().floor()),
    "fast_expf": (ANY, torch.exp),
    "fast_tanf": (ANY, torch.tan),
    "rsqrt_rn": (POSITIVE, torch.rsqrt),
    "rcp_rn": (POSITIVE, torch.reciprocal),
}


@pytest.mark.parametrize("name", ONE)
def test_of_one_number(name: str) -> None:
    given, function = ONE[name]
    for kind in (torch.float32, torch.float64)[: 1 if name.startswith(("fast", "saturate", "rsqrt_rn")) else 2]:
        x = given.to(kind)
        torch.testing.assert_close(run(name, x), function(x.double()).to(kind), rtol=1e-6, atol=1e-6)


TWO: dict[str, Any] = {
    "atan2": torch.atan2,
    "hypot": torch.hypot,
    "fmod": torch.fmod,
    "copysign": torch.copysign,
    "nextafter": torch.nextafter,
    "fdim": lambda x, y: (x - y).clamp(min=0),
    "remainder": lambda x, y: torch.tensor([math.remainder(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]),
    "rhypot": lambda x, y: 1 / torch.hypot(x, y),
    "add_rn": torch.add,
    "sub_rn": torch.sub,
    "mul_rn": torch.mul,
    "div_rn": torch.div,
}


@pytest.mark.parametrize("name", TWO)
def test_of_two_numbers(name: str) -> None:
    other = POSITIVE.flip(0)
    torch.testing.assert_close(run(name, ANY, other), TWO[name](ANY, other), rtol=1e-6, atol=1e-6)


def test_more() -> None:
    torch.testing.assert_close(run("pow", POSITIVE, ANY), POSITIVE**ANY, rtol=1e-6, atol=1e-6)
    powers = torch.arange(64).int() % 5
    torch.testing.assert_close(run("pow", ANY, powers), ANY**powers)
    torch.testing.assert_close(run("ldexp", ANY, powers), ANY * 2**powers)
    torch.testing.assert_close(run("fma", ANY, UNIT, POSITIVE), ANY * UNIT + POSITIVE, rtol=1e-6, atol=1e-6)
    norm = torch.stack([ANY, UNIT, POSITIVE]).norm(dim=0)
    torch.testing.assert_close(run("norm3d", ANY, UNIT, POSITIVE), norm)
    torch.testing.assert_close(run("rnorm3d", ANY, UNIT, POSITIVE), 1 / norm)


def test_of_integers_and_bits() -> None:
    bits = [f"{value & 0xFFFFFFFF:032b}" for value in WHOLE.tolist()]
    assert run("popc", WHOLE).tolist() == [text.count("1") for text in bits]
    assert run("clz", WHOLE // 999).tolist() == [
        32 - (value & 0xFFFFFFFF).bit_length() for value in (WHOLE // 999).tolist()
    ]
    assert run("ffs", WHOLE * 8).tolist() == [(value & -value).bit_length() for value in (WHOLE * 8).tolist()]
    assert [f"{value & 0xFFFFFFFF:032b}"[::-1] for value in run("brev", WHOLE).tolist()] == bits
    wide = WHOLE.long() * 12345
    assert run("popc", wide, kind=torch.int32).tolist() == [
        bin(value & ((1 << 64) - 1)).count("1") for value in wide.tolist()
    ]
    assert run("mulhi", WHOLE, WHOLE.flip(0)).tolist() == (WHOLE.long() * WHOLE.flip(0).long() >> 32).tolist()
    assert run("hadd", WHOLE, WHOLE.flip(0)).tolist() == (WHOLE.long() + WHOLE.flip(0).long() >> 1).tolist()
    small = WHOLE // 8
    assert run("abs", small).tolist() == small.abs().tolist()
    assert torch.equal(run("float_as_int", ANY, kind=torch.int32), ANY.view(torch.int32))
    assert torch.equal(run("int_as_float", ANY.view(torch.int32), kind=torch.float32), ANY)
    odd = torch.tensor([math.nan, math.inf, -math.inf, -0.0] * 16)
    for name, function in (
        ("isnan", torch.isnan),
        ("isinf", torch.isinf),
        ("signbit", torch.signbit),
        ("finitef", torch.isfinite),
    ):
        assert run(name, odd, kind=torch.int32).bool().tolist() == function(odd).tolist()


def test_names_that_were_imported() -> None:
    torch.testing.assert_close(run("tanh", ANY, imported=True), ANY.tanh())


def test_what_is_not_known_says_so() -> None:
    with pytest.raises(NotRunError, match="not run: libdevice's fadd_rz is not known on a CPU"):
        run("add_rz", ANY, ANY)


def test_what_is_known() -> None:
    """Directed rounding is not, nor a few others."""
    symbols = set(re.findall(r'"(__nv_\w+)"', Path(str(libdevice.__file__)).read_text()))
    unknown = {symbol.removeprefix("__nv_") for symbol in symbols if find(symbol) is None}
    plain = {name for name in unknown if not re.search(r"_r[nzud]$|2|hi|lo", name)}
    assert (
        plain
        == {
            "byte_perm",
            "mul24",
            "umul24",
            "rcp64h",
            "llrintf",
            "llrint",
            "llroundf",
            "llround",
            "jnf",
            "jn",
            "ynf",
            "yn",
            "ilogbf",
            "ilogb",
        }
        & plain
    )
