# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise 8.1: vector addition, twice
#
# **Goal**: write z = x + y as a GPU kernel, in CUDA C and in Triton, so that it is right for every
# vector and moves no byte more than it must.
#
# **Why it matters.** An addition is over before its operands have come: this kernel is as fast as it
# moves memory, and so are norms, activations, rotary embeddings and copies of the KV cache. What
# decides is the same for all of them: who gets which element, what happens at the end, and how many
# bits are moved at once.
#
# | | |
# |---|---|
# | Difficulty | ●●○○○ |
# | Importance | ●●●●● |
# | Time | 60 minutes |
# | Needs | a CPU: kernels are run on it, and compiled for GPUs that need not be there |

# %% [markdown]
# ## The contract
#
# ```c
# extern "C" __global__ void add(const float* x, const float* y, float* z, int n,
#                                int x_stride, int y_stride, int z_stride)
# ```
# ```python
# def add(x_ptr, y_ptr, z_ptr, n, x_stride, y_stride, z_stride, block: tl.constexpr)
# def vector_add(x: Tensor, y: Tensor) -> Tensor
# ```
#
# Element i of x lies `i * x_stride` elements after the one that `x` points to; likewise y and z.
# Strides of x and y may be 0: one number for all.
#
# - **CUDA C**, a text named `ADD`. It must be right for any number of blocks and threads, in one
#   dimension: for fewer threads than elements, and for more. NVRTC compiles it as it is: no line for
#   the preprocessor but `#pragma unroll`, no `asm`.
# - **Triton**, `add`. It is started with n / `block` programs, rounded up, or with more. `block` is a
#   power of two from 16 to 1024. Elements are float32, float16 or bfloat16.
# - **Both**: n may be 0, or anything else. Blocks run in any order. Nothing but elements of the
#   vectors is touched, x and y are read only, z is written only. Each element is moved once.
# - **128 bits.** CUDA C: where all three addresses can be divided by 16 and all strides are 1, at least
#   90 % of the bytes are moved 128 bits at a time. Triton: compiled for such vectors, and an n that
#   16 divides, each load and store moves 128 bits.
# - **`vector_add`** takes two vectors of one length and type, with any strides, and returns a new one:
#   their sum, computed by the Triton kernel.

# %% [markdown]
# ## The criteria
#
# | criterion | points | what it asks |
# |---|---|---|
# | `cuda-any-length` | 15 | any n, any grid, any order, nothing out of bounds |
# | `cuda-views` | 10 | addresses that are not aligned, strides |
# | `cuda-moves-3n-words` | 10 | counted bytes |
# | `cuda-moves-128-bits` | 15 | counted accesses; machine code for sm_80 and sm_90 |
# | `triton-any-length` | 15 | any n, any `block`, three types |
# | `triton-views` | 10 | as above |
# | `triton-moves-3n-words` | 10 | as above |
# | `triton-moves-128-bits` | 10 | machine code for sm_80 and sm_90 |
# | `host-starts-it` | 5 | `vector_add` |
#
# The criteria stand in `acceptance.py` beside this notebook; your work is graded by the same
# functions with other numbers. The kernels are cut out of the notebook as texts, compiled, and run on a
# CPU that counts each byte and stops at the first wrong address. Where the compilers are missing
# (on macOS there is no Triton), a check says what it lacks and is not run.

# %% nbgrader={"grade": false, "grade_id": "setup", "locked": true, "schema_version": 3, "solution": false, "task": false}
import os
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from autograder.check import IN_WORKER, check
from workbook.gpu import triton_cpu
from workbook.gpu.chips import CHIPS
from workbook.gpu.code import NotRunError
from workbook.gpu.cuda_cpu import unwritten
from workbook.gpu.cuda_gpu import run_cuda
from workbook.gpu.cuda_nvrtc import compile_cuda
from workbook.gpu.inspection import inspect
from workbook.gpu.measure import do_bench
from workbook.gpu.roofline import Rooflines, Work
from workbook.gpu.triton_compile import compile_for

if find_spec("triton"):
    import triton
    import triton.language as tl
else:  # enough to define a kernel, which is then not run
    triton = SimpleNamespace(jit=lambda function: function)
    tl = SimpleNamespace(constexpr=int)


# %% nbgrader={"grade": false, "grade_id": "kernels-run-here", "locked": true, "schema_version": 3, "solution": false, "task": false}
def tried(run: Callable[[], Any]) -> Any:
    """Returns what `run()` gives; where this machine lacks something for it, says what."""
    if IN_WORKER in os.environ:  # while this is graded, nobody looks
        return None
    try:
        return run()
    except NotRunError as reason:
        print(reason)
    return None


with suppress(NotRunError):  # whatever runs a kernel says so
    triton_cpu.install()  # they then run where their tensors are

