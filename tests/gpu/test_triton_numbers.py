"""The numbers of kernels on the CPU: as the compiler types them, so that what it drops is not run."""

from typing import Any

import pytest
import torch

from tests.system import unavailable
from workbook.gpu.triton_cpu import Undefined, install

try:
    import triton  # noqa: F401
except ImportError:
    unavailable("Triton is not installed")
from workbook.gpu.triton_compiler import load

install()


def stored(*lines: str, n: Any = 5, kind: torch.dtype = torch.float64) -> float:
    """Returns what a kernel writes into its first element."""
    body = "\n".join(f"    {line}" for line in lines)
    k = load(
        f"import triton\nimport triton.language as tl\n\n@triton.jit\ndef k(x, n, B: tl.constexpr):\n{body}\n", "k"
    )
    x = torch.zeros(8, dtype=kind)
    k[(1,)](x, n, B=8)
    value: float = x[0].item()
    return value


TYPED = {
    "an integer overflows": (["i = 1", "tl.store(x, i * 65536 * 65536)"], 0),
    "a parameter overflows": (["tl.store(x, n * 65536 * 65536)"], 0),
    "a float is rounded": (["a = 0.1", "tl.store(x, a.to(tl.float64))"], torch.tensor(0.1).item()),
    "a constant is not": (["tl.store(x, B * 65536 * 65536)"], 8 << 32),
    "a constant that is assigned is no constant": (["C = B", "tl.store(x, C * 65536 * 65536)"], 0),
    "one that is annotated is": (["C: tl.constexpr = B", "tl.store(x, C * 65536 * 65536)"], 8 << 32),
    "a loop's variable overflows": (["for i in range(1, 2):", "    tl.store(x, i * 65536 * 65536)"], 0),
    "that of a static range is a constant": (
        ["for i in tl.static_range(1, 2):", "    tl.store(x, i * 65536 * 65536)"],
        1 << 32,
    ),
    "a range with options": (["s = 0", "for i in tl.range(0, n, 2, num_stages=2):", "    s += i", "tl.store(x, s)"], 6),
    "a step by name": (["s = 0", "for i in tl.range(4, 0, step=-2):", "    s += i", "tl.store(x, s)"], 6),
    "a loop within a condition": (["if n > 0:", "    for i in range(3):", "        tl.store(x, i)"], 2),
    "several targets": (["a, b = 1, 2", "a, b = b, a", "tl.store(x, a * 10 + b)"], 21),
    "a chain of comparisons": (["tl.store(x, (1 < n < 9).to(tl.int32))"], 1),
    "and, or, not": (["tl.store(x, (n > 1 and not n > 9 or n < 0).to(tl.int32))"], 1),
    "min and max": (["tl.store(x, min(n, 3) * 10 + max(n, 3, 4))"], 35),
    "a conditional expression": (["y = 2 if n > 3 else 4", "tl.store(x, y)"], 2),
    "while": (["while n < 9:", "    n += 3", "tl.store(x, n)"], 11),
    "integers divide toward zero": (["tl.store(x, (n - 12) // 2 * 100 + (n - 12) % 2)"], -301),
}


@pytest.mark.parametrize("case", TYPED)
def test_numbers_are_typed(case: str) -> None:
    lines, wanted = TYPED[case]
    assert stored(*lines) == wanted


@pytest.mark.parametrize("value", [0.1, True, -5, 1 << 31, -(1 << 63), (1 << 63) + 2048, float("inf")])
def test_parameters(value: float) -> None:
    wanted = torch.tensor(value, dtype=torch.float32 if isinstance(value, float) else torch.float64).item()
    assert stored("tl.store(x, n.to(tl.float64))", n=value) == wanted


def test_after_a_loop_its_variable_is_nothing() -> None:
    with pytest.raises(UnboundLocalError):
        stored("for i in range(3):", "    pass", "tl.store(x, i)")


UNDEFINED = {
    "division by zero": "y = n // (n - 5)",
    "remainder": "y = n % (n - 5)",
    "the lowest by minus one": "y = (n - 5 - 2147483647 - 1) // (n - 6)",
    "a shift": "y = n << 32",
    "a shift to the right": "y = n >> (n - 6)",
    "a large number": "y = (n * 1e10).to(tl.int32)",
    "a negative one": "y = (n * -1.0).to(tl.uint32)",
    "none": "y = (n * float('nan')).to(tl.int32)",
    "a step": "for i in range(0, 5, n - 5):\n        pass",
}


@pytest.mark.parametrize("case", UNDEFINED)
def test_what_is_not_defined(case: str) -> None:
    with pytest.raises(Undefined) as caught:
        stored(UNDEFINED[case])
    assert caught.value.line == UNDEFINED[case].splitlines()[0]
    assert caught.value.program == (0, 0, 0)
