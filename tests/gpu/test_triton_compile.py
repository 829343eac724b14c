"""Machine code of kernels, without a GPU: what is compiled, what is kept, and what is said of what does not compile."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.autograder.kernel_sources import KERNELS
from tests.system import unavailable
from workbook.gpu import compiling, triton_cpu
from workbook.gpu.code import CompileError, GpuCode, NotRunError
from workbook.gpu.triton_compile import compile_for

try:
    import triton
    import triton.language as tl
except ImportError:
    unavailable("Triton is not installed")
from triton.language.extra import libdevice
from triton.language.extra.libdevice import tanh as hyperbolic

from workbook.gpu.triton_compiler import FILE, load, packed, unpacked
from workbook.gpu.triton_source import module_text

triton_cpu.install()

HALF = tl.constexpr(0.5)
INFINITY = tl.constexpr(float("inf"))
KIND = tl.float32
SHAPE = (64,)
number = 5
x = torch.zeros(1)


@triton.constexpr_function  # type: ignore[untyped-decorator]
def twice(n: int) -> int:
    return 2 * n


@triton.jit(noinline=True)  # type: ignore[untyped-decorator]
def half() -> Any:
    return HALF


@triton.jit  # type: ignore[untyped-decorator]
def helper(a: Any) -> Any:
    return libdevice.exp(a) * half() + hyperbolic(a)


@triton.jit  # type: ignore[untyped-decorator]
def everything(x: Any, out: Any, n: Any, BLOCK: tl.constexpr) -> None:  # noqa: N803
    """It has `number` in its docstring."""
    i = tl.arange(0, twice(BLOCK))
    number = tl.load(x + i, mask=i < n, other=-INFINITY)
    number += tl.zeros((1,), KIND)
    tl.store(out + i, helper(number), mask=i < n)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One for all tests, so that few of them compile."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("WORKBOOK_CACHE", str(folder))
    return folder


def add(**options: Any) -> GpuCode:
    kernel = load("import triton\nimport triton.language as tl\n" + KERNELS["add"], "add")
    signature = {"x_ptr": "*fp32", "y_ptr": "*fp32", "out_ptr": "*fp32", "n": "i32"}
    return compile_for(kernel, signature, {"BLOCK": 1024}, **{"arch": 80, **options})


@pytest.mark.parametrize("arch", [80, 90, 100])
def test_architectures(arch: int) -> None:
    code = add(arch=arch)
    assert (code.name, code.arch, code.threads, code.shared) == ("add", arch, 128, 0)
    assert code.cubin[:4] == b"\x7fELF"
    assert f".target sm_{arch}" in code.ptx
    assert "def add(" in code.source


def test_options() -> None:
    codes = [add(), add(num_warps=8), add(aligned=("x_ptr", "y_ptr", "out_ptr", "n"))]
    assert len({code.sha256 for code in codes}) == 3
    assert [code.threads for code in codes] == [128, 256, 128]
    assert [".v4.b32" in code.ptx for code in codes] == [False, False, True]


def test_the_lines_of_the_code_are_those_of_its_source() -> None:
    code = add()
    (line,) = (number for number, text in enumerate(code.source.splitlines(), 1) if "tl.store" in text)
    assert f'"{FILE}"' in code.ptx.replace("./", "")
    assert f".loc\t1 {line} " in code.ptx


def test_types_of_values() -> None:
    given = {"x_ptr": torch.zeros(1), "y_ptr": torch.zeros(1), "out_ptr": torch.zeros(1), "n": 7}
    kernel = load("import triton\nimport triton.language as tl\n" + KERNELS["add"], "add")
    assert compile_for(kernel, given, {"BLOCK": 1024}, 80) == add()
    tuned = triton.autotune([triton.Config({"BLOCK": 16}), triton.Config({"BLOCK": 32})], key=[])(kernel)
    assert compile_for(tuned, given, {"BLOCK": 1024}, 80) == add()


def test_a_kernel_takes_along_what_it_uses() -> None:
    code = compile_for(everything, {"x": "*fp32", "out": "*fp32", "n": "i32"}, {"BLOCK": 32}, 80)
    assert code.source == module_text(everything)
    for part in ("import triton.language.extra.libdevice as libdevice", "HALF = tl.constexpr(0.5)", "(noinline=True)"):
        assert part in code.source
    for part in ('INFINITY = tl.constexpr(float("inf"))', "KIND = tl.dtype('fp32')", "def twice", "tanh as hyperbolic"):
        assert part in code.source
    assert "number = 5" not in code.source, "it has a variable of that name"
    assert "def everything(x: None, out: None, n: None, BLOCK: tl.constexpr) -> None:" in code.source
    given, out = torch.randn(64), torch.zeros(64)
    everything[(1,)](given, out, 64, BLOCK=32)
    torch.testing.assert_close(out, given.exp() / 2 + given.tanh())


def test_annotations_of_several_lines() -> None:
    head = "import torch\nimport triton\nimport triton.language as tl\nfrom triton.language import constexpr\n"
    text = "@triton.jit\ndef k(é: (\n  torch.Tensor |\n  'ü'\n), B: constexpr, n: int = 3) -> torch.Tensor:\n"
    text += "    tl.store(é, B + n)\n"
    kernel = load("from __future__ import annotations\n" + head + text, "k")
    written = module_text(kernel)
    assert written.endswith(
        "def k(é: (\n  None\n\n), B: constexpr, n: None = 3) -> torch.Tensor:\n    tl.store(é, B + n)\n"
    )
    assert compile_for(kernel, {"é": "*fp32", "n": "i32"}, {"B": 3}, 80).source == written


def test_none_is_a_constant() -> None:
    kernel = load("import triton\nimport triton.language as tl\n" + KERNELS["layernorm"], "layernorm")
    names = list(kernel.arg_names)
    pointers = {name: "*fp32" for name in names if name.endswith("_ptr")}
    rest = {"n": "i32", "eps": "fp32"}
    code = compile_for(kernel, pointers | {"b_ptr": None} | rest, {"BLOCK": 32, "HAS_BIAS": False}, 80)
    assert code.name == "layernorm"


UNUSABLE = {
    "a tensor": ("tl.store(x, T)", "`T` is a Tensor: a kernel cannot use that"),
    "a module": ("tl.store(x, os.name)", "`os` is a module: import the functions"),
    "a number that is no constant": ("tl.store(x, N)", r"global variable N|constexpr"),
    "nothing": ("tl.store(x, nowhere)", "nowhere is not defined"),
    "a shape": ("tl.store(x + tl.arange(0, 3), 1)", "power of 2"),
    "an assertion": ("tl.static_assert(1 == 2, 'not so')", "not so"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_does_not_compile(case: str) -> None:
    line, message = UNUSABLE[case]
    head = "import os\nimport torch\nimport triton\nimport triton.language as tl\nT = torch.zeros(1)\nN = 5\n"
    kernel = load(f"{head}@triton.jit\ndef k(x):\n    {line}\n", "k")
    with pytest.raises(CompileError, match=message):
        compile_for(kernel, {"x": "*fp32"}, {}, 80)


def test_two_meanings_of_a_name() -> None:
    def make(value: float) -> Any:
        head = f"import triton\nimport triton.language as tl\nC = tl.constexpr({value})\n"
        return load(f"{head}@triton.jit\ndef h{value}():\n    return C\n", f"h{value}")

    kernel = load(
        "import triton\nimport triton.language as tl\n@triton.jit\ndef k(x):\n    tl.store(x, h1() + h2())\n", "k"
    )
    kernel.fn.__globals__.update(h1=make(1), h2=make(2))
    with pytest.raises(CompileError, match="two functions take `C` to be different things"):
        compile_for(kernel, {"x": "*fp32"}, {}, 80)


def test_names_are_checked() -> None:
    for signature, constants, aligned, message in (
        ({"x": "*fp32"}, {}, (), "everything needs out, n, BLOCK too"),
        ({"x": "*fp32", "out": "*fp32", "n": "i32", "m": 1}, {"BLOCK": 1}, (), "has no m; it has x, out, n, BLOCK"),
        ({"x": "*fp32", "out": "*fp32", "n": "i32"}, {"BLOCK": 1}, ("z",), "has no z"),
        ({"x": "*fp32", "out": "*fp32", "n": "i32", "BLOCK": 16}, {}, (), "BLOCK of everything are tl.constexpr"),
        ({"x": [1], "out": "*fp32", "n": "i32"}, {"BLOCK": 1}, (), "takes tensors and numbers, not list"),
        ({"x": "*fp32", "out": "*fp32", "n": "i32"}, {"BLOCK": object()}, (), "a constant of a kernel is a number"),
    ):
        with pytest.raises(TypeError, match=message):
            compile_for(everything, signature, constants, 80, aligned=aligned)
    with pytest.raises(CompileError, match=r"is no function under @triton\.jit"):
        compile_for(print, {}, {}, 80)


def test_constants() -> None:
    for value in (None, True, 3, 0.5, "ieee", (1, (2.0, "a"))):
        assert unpacked(packed(value)) == value
    assert unpacked(packed([1, 2])) == (1, 2)
    assert unpacked(packed(tl.constexpr(4))) == 4
    assert unpacked(packed(tl.bfloat16)) == tl.bfloat16


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbook.gpu.triton_compile.find_spec", lambda name: None)
    with pytest.raises(NotRunError, match="not run: Triton is not installed"):
        add()


def test_what_was_compiled_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = add()
    monkeypatch.setattr(compiling, "ask", lambda *_, **__: pytest.fail("it is compiled again"))
    assert add() == first


def test_the_environment_has_no_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = add()
    monkeypatch.setenv("TRITON_DISABLE_LINE_INFO", "1")
    monkeypatch.setenv("WORKBOOK_CACHE", str(tmp_path))
    if compiling._process is not None:
        compiling._forget()
    assert add() == first


def test_a_crash_of_the_compiler_is_a_message() -> None:
    """LLVM aborts the process that it runs in."""
    with pytest.raises(CompileError, match=r"^the compiler crashed: SIGABRT"):
        compiling.ask("tests.gpu.test_triton_compile:aborts", {})
    assert add().arch == 80


def aborts(question: compiling.Question) -> compiling.Answer:
    os.abort()
