"""A complete exercise of the lifted kind, to test on: a kernel with the host code that starts it, and one in CUDA C."""

from pathlib import Path

from autograder.exercises import Exercise
from autograder.notebooks import make_notebook

NAME = "ch98_ex1_vector_add"
POINTS = {"kernel-adds": 4, "kernel-compiles": 2, "wrapper-adds": 3, "cuda-adds": 2}

ACCEPTANCE = '''"""Acceptance criteria of exercise 98.1: vector addition."""

import random

import torch

from autograder.acceptance import Work, criterion, equal, expect
from autograder.kernels import Kernel
from workbook.gpu.cuda_cpu import unwritten

PRELOAD = ("torch", "triton")


@criterion(hint=("What lies beyond the last element?", "Mask the tail: offsets < n."))
def kernel_adds(work: Work, rng: random.Random) -> None:
    """`add_kernel(x, y, out, n, BLOCK)` adds vectors of any length, and touches nothing beyond them."""
    kernel = work.kernel("add_kernel")
    for n in (1, rng.randrange(2, 256), 256, rng.randrange(257, 2000)):
        adds(kernel, rng, n)


@criterion(hint="Take the type from the pointers.")
def kernel_compiles(work: Work, rng: random.Random) -> None:
    """`add_kernel` compiles for sm_80 and sm_90, for float32 and bfloat16."""
    kernel = work.kernel("add_kernel")
    adds(kernel, rng, 1000)  # code that does nothing compiles too
    for arch in (80, 90):
        for pointer in ("*fp32", "*bf16"):
            code = kernel.compile(arch, pointer, pointer, pointer, "i32", BLOCK=1024)
            expect(code.source_sha256 == kernel.sha256 and code.cubin[:4] == b"\\x7fELF", "this is no code for a GPU")


@criterion(hint="How many programs does it take for the last elements?")
def wrapper_adds(work: Work, rng: random.Random) -> None:
    """`add(x, y)` returns the sum of two vectors, of a kernel that adds."""
    adds(work.kernel("add_kernel"), rng, 1000)  # without one, something else has done the work
    for n in (1, rng.randrange(2, 1000), 1024, rng.randrange(1025, 4000)):
        x, y = (torch.tensor([rng.gauss(0, 1) for _ in range(n)]) for _ in range(2))
        equal(work.call("add", x, y), x + y)


@criterion(hint="Which thread has the last element?")
def cuda_adds(work: Work, rng: random.Random) -> None:
    """The text `ADD` is a kernel in CUDA C that adds vectors of any length."""
    kernel = work.cuda("ADD")
    for n in (1, rng.randrange(2, 300)):
        x, y = (torch.tensor([rng.gauss(0, 1) for _ in range(n)]) for _ in range(2))
        ran = kernel.run(-(-n // 64), 64, x, y, unwritten(n), n)
        equal(ran.tensors["z"], x + y)
        equal(ran.bytes, 12 * n)


def adds(kernel: Kernel, rng: random.Random, n: int) -> None:
    """Expects that a kernel adds n numbers."""
    x, y = (torch.tensor([rng.gauss(0, 1) for _ in range(n)]) for _ in range(2))
    _, _, out = kernel.run((-(-n // 256),), x, y, torch.full((n,), float("nan")), n, BLOCK=256)
    equal(out, x + y)
'''

SOURCE = '''# ---
# jupyter:
#   jupytext: {cell_metadata_filter: all, notebook_metadata_filter: 'kernelspec,-all'}
#   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
# ---

# %% [markdown] nbgrader={"grade": false, "grade_id": "intro", "locked": true, "schema_version": 3, "solution": false, "task": false}
# # Exercise 98.1: vector addition

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import torch
import triton
import triton.language as tl

from autograder.check import check
from workbook.gpu import triton_cpu

triton_cpu.install()  # kernels then run where their tensors are

# %% nbgrader={"grade": false, "grade_id": "kernel", "locked": false, "schema_version": 3, "solution": true, "task": false}
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """Adds two vectors of n elements; each program adds BLOCK of them."""
    ### BEGIN SOLUTION
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask)
    y = tl.load(y_ptr + offsets, mask=mask)
    tl.store(out_ptr + offsets, x + y, mask=mask)
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "kernel-adds", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check("kernel-adds", add_kernel)

# %% nbgrader={"grade": true, "grade_id": "kernel-compiles", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check("kernel-compiles", add_kernel)

# %% nbgrader={"grade": false, "grade_id": "wrapper", "locked": false, "schema_version": 3, "solution": true, "task": false}
def add(x, y):
    """Returns x + y, computed by add_kernel."""
    ### BEGIN SOLUTION
    out = torch.empty_like(x)
    n = x.numel()
    add_kernel[(triton.cdiv(n, 256),)](x, y, out, n, BLOCK=256)
    return out
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "wrapper-adds", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check("wrapper-adds", add)

# %% nbgrader={"grade": false, "grade_id": "cuda", "locked": false, "schema_version": 3, "solution": true, "task": false}
ADD = r"""
__global__ void add(const float* x, const float* y, float* z, int n) {
}
"""
### BEGIN SOLUTION
ADD = r"""
__global__ void add(const float* x, const float* y, float* z, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) z[i] = x[i] + y[i];
}
"""
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "cuda-adds", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check("cuda-adds", ADD)
'''  # noqa: E501 - the markers are in one line