# %% [markdown]
# ## Step 1: CUDA C, right
#
# A launch starts `gridDim.x` blocks of `blockDim.x` threads. All run the same function; a thread knows
# its place from `blockIdx.x` and `threadIdx.x`. Begin with one element at a time, with strides. Where
# the text in this cell is empty, write the body, and delete the line that raises.
#
# <details><summary>Hint 1</summary>
#
# A thread's number is `blockIdx.x * blockDim.x + threadIdx.x`, and there are `gridDim.x * blockDim.x`
# threads. What must a thread do where n is larger than that?
# </details>
# <details><summary>Hint 2</summary>
#
# A loop that begins at the thread's number and goes on by the number of threads is right for any
# grid, with too many threads too.
# </details>
# <details><summary>Hint 3: nearly there</summary>
#
# `for (int i = start; i < n; i += step) z[(long long)i * z_stride] = …`: a number of elements fits into
# an int, a place in memory may not.
# </details>

# %% nbgrader={"grade": false, "grade_id": "cuda", "locked": false, "schema_version": 3, "solution": true, "task": false}
ADD = r"""
extern "C" __global__ void add(const float* x, const float* y, float* z, int n,
                               int x_stride, int y_stride, int z_stride) {
}
"""
### BEGIN SOLUTION
ADD = r"""
__device__ bool is_aligned(const void* pointer) { return (size_t)pointer % sizeof(float4) == 0; }

extern "C" __global__ void add(const float* x, const float* y, float* z, int n,
                               int x_stride, int y_stride, int z_stride) {
  const int start = blockIdx.x * blockDim.x + threadIdx.x;
  const int step = gridDim.x * blockDim.x;
  int done = 0;
  if (is_aligned(x) && is_aligned(y) && is_aligned(z) && x_stride == 1 && y_stride == 1 && z_stride == 1) {
    const float4* x4 = (const float4*)x;
    const float4* y4 = (const float4*)y;
    float4* z4 = (float4*)z;
    for (int i = start; i < n / 4; i += step) {
      float4 a = x4[i], b = y4[i];
      z4[i] = make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
    }
    done = n / 4 * 4;
  }
  for (int i = done + start; i < n; i += step)
    z[(long long)i * z_stride] = x[(long long)i * x_stride] + y[(long long)i * y_stride];
}
"""
### END SOLUTION

# %%
x = torch.arange(10.0)
ran = tried(lambda: run_cuda(ADD, "add", 2, 4, (x, 10 * x, unwritten(10), 10, 1, 1, 1)))
ran and ran.tensors["z"]

# %% [markdown]
# Expected output: 0, 11, 22, … 99. Two blocks of four threads do it. An element that no thread
# writes is nan.

# %% nbgrader={"grade": true, "grade_id": "cuda-any-length", "locked": true, "points": 15, "schema_version": 3, "solution": false, "task": false}
check("cuda-any-length", ADD)

# %% nbgrader={"grade": true, "grade_id": "cuda-views", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("cuda-views", ADD)

# %% nbgrader={"grade": true, "grade_id": "cuda-moves-3n-words", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("cuda-moves-3n-words", ADD)

# %% [markdown]
# ## Step 2: CUDA C, 128 bits at a time
#
# The widest load of one thread has 128 bits: four floats. It takes a quarter of the instructions, and
# keeps more bytes on their way at once. The address must be divisible by 16, or the launch ends with
# an error. So the kernel looks at its pointers, and has two ways. Change `ADD` in the cell above.
#
# <details><summary>Hint 1</summary>
#
# `float4` is a type of CUDA with the parts `x`, `y`, `z` and `w`; `make_float4(…)` makes one. A cast
# makes a pointer to it of one to `float`.
# </details>
# <details><summary>Hint 2</summary>
#
# `(size_t)x % 16 == 0` says whether x is aligned. All three must be, and all strides 1; otherwise the
# loop of step 1 has all the work.
# </details>
# <details><summary>Hint 3: nearly there</summary>
#
# A first loop runs over `n / 4` float4, only where that is allowed. The loop of step 1 follows; it
# begins at `n / 4 * 4` then, and else at 0.
# </details>

# %%
tried(lambda: inspect(compile_cuda(ADD, "add", 90)).beside_source(only="memory"))

# %% [markdown]
# Expected output: your lines, and beside them what sm_90 does for them. `LDG.E.128` loads 128 bits,
# `LDG.E` 32; `STG` stores.

# %% nbgrader={"grade": true, "grade_id": "cuda-moves-128-bits", "locked": true, "points": 15, "schema_version": 3, "solution": false, "task": false}
check("cuda-moves-128-bits", ADD)

# %% [markdown]
# ## Step 3: Triton
#
# A program of Triton has a whole block of elements in its hands, and no threads: which of them gets
# what, and how many bits at a time, the compiler decides. It must know that neighbours in the block are
# neighbours in memory. A launch on a GPU tells it what 16 divides, and compiles a stride of 1 in.
#
# <details><summary>Hint 1</summary>
#
# `tl.program_id(0)` is the program's number, `tl.arange(0, block)` the numbers from 0 to `block` - 1.
# </details>
# <details><summary>Hint 2</summary>
#
# `tl.load(x_ptr + i * x_stride, mask=…)`, with a block of numbers i, loads all of them but those
# whose mask is false. What the others hold is not defined: mask the store, too.
# </details>