KERNEL = """
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    tl.store(out_ptr + offsets, tl.load(x_ptr + offsets, mask=mask) + tl.load(y_ptr + offsets, mask=mask), mask=mask)
"""
"""The reference's kernel, in short."""

WRAPPER = """
def add(x, y):
    out = torch.empty_like(x)
    add_kernel[(triton.cdiv(x.numel(), 256),)](x, y, out, x.numel(), BLOCK=256)
    return out
"""
"""The reference's host code."""

PRUNED = """    if BLOCK == 0:
        import torch

        torch.add(x_ptr, y_ptr, out=out_ptr)
"""
"""What the compiler leaves out of a kernel, and the interpreter would run for another BLOCK."""

_FEW = WRAPPER.replace("empty_like", "zeros_like").replace("triton.cdiv(x.numel(), 256)", "x.numel() // 256")
_ONE_TYPE = "    tl.static_assert(x_ptr.dtype.element_ty == tl.float32)\n"
_NOTHING = """
@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    pass
"""
_OFF_BY_ONE = '''ADD = r"""
__global__ void add(const float* x, const float* y, float* z, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= n) z[i] = x[i] + y[i];
}
"""'''
_OTHER = """
ONE = tl.constexpr(1.0)


@triton.jit
def plus(a, b):
    return a + ONE * b


@triton.jit
def add_kernel(x, y, z, length, BLOCK: tl.constexpr):
    for start in range(tl.program_id(0) * BLOCK, length, tl.num_programs(0) * BLOCK):
        at = start + tl.arange(0, BLOCK)
        inside = at < length
        tl.store(z + at, plus(tl.load(x + at, inside, 0.0), tl.load(y + at, inside, 0.0)), inside)
"""

ANSWERS = {
    "wrong/no_mask": ("no mask", "kernel-adds", {"kernel": KERNEL.replace("offsets < n", "offsets >= 0")}),
    "wrong/torch_beside_a_stub": (
        "torch does the work, the kernel nothing",
        "kernel-adds",
        {"kernel": _NOTHING, "wrapper": "def add(x, y):\n    return x + y"},
    ),
    "wrong/behind_a_constant": (
        "code that the compiler leaves out",
        "kernel-adds",
        {"kernel": KERNEL.replace("    mask =", f"{PRUNED}    mask =")},
    ),
    "wrong/float32_only": (
        "made for one type",
        "kernel-compiles",
        {"kernel": KERNEL.replace("    mask =", f"{_ONE_TYPE}    mask =")},
    ),
    "wrong/forgets_the_tail": ("the last block is not started", "wrapper-adds", {"wrapper": _FEW}),
    "wrong/cuda_off_by_one": ("one thread too many adds", "cuda-adds", {"cuda": _OFF_BY_ONE}),
    "right/a_loop_and_a_helper": (
        "fewer programs than blocks would do, and a kernel that helps",
        "",
        {"kernel": _OTHER},
    ),
}
"""The answers that prove the criteria: what is wrong or different, what it fails, and its cells."""


def add_lifted_exercise(root: Path) -> Exercise:
    """Makes the exercise's folder in a course's."""
    folder = root / "solutions" / NAME
    (folder / "wrong").mkdir(parents=True)
    (folder / "right").mkdir()
    (folder / "acceptance.py").write_text(ACCEPTANCE)
    for name, (about, killed_by, cells) in ANSWERS.items():
        comments = f"# mistake: {about}\n# killed_by: {killed_by}" if killed_by else f"# differs: {about}"
        parts = [f'# %% nbgrader={{"grade_id": "{cell}"}}\n{text.strip()}\n' for cell, text in cells.items()]
        (folder / f"{name}.py").write_text("\n".join([comments, "", *parts]))
    source = folder / f"{NAME}.py"
    source.write_text(SOURCE)
    make_notebook(source)
    return Exercise(folder)