# %% nbgrader={"grade": false, "grade_id": "triton", "locked": false, "schema_version": 3, "solution": true, "task": false}
@triton.jit
def add(x_ptr, y_ptr, z_ptr, n, x_stride, y_stride, z_stride, block: tl.constexpr):
    """Adds the elements of this program, of which there are `block`."""
    ### BEGIN SOLUTION
    i = tl.program_id(0) * block + tl.arange(0, block)
    mask = i < n
    x = tl.load(x_ptr + i * x_stride, mask=mask)
    y = tl.load(y_ptr + i * y_stride, mask=mask)
    tl.store(z_ptr + i * z_stride, x + y, mask=mask)
    ### END SOLUTION


# %%
z = unwritten(10)
tried(lambda: add[(3,)](x, 10 * x, z, 10, 1, 1, 1, block=4) if find_spec("triton") else None)
z

# %% [markdown]
# Expected output: the same ten numbers.

# %% nbgrader={"grade": true, "grade_id": "triton-any-length", "locked": true, "points": 15, "schema_version": 3, "solution": false, "task": false}
check("triton-any-length", add)

# %% nbgrader={"grade": true, "grade_id": "triton-views", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("triton-views", add)

# %% nbgrader={"grade": true, "grade_id": "triton-moves-3n-words", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("triton-moves-3n-words", add)


# %%
def widths(aligned: tuple[str, ...], **strides: int) -> Any:
    """Returns how many loads and stores of how many bits the kernel has, with what a launch may promise."""
    types = {**dict.fromkeys(("x_ptr", "y_ptr", "z_ptr"), "*fp32"), "n": "i32"}
    types |= {name: "i32" for name in ("x_stride", "y_stride", "z_stride") if name not in strides}
    return inspect(compile_for(add, types, {**strides, "block": 1024}, 90, aligned=aligned)).widths


ones = {"x_stride": 1, "y_stride": 1, "z_stride": 1}
pointers = ("x_ptr", "y_ptr", "z_ptr")
for promise in (
    lambda: widths(()),
    lambda: widths(pointers, **ones),
    lambda: widths((*pointers, "n"), **ones),
):
    print(tried(promise))

# %% [markdown]
# Expected output: with no promise, and with aligned pointers of stride 1, loads of 32 bits; of 128 once
# 16 divides n as well. A mask that could end within four elements does not let four be loaded at once.

# %% nbgrader={"grade": true, "grade_id": "triton-moves-128-bits", "locked": true, "points": 10, "schema_version": 3, "solution": false, "task": false}
check("triton-moves-128-bits", add)

# %% [markdown]
# ## Step 4: the host
#
# Somebody must allocate z, and say how many programs there are. Take 1024 elements for each.
#
# <details><summary>Hint</summary>
#
# `torch.empty(len(x), dtype=x.dtype, device=x.device)`; `add[(triton.cdiv(n, 1024),)](…)`; a tensor
# says `x.stride(0)`.
# </details>


# %% nbgrader={"grade": false, "grade_id": "host", "locked": false, "schema_version": 3, "solution": true, "task": false}
def vector_add(x: Tensor, y: Tensor) -> Tensor:
    """Returns x + y, a new vector, computed by the kernel where x and y are."""
    ### BEGIN SOLUTION
    n = len(x)
    z = torch.empty(n, dtype=x.dtype, device=x.device)
    add[(triton.cdiv(n, 1024),)](x, y, z, n, x.stride(0), y.stride(0), z.stride(0), block=1024)
    return z
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "host-starts-it", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check("host-starts-it", vector_add)

# %% [markdown]
# ## How fast it can be
#
# One addition for 12 bytes. On every chip, memory is the limit; the table is a model, made of data
# sheets. Where there is a GPU, the cell after it measures.

# %%
N = 1 << 26
Rooflines([Work("add", N, 12 * N)], [CHIPS["A100"], CHIPS["H100 SXM"], CHIPS["H200"]])


# %%
def measured() -> Any:
    """Returns the time on this machine's GPU; raises NotRunError where there is none."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x, y = torch.randn(2, N if device == "cuda" else 1, device=device)
    return do_bench(lambda: vector_add(x, y))


tried(measured)

# %% [markdown]
# ## What you have now
#
# Two kernels that are right for any vector and move 12 bytes for each sum. The rules of the end, of
# views and of alignment come back in every kernel of this course. Where it stops holding: that
# few instructions and wide loads reach the memory's bandwidth is a fact about large vectors. For small
# ones the launch takes longer than the work, and the remedy is to fuse: add where x is
# computed, and do not move it at all.
