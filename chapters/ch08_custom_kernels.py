# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Chapter 8: a kernel of your own
#
# **A kernel of your own pays where bytes are moved for nothing. Whether it is right, what it moves
# and what machine code it became can be known without a GPU; how fast it is, only a GPU tells.**
#
# After this chapter you will be able to
#
# - say what a kernel can gain at most, from counted bytes, before you write it, and when it gains
#   nothing;
# - write a vector add in CUDA C, with its host code, run it on a CPU and have its faults found;
# - write the same in Triton, and use one source in three ways: run and counted, compiled, on a GPU;
# - read PTX and machine code side by side, and make loads wider by promising more;
# - see through a kernel that reports few registers and full occupancy, and is bad all the same;
# - take a benchmark apart: what its clock saw that was not the kernel.
#
# *Time*: ninety minutes to read and try, one to run. *Needs*: a CPU, and Linux for most of it; on a
# GPU the same cells run unchanged, and one of them measures.

# %% tags=["parameters"]
SEED = 0
DEVICE = "auto"  # auto, cpu or cuda
FAST = False  # True: fewer kernels are compiled

# %%
import dataclasses
import os
import subprocess
import sys
import tempfile
from inspect import getsource
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display

from workbook import device, show
from workbook.gpu import chips, cuda_build, cuda_nvcc, cuda_nvrtc, measure, sass, triton_cpu
from workbook.gpu.code import NotRunError
from workbook.gpu.comparison import compare
from workbook.gpu.cuda_cpu import CudaFault, unwritten
from workbook.gpu.cuda_gpu import run_cuda
from workbook.gpu.cuda_nvcc import compile_program, run_program
from workbook.gpu.cuda_nvrtc import compile_cuda
from workbook.gpu.inspection import inspect
from workbook.gpu.roofline import Roofline, Work, duration, roofline
from workbook.gpu.simulated_device import Settings, SimulatedDevice
from workbook.gpu.triton_compile import compile_for
from workbook.skipping import skip_cells_without

torch.manual_seed(SEED)
machine = device.detect()
machine.report()

# %% [markdown]
# The last three lines are the **tiers** of this chapter, and none implies another. *Semantics*:
# the kernel runs and computes the right thing, on any device. *Compiled*: it became real GPU code,
# which can be read. *Measured*: it ran on a GPU. What each of them takes here:


# %%
def missing(check):
    """Why something is not here; empty where it is."""
    try:
        check()
    except NotRunError as error:
        return str(error)
    return ""


def nvcc_with_host():
    """nvcc leaves the host's part of a program to g++."""
    cuda_nvcc.versions()
    cuda_build.versions()


tools = {
    "g++": ("runs CUDA C on the CPU", cuda_build.versions, ["run_cuda"]),
    "NVRTC": ("compiles CUDA C", cuda_nvrtc.versions, ["compile_cuda"]),
    "nvcc": ("compiles CUDA C with host code", nvcc_with_host, ["compile_program"]),
    "Triton": ("runs and compiles Triton", triton_cpu.install, ["triton_cpu", "compile_for"]),
    "nvdisasm": ("reads machine code", lambda: sass.find("nvdisasm"), ["inspect"]),
    "a GPU": ("measures", measure.need_gpu, []),
}
found = {name: missing(check) for name, (_, check, _) in tools.items()}
for name, (*_, used) in tools.items():
    if used and found[name]:
        skip_cells_without(used, found[name])
show.Table(
    ("tool", "what it does", "here"),
    [(name, what, found[name] or "yes") for name, (what, _, _) in tools.items()],
)

# %% [markdown]
# A cell that needs what is missing prints why it is skipped, and so does each cell that builds on
# it. After `triton_cpu.install()`, which was called above, a Triton kernel runs where its tensors
# are: on the CPU too.

# %%
triton_cpu.install()  # to do it again does nothing
import triton
import triton.language as tl

# %% [markdown]
# ## 1. When a kernel pays
#
# *Question: what can a kernel of your own gain, before anybody has written it?*
#
# Run eagerly, PyTorch does `gelu(x * w + b)` in three kernels. Each reads all its elements from the
# GPU's memory and writes all of them back. Here are the three, and one that does it all; `w` and
# `b` are numbers, as in a dequantization.


# %%
@triton.jit
def gelu_of(z):
    return 0.5 * z * (1 + tl.erf(z * 0.7071067811865476))


@triton.jit
def apply(x_ptr, out_ptr, n, w, b, step: tl.constexpr, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    z = tl.load(x_ptr + i, mask=i < n)
    if step == "multiply" or step == "all":
        z = z * w
    if step == "add" or step == "all":
        z = z + b
    if step == "gelu" or step == "all":
        z = gelu_of(z)
    tl.store(out_ptr + i, z, mask=i < n)


# %% [markdown]
# We run them on the CPU and have the loads, the stores and the arithmetic **counted** as they
# happen: nothing in this table is an estimate.

# %%
n, w, b = 1 << 16, 0.5, 1.0
x = torch.randn(n)


def counted(*steps):
    """What some kernels give, one after the other, and what they did for it."""
    values = x
    with triton_cpu.watch() as counts:
        for step in steps:
            out = torch.empty_like(values)
            apply[(triton.cdiv(n, 4096),)](values, out, n, w, b, step=step, block=4096)
            values = out
    return values, counts


unfused, three = counted("multiply", "add", "gelu")
fused, one = counted("all")
wanted = torch.nn.functional.gelu(x * w + b)
torch.testing.assert_close(unfused, wanted)
torch.testing.assert_close(fused, wanted)
show.Table(
    ("", "launches", "words moved for each element", "operations for each element"),
    [
        (name, did.launches, f"{did.bytes / 4 / n:g}", f"{did.all_flops / n:g}")
        for name, did in (("three kernels", three), ("one kernel", one))
    ],
)

# %% [markdown]
# Same arithmetic, fewer bytes. Whether that matters depends on what limits the kernel, and that is
# a division: operations over bytes, the **arithmetic intensity**, against what the chip has of
# both. These are the chips, as their datasheets have them:

# %%
chips.table()

# %% [markdown]
# Put under each chip's roof: where memory feeds arithmetic too slowly the roof slants, and moving
# fewer bytes is all that helps. A matrix product is beside them for comparison.

# %%
elements = 1 << 26  # of a large activation, in float32
scale = elements // n
works = {
    "three kernels": Work("three kernels", three.all_flops * scale, three.bytes * scale),
    "one kernel": Work("one kernel", one.all_flops * scale, one.bytes * scale),
}
side = 8192
gemm = Work(f"GEMM {side}³", 2 * side**3, 3 * 2 * side**2, "bf16")
shown = [chips.chip(name) for name in ("L40S", "H100", "B200")]
roofline([*works.values(), gemm], shown).plot()
plt.show()

# %%
h100 = chips.chip("H100")
roofline([*works.values(), gemm], h100)

# %% [markdown]
# This is a **model**: it takes every byte at the datasheet's bandwidth, and nothing else as costing
# anything. It cannot say how fast a kernel is. It can say what is not worth trying.
#
# ### When it does not pay
#
# *Question: what is the most that a kernel of your own could gain, by the same model?* One thing is
# added: a launch takes some of the host's time. That figure is an assumption, the one that section
# 5's simulated device makes too; on a GPU, measure yours.

# %%
LAUNCH = Settings(run=1.0).launch  # seconds; an assumption


def at_best(*kernels):
    """The shortest time of kernels one after the other, by the model, and what limits it."""
    busy = sum(Roofline(kernel, h100).seconds for kernel in kernels)
    launching = LAUNCH * len(kernels)
    limit = Roofline(kernels[0], h100).bound if busy > launching else "launches"
    return max(busy, launching), limit


def sized(work, size):
    """The same kernel on another number of elements."""
    return Work(work.name, work.flops * size // elements, work.bytes * size // elements)


def leaner(work):
    """The same kernel, if it could do with half the bytes."""
    return Work(work.name, work.flops, work.bytes // 2, work.precision)


few = 1000  # elements
three_steps = [Work(step, elements, 2 * 4 * elements) for step in ("multiply", "add", "gelu")]
one_large, one_small = works["one kernel"], sized(works["one kernel"], few)
gelu_after = Work("gelu", 6 * side**2, 2 * 2 * side**2)
cases = {
    f"{elements / 1e6:.0f} million elements: three kernels made one": (three_steps, [one_large]),
    "a GEMM: half the bytes": ([gemm], [leaner(gemm)]),
    "a GEMM and a gelu after it, made one": ([gemm, gelu_after], [gemm]),
    f"{few} elements: half the bytes": ([one_small], [leaner(one_small)]),
    f"{few} elements: three kernels made one": (
        [sized(one, few) for one in three_steps],
        [one_small],
    ),
}

# %%
gains, compared = {}, []
for case, (now, own) in cases.items():
    (before, limit), (after, _) = at_best(*now), at_best(*own)
    gains[case] = before / after
    compared.append((case, limit, duration(before), duration(after), f"{gains[case]:.2f} ×"))
heads = ("what is changed", "limited by", "before, at best", "after, at best", "gain at most")
display(show.Table(heads, compared))
data = Roofline(one_small, h100).seconds
Markdown(
    f"*On {h100.name}, by the roofline model and {duration(LAUNCH)} for a launch; not a "
    f"measurement.* To move {few} elements takes {duration(data)}, and to launch that takes "
    f"**{LAUNCH / data:,.0f} times as long**."
)

# %% [markdown]
# So a kernel pays where a chain of operations is limited by memory and is not fused yet. It does
# not pay
#
# - where a library has it: a GEMM is limited by arithmetic, so fewer bytes gain nothing, and cuBLAS
#   is near that limit. What comes after it can be taken into it, for a few per cent; libraries do
#   that, too;
# - where launches are the cost: a better kernel gains nothing there. Fewer launches do, by fusing
#   or by CUDA graphs;
# - where `torch.compile` has already fused the chain. Chains of elementwise operations are what it
#   does best: try it first, and look at what it has generated
#   (`TORCH_LOGS=output_code python …`).
#
# Where it stops holding: the counts are what the kernel *asks for*. A cache may deliver some of it,
# and a chain of small tensors may never leave the L2 cache.
#
# ## 2. Vector add in CUDA C
#
# *Question: what is the least that runs on a GPU, and how do you know that it is right?*
#
# One function, executed by as many threads as you ask for. Each finds out who it is, and does one
# element.

# %%
ADD = """
__global__ void add(const float* x, const float* y, float* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = x[i] + y[i];
}
"""
n, block = 1000, 256

# %% [markdown]
# Whoever launches it says how many threads a **block** has and how many blocks there are: enough
# for all elements, so the last block has threads with nothing to do. The `if` is for them.

# %%
grid = -(-n // block)  # rounded up
x, y = torch.randn(n), torch.randn(n)

# %%
ran = run_cuda(ADD, "add", grid, block, (x, y, unwritten(n), n))
assert torch.equal(ran.tensors["out"], x + y)
moved = [(name, traffic.read, traffic.written) for name, traffic in ran.counts.items()]
display(show.Table(("tensor", "bytes read", "bytes written"), moved))
Markdown(f"In all **{ran.bytes / 4 / n:g} words for each element**.")

# %% [markdown]
# That ran on this machine's CPU. g++ has compiled the text as it stands, with one **fiber** for
# each CUDA thread; barriers and shuffles between them are real, pointers count what goes through
# them, and blocks and threads run in an order that a seed draws. `unwritten(n)` is full of NaN, so
# what a kernel forgets to write shows.
#
# ### Four faults that a GPU may keep to itself
#
# On a GPU, each of these may go unnoticed for years: the neighbour's memory is read, the race is
# won most of the time. Here they are found the first time. The second kernel is a sum over a block:

# %%
SUM = """
__global__ void sum(const float* x, float* out, int n) {
  __shared__ float part[256];
  int t = threadIdx.x;
  float own = 0;
  for (int i = t; i < n; i += blockDim.x) own += x[i];
  part[t] = own;
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) part[t] += part[t + half];
  }
  if (t == 0) out[0] = part[0];
}
"""
add_of, sum_of = (x, y, unwritten(n), n), (x, unwritten(1), n)
no_barrier = SUM.replace("    __syncthreads();\n", "")
in_a_branch = no_barrier.replace("if (t < half) part", "if (t < half) __syncthreads(), part")
faulty = {
    "no bounds check": (ADD.replace("if (i < n) ", ""), "add", grid, add_of),
    "a block too few": (ADD, "add", grid - 1, add_of),
    "no barrier": (no_barrier, "sum", 1, sum_of),
    "the barrier in a branch": (in_a_branch, "sum", 1, sum_of),
}


# %%
def fault_of(text, name, blocks, arguments):
    """What the run says of a kernel that does something wrong, and its kind."""
    try:
        out = run_cuda(text, name, blocks, block, arguments).tensors["out"]
    except CudaFault as fault:
        return fault.kind, str(fault)
    left_out = int(out.isnan().sum())
    return ("unwritten", f"{left_out} elements are NaN still") if left_out else ("none", "right")


summed = run_cuda(SUM, "sum", 1, block, sum_of)
torch.testing.assert_close(summed.tensors["out"][0], x.double().sum().float())
faults = {what: fault_of(*how) for what, how in faulty.items()}
show.Table(
    ("what was changed", "kind", "what the run says"),
    [(what, kind, said) for what, (kind, said) in faults.items()],
)

# %% [markdown]
# Where it stops holding: a run finds what happens in *that* run, with those sizes and that order.
# Try awkward sizes (0, 1, one less and one more than a block) and several seeds.
#
# ### The same text, as machine code
#
# NVRTC, NVIDIA's compiler as a library, needs neither a GPU nor a driver. It makes **PTX**, an
# assembly language for no chip in particular, and of that machine code for one architecture.


# %%
def bits_of(seen):
    """How many load instructions move how many bits."""
    return ", ".join(f"{n} of {bits} bits" for bits, n in seen.widths["global loads"].items())


def beside(inspections):
    """What became of a kernel on several architectures."""
    return show.Table(
        ("architecture", "instructions", "registers", "loads", "occupancy"),
        [
            (
                f"sm_{arch} ({seen.limits.name})",
                len(seen.instructions),
                seen.registers,
                bits_of(seen),
                seen.occupancy,
            )
            for arch, seen in inspections.items()
        ],
    )


# %%
cuda_add = {arch: inspect(compile_cuda(ADD, "add", arch), threads=block) for arch in (80, 90, 100)}
beside(cuda_add)

# %% [markdown]
# ### The whole program
#
# A kernel does not run by itself. Somebody allocates memory on the GPU, copies, launches, waits,
# and looks at what each call returned. This is that program, around the same text. `<<<blocks,
# threads>>>` is not C++: nvcc turns it into a call of the CUDA runtime.

# %%
HOST = r"""
#include <cstdio>
#include <cstdlib>
#include <vector>

void check(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::printf("%s\n", cudaGetErrorString(error));
  std::exit(1);
}

int main() {
  const int n = 1000, block = 256, grid = (n + block - 1) / block;
  std::vector<float> x(n), y(n, 1), out(n);
  for (int i = 0; i < n; i++) x[i] = i;
  float *on_gpu[3];
  for (float*& p : on_gpu) check(cudaMalloc(&p, n * sizeof(float)));
  check(cudaMemcpy(on_gpu[0], x.data(), n * sizeof(float), cudaMemcpyHostToDevice));
  check(cudaMemcpy(on_gpu[1], y.data(), n * sizeof(float), cudaMemcpyHostToDevice));
  add<<<grid, block>>>(on_gpu[0], on_gpu[1], on_gpu[2], n);
  check(cudaGetLastError());       // was the launch accepted?
  check(cudaDeviceSynchronize());  // did the kernel run to its end?
  check(cudaMemcpy(out.data(), on_gpu[2], n * sizeof(float), cudaMemcpyDeviceToHost));
  for (float* p : on_gpu) check(cudaFree(p));
  int wrong = 0;
  for (int i = 0; i < n; i++) wrong += out[i] != i + 1;
  std::printf("%d of %d are wrong\n", wrong, n);
  return wrong > 0;
}
"""
program = compile_program(ADD + HOST)
started = missing(lambda: display(Markdown(f"It prints: *{run_program(program)}*")))
Markdown(f"The program has {len(program):,} bytes. {started}")

# %% [markdown]
# It compiles anywhere, has the CUDA runtime in it, and starts. Without a GPU the first call that
# needs one, `cudaMalloc`, fails; that the driver is too old is how the runtime says that there is
# none. The two checks after the launch are the ones that people leave
# out. A launch returns before the kernel has begun, so a fault in it is reported by a *later* call,
# and without them it is nobody's.
#
# ## 3. The same in Triton
#
# *Question: what does Triton take off your hands?*
#
# A Triton **program** does a block of elements at a time; which thread does which is the compiler's
# business. There are no barriers to forget.


# %%
@triton.jit
def add(x_ptr, y_ptr, out_ptr, n, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    inside = i < n
    x = tl.load(x_ptr + i, mask=inside)
    y = tl.load(y_ptr + i, mask=inside)
    tl.store(out_ptr + i, x + y, mask=inside)


# %% [markdown]
# **First way: run it on the CPU**, and count. The programs run in an order that is drawn, since a
# GPU promises none, and `poison=True` fills what is empty with NaN.

# %%
x, y = torch.randn(n), torch.randn(n)
with triton_cpu.watch(shuffle=SEED, poison=True) as add_counts:
    out = torch.empty(n)
    add[(triton.cdiv(n, block),)](x, y, out, n, block=block)
assert torch.equal(out, x + y)
read, written = add_counts.loaded, add_counts.stored
counted_bytes = [(name, read[name], written[name]) for name in ("x_ptr", "y_ptr", "out_ptr")]
display(show.Table(("tensor", "bytes read", "bytes written"), counted_bytes))
words = add_counts.bytes / 4 / n
Markdown(f"In all **{words:g} words for each element**, by {add_counts.programs} programs.")

# %% [markdown]
# Two inputs and one output: a vector add cannot move less. The kernel in CUDA C moved the same.
#
# Its faults are found too. Forget a mask, and the run names the element, the program and the line:


# %%
@triton.jit
def unmasked(x_ptr, y_ptr, out_ptr, n, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    x = tl.load(x_ptr + i)
    y = tl.load(y_ptr + i)
    tl.store(out_ptr + i, x + y, mask=i < n)


out_of_bounds = ""
try:
    unmasked[(triton.cdiv(n, block),)](x, y, torch.empty(n), n, block=block)
except triton_cpu.OutOfBounds as outside:
    out_of_bounds = str(outside)
print(out_of_bounds)

# %% [markdown]
# **Second way: compile it**, for chips that are not here. The signature says what a launch would
# find in its arguments: types, and which addresses and numbers 16 divides.

# %%
signature = {"x_ptr": "*fp32", "y_ptr": "*fp32", "out_ptr": "*fp32", "n": "i32"}
everything = list(signature)
triton_add = {
    arch: inspect(compile_for(add, signature, {"block": 1024}, arch, aligned=everything))
    for arch in ((90,) if FAST else (80, 90, 100))
}
beside(triton_add)

# %% [markdown]
# A program of Triton's does several elements a thread, hence more instructions. All that is known
# of one of them, and what it means:

# %%
triton_add[90].facts()

# %% [markdown]
# **Third way: run it on a GPU.** The same call with CUDA tensors takes Triton's own path, which
# nothing here has touched.


# %%
def on_gpu(size):
    """Runs the kernel on the GPU; returns its inputs and what it has written."""
    measure.need_gpu()
    if DEVICE == "cpu":
        raise NotRunError('not run: DEVICE is "cpu"')
    x, y, out = (torch.randn(size, device="cuda") for _ in range(3))
    add[(triton.cdiv(size, 1024),)](x, y, out, size, block=1024)
    return x, y, out


def same_on_gpu():
    """Whether the GPU computes what PyTorch does."""
    x, y, out = on_gpu(100_001)
    assert torch.equal(out, x + y)


Markdown(missing(same_on_gpu) or f"Right on {machine.gpus[0].name}.")

# %% [markdown]
# ### Whom to believe on a CPU
#
# Triton brings an interpreter of its own (`TRITON_INTERPRET=1`). This workbook's runs are made from
# it, corrected where it computes something else than a GPU. *Negative control*: the kernel above in
# bfloat16, by both.

# %%
CASE = """
x, y = (torch.tensor(v, dtype=torch.bfloat16) for v in ([1, 2, 3, 0.5], [1, 1, -1, 0.25]))
out = torch.zeros_like(x)
add[(1,)](x, y, out, 4, block=4)
print(out.tolist())
"""
header = "import torch\nimport triton\nimport triton.language as tl\n\n\n"
with tempfile.TemporaryDirectory() as folder:
    script = Path(folder, "case.py")  # Triton reads a kernel's source from its file
    script.write_text(header + getsource(add.fn) + CASE)
    interpreted = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()

x, y = (torch.tensor(v, dtype=torch.bfloat16) for v in ([1, 2, 3, 0.5], [1, 1, -1, 0.25]))
out = torch.zeros_like(x)
add[(1,)](x, y, out, 4, block=4)
bfloat16 = {"right": str((x + y).tolist()), "here": str(out.tolist()), "Triton's": interpreted}
show.Table(("bfloat16", "x + y"), list(bfloat16.items()))

# %% [markdown]
# Triton's interpreter takes the bits of a bfloat16 for a whole number, and adds those. It says
# nothing, and with float32 all is well: a test in float32 would not have noticed.
#
# > **What the source gets wrong.** *Claim*: a kernel is a Python function with `@jit` in front that
# > takes tensors and returns their sum. *Measurement*: the next cell. *Correction*: what is under
# > `@triton.jit` becomes code for the GPU. It sees addresses and numbers, and returns nothing. An
# > ordinary function around it allocates the output, computes the grid, and launches.


# %%
@triton.jit
def as_printed(x, y):
    return x + y


printed_says = ""
try:
    as_printed(torch.ones(4), torch.ones(4))
except RuntimeError as error:
    printed_says = str(error)
print("As printed:", printed_says)


def vector_add(x, y):
    """The host's side: an output, a grid, a launch."""
    out = torch.empty_like(x)
    add[(triton.cdiv(x.numel(), 1024),)](x, y, out, x.numel(), block=1024)
    return out


print("With a host function:", vector_add(torch.ones(4), torch.ones(4)).tolist())

# %% [markdown]
# Where it stops holding: `vector_add` still believes that `y` has as many elements as `x`, and that
# both lie in one piece. [Exercise 8.1](../exercises/ch08_ex1_vector_add/ch08_ex1_vector_add.ipynb)
# takes neither for granted.
#
# ## 4. PTX and machine code, read together
#
# *Question: what became of `tl.load`?*
#
# First the source beside the machine code (**SASS**), as `nvdisasm` reads it out of the cubin. This
# time we promise the compiler nothing about our arguments.

# %%
plain = inspect(compile_for(add, signature, {"block": 1024}, 90))
plain.beside_source(only="memory")

# %% [markdown]
# `LDG` loads from global memory, `STG` stores there. `@!P0` in front is the mask: the instruction
# is executed only by threads for which the predicate does not hold. A block of 1024 elements and
# 128 threads is eight elements a thread, and each is loaded by itself.
#
# Now the same source again. But this time we promise that 16 divides the addresses and `n`.

# %%
wide = triton_add[90]
wide.beside_source(only="memory")

# %% [markdown]
# `LDG.E.128`: four elements at once. In between lies PTX, and it has decided this already: `v4.b32`
# is four words in one instruction. PTX has as many registers as it likes; which real ones they
# become, and in which order the instructions stand, is up to `ptxas`.

# %%
wide.beside_ptx(only="memory")

# %%
compare(plain, wide, ("nothing promised", "16 divides everything"))

# %% [markdown]
# ### What has to be promised
#
# *Question: is it enough that the addresses are aligned?* The kernel stays the same, only the
# promises change. A second kernel, with a stride between its elements, is the *negative control*:
# for it, too, we promise all there is.


# %%
@triton.jit
def strided_add(x_ptr, y_ptr, out_ptr, n, stride, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    x = tl.load(x_ptr + i * stride, mask=i < n)
    y = tl.load(y_ptr + i * stride, mask=i < n)
    tl.store(out_ptr + i, x + y, mask=i < n)


def strided(**constants):
    """The strided kernel, with every promise that can be made."""
    types = {**signature, "stride": "i32"}
    rest = {name: kind for name, kind in types.items() if name not in constants}
    made = compile_for(strided_add, rest, {"block": 1024, **constants}, 90, aligned=list(rest))
    return inspect(made)


def promised(*names):
    """The same kernel, with a promise on these parameters."""
    return inspect(compile_for(add, signature, {"block": 1024}, 90, aligned=names))


promises = {
    "nothing": plain,
    "the addresses": promised("x_ptr", "y_ptr", "out_ptr"),
    "n": promised("n"),
    "all but the address of y": promised("x_ptr", "out_ptr", "n"),
    "the addresses and n": wide,
    "control: a stride, 16 divides it": strided(),
    "control: the stride is 1, and known": strided(stride=1),
}

# %%
loads = {name: seen.widths["global loads"] for name, seen in promises.items()}
figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
colours = {32: "#d97706", 64: "#a3a3a3", 128: "#3b82f6"}
drawn = [bits for bits in colours if any(bits in counts for counts in loads.values())]
left = [0] * len(loads)
for bits in drawn:
    width = [counts.get(bits, 0) for counts in loads.values()]
    bars = axes.barh(list(loads), width, left=left, color=colours[bits])
    labels = [f"{number} × {bits}" if number else "" for number in width]
    axes.bar_label(bars, labels, label_type="center", color="white", fontsize=9)
    left = [before + number for before, number in zip(left, width, strict=True)]
axes.invert_yaxis()
axes.axhline(len(loads) - 2.5, color="grey", linewidth=0.8)
axes.set_xlabel("load instructions of each thread, for the same elements (machine code of sm_90)")
axes.set_title("What was promised, and how many loads of how many bits that gave")
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# **The signature result of this chapter**: the same source, and by promises alone its loads become
# as wide as the chip has them. The promise that people forget is `n`. The mask is `i < n`: unless
# the compiler knows that four neighbours are inside or outside *together*, it cannot load them at
# once, however well the addresses lie. *Negative control*: with a stride in between, neighbours of
# a thread are not neighbours in memory, and no promise of 16 helps. Only when the stride is known
# to be 1 do the loads widen again.
#
# On a launch, Triton looks by itself: what 16 divides is compiled as such, what is 1 becomes a
# constant, and you get another kernel for each combination. So a tensor that begins one element
# later (`x[1:]`), or a length of 1001, takes the narrow code.
#
# **What a false promise does.** Triton asks before it believes. CUDA C does what you say: here is
# the add with `float4`, on tensors that begin one element later.

# %%
ADD4 = """
__global__ void add4(const float* x, const float* y, float* out, int n) {
  int i = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
  if (i + 3 < n) {
    float4 a = *(const float4*)(x + i), b = *(const float4*)(y + i);
    *(float4*)(out + i) = make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
  } else {
    for (; i < n; i++) out[i] = x[i] + y[i];
  }
}
"""
first, second = torch.randn(n), torch.randn(n)
four = run_cuda(ADD4, "add4", 1, block, (first, second, unwritten(n), n))
assert torch.equal(four.tensors["out"], first + second)
later = (first[1:], second[1:], unwritten(n - 1), n - 1)
false_promise = fault_of(ADD4, "add4", 1, later)
show.Table(
    ("tensors", "loads of x, by their bytes", "what the run says"),
    [("aligned", four.counts["x"].loads, "right"), ("one element later", "", false_promise[1])],
)

# %% [markdown]
# On a GPU that is `misaligned address`, and the end of the whole CUDA context.
#
# Where it stops holding: wide loads are fewer *instructions*, not fewer bytes. The kernel is
# limited by memory either way, and whether it gets faster is a measurement.
#
# ### When registers run out
#
# *Question: how large may a tile be?* A softmax over one row holds the whole row in registers. We
# make the row longer, and look at three figures that are often quoted.


# %%
@triton.jit
def softmax(x_ptr, out_ptr, columns, block: tl.constexpr):
    i = tl.arange(0, block)
    row = tl.program_id(0) * columns
    x = tl.load(x_ptr + row + i, mask=i < columns, other=float("-inf"))
    e = tl.exp(x - tl.max(x, 0))
    tl.store(out_ptr + row + i, e / tl.sum(e, 0), mask=i < columns)


rows_of = {"x_ptr": "*fp32", "out_ptr": "*fp32", "columns": "i32"}
sizes = (8192, 16384, 32768)
tiles = [
    inspect(compile_for(softmax, rows_of, {"block": size}, 90, aligned=list(rows_of)))
    for size in sizes
]
spilled = [float(seen.spills.stores + seen.spills.loads) for seen in tiles]
registers = [float(seen.registers) for seen in tiles]
fits = [seen.occupancy for seen in tiles if seen.occupancy]
filled = [100 * fit.fraction for fit in fits]

# %%
two_rows = torch.randn(2, 5000)
shares_of = torch.empty_like(two_rows)
softmax[(2,)](two_rows, shares_of, 5000, block=8192)
torch.testing.assert_close(shares_of, torch.softmax(two_rows, 1))

figure, panels = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
names = ("registers reported", "occupancy, %", "spills, instructions")
for panel, name, values in zip(panels, names, (registers, filled, spilled), strict=True):
    bars = panel.bar([str(size // 128) for size in sizes], values, color="#3b82f6")
    bars[-1].set_color("#dc2626")
    panel.bar_label(bars, [f"{value:,.0f}" for value in values], fontsize=9)
    panel.set_title(name, fontsize=10)
    panel.set_xlabel("elements a thread")
    panel.margins(y=0.15)
    panel.spines[["top", "right"]].set_visible(False)
figure.suptitle("A softmax whose row outgrows the registers (sm_90, 4 warps)", fontsize=11)
plt.show()

# %%
display(tiles[-1])
Markdown(
    f"The last one reports {registers[-1]:.0f} registers where the one before it took "
    f"{registers[-2]:.0f}, and {filled[-1]:.0f} % occupancy where that had {filled[-2]:.0f} %, "
    f"limited by {' and '.join(fits[-2].limiters)}. By both figures it is the best. "
    f"It is the worst: **{spilled[-1]:,.0f} instructions** do nothing but carry registers to "
    "memory and back."
)

# %% [markdown]
# When a thread needs more registers than there are, the compiler **spills**: values go to local
# memory, which is memory, behind caches. So look at spills first, then at registers, and at
# occupancy last: it says how many warps can wait at the same time, not how fast they are.
#
# Where it stops holding: counts are of instructions in the code, not of how often they are
# executed. A few spills outside of a loop may not matter; whether they do is a measurement.
#
# ## 5. A benchmark, taken apart
#
# *Question: how can a benchmark be wrong by a factor, with nothing in its output that says so?*
#
# This is the benchmark that the handbook prints, in our words: read the clock, call the kernel a
# hundred times, wait for the GPU, read the clock, divide. It runs here on a **simulated device**.
# There, launches return at once and are worked off one after the other, as on a GPU; and the true
# time of a run is known, since it is a setting.


# %%
def as_the_source_does(simulated, runs=100):
    """The printed benchmark, in our words: what it finds, and what its clock read."""
    start = simulated.clock()
    for _ in range(runs):
        simulated.run()
    simulated.synchronize()
    stop = simulated.clock()
    return (stop - start) / runs, start, stop


calm = Settings(run=1e-3)
on_a_calm_one = as_the_source_does(SimulatedDevice(calm))[0]
Markdown(
    f"A device on which nothing misleads: found {duration(on_a_calm_one)}, "
    f"true {duration(calm.run)}."
)

# %% [markdown]
# So far so good. Now a device like yours: others have left it work to do, the first call compiles,
# the first runs are slow, somebody else interrupts now and then, what a run has read is still in
# the cache for the next, and the clock is higher while the chip is cool. Above, ten runs on such a
# device, and what the host's clock took for them. Below, a hundred, and the share of each mistake:
# we switch the causes off, one after the other. (They overlap, so in another order the shares would
# be somewhat different.)

# %%
misleading = Settings(
    run=1e-3,
    pending=0.1,
    compiling=0.05,
    first_runs=(12, 8, 5, 3, 2),
    interrupted=0.08,
    cached=0.5,
    boost=0.3,
)
causes: dict[str, dict[str, Any]] = {
    "work from before\n(no synchronize at the start)": {"pending": 0.0},
    "the first call compiles\n(no warm-up)": {"compiling": 0.0},
    "slow first runs\n(no warm-up)": {"first_runs": ()},
    "interrupted runs\n(mean, not median)": {"interrupted": 0.0},
    "a warm cache\n(no flush)": {"cached": 1.0},
    "a clock not yet steady\n(no warm-up)": {"boost": 0.0},
}
settings = misleading
steps = [as_the_source_does(SimulatedDevice(settings, SEED))[0]]
for switched_off in causes.values():
    settings = dataclasses.replace(settings, **switched_off)
    steps.append(as_the_source_does(SimulatedDevice(settings, SEED))[0])
shares = dict(zip(causes, (a - b for a, b in pairwise(steps)), strict=True))


# %%
def draw_clock(axes):
    """Ten runs as the device does them, and what the host's clock takes for them."""
    less = dataclasses.replace(misleading, pending=4e-3, compiling=2e-3, first_runs=(4, 2))
    ten = SimulatedDevice(less, SEED)
    seen, start, stop = as_the_source_does(ten, runs=10)
    ten.plot(axes=axes)
    began, true = ten.launches[0].launched, ten.settings.run
    axes.axvspan((start - began) * 1e6, (stop - began) * 1e6, color="#fde68a", zorder=0)
    axes.text((start - began) * 1e6, 1.55, " what the host's clock saw", va="top", fontsize=9)
    axes.text(ten.settings.compiling * 0.5e6, 1, "compiles", ha="center", va="center", fontsize=9)
    axes.set_title(f"Ten runs: found {1e3 * seen:.2f} ms, true {1e3 * true:.2f} ms", fontsize=10)
    axes.legend(loc="upper right", ncols=2, frameon=False)


def draw_shares(axes):
    """From what the benchmark finds to the true time, a cause at a time."""
    changes = list(shares.values())
    lows = [0, *(1e3 * min(a, b) for a, b in pairwise(steps)), 0]
    lengths = [1e3 * abs(value) for value in (steps[0], *changes, misleading.run)]
    paint = ["#52525b", *("#dc2626" if each > 0 else "#3b82f6" for each in changes), "#16a34a"]
    names = ["what the source finds", *shares, "true time of a run"]
    stages = axes.barh(names, lengths, left=lows, color=paint)
    signed = [f"{1e3 * each:+.2f}".replace("-", "−") for each in changes]
    texts = [f"{lengths[0]:.2f}", *signed, f"{lengths[-1]:.2f}"]
    for text in axes.bar_label(stages, texts, padding=4, fontsize=9):
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.axvline(lengths[-1], color="#16a34a", linestyle=":", zorder=0)
    axes.set_title("A hundred runs: the share of each mistake", fontsize=10)
    axes.set_xlabel("ms for one run (simulated)")


# %%
drawing, (above, below) = plt.subplots(
    2, 1, figsize=(9, 6), height_ratios=(1, 2), layout="constrained"
)
draw_clock(above)
draw_shares(below)
for drawn_on in (above, below):
    drawn_on.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
off = steps[0] / misleading.run
longer = 1e3 * sum(share for share in shares.values() if share > 0)
shorter = 1e3 * sum(share for share in shares.values() if share < 0)
Markdown(
    f"The printed benchmark finds **{off:.2f} times** the true time. Mistakes that make it longer "
    f"(red) add up to {longer:.2f} ms, those that make it shorter (blue) to {-shorter:.2f} ms. "
    "They hide each other, and which of them win depends on the day."
)

# %% [markdown]
# > **What the source gets wrong.** *Claim*: this benchmark says how long the kernel runs.
# > *Measurement*: the figure. The clock is started while the device still works for others; there
# > is no warm-up; the cache is warm; and an average takes interruptions in. *Correction*: wait
# > before the clock is started, let runs pass that do not count, flush the cache, let the device
# > itself note the time before and after each run, and take the middle of many.
#
# ### An honest one
#
# `triton.testing.do_bench` does most of that, and so does `measure.do_bench`, which is spelled out
# in `workbook/gpu/measure.py`. It asks a GPU for events; the simulated device has such, too.


# %%
class Mark:
    """An event, as torch.cuda.Event is: noted by the device when its turn comes."""

    def __init__(self, simulated):
        self.simulated, self.number = simulated, -1

    def record(self):
        self.number = self.simulated.record()

    def elapsed_time(self, end):
        return 1e3 * self.simulated.seconds_between(self.number, end.number)


class AsGpu:
    """A simulated device, asked as `do_bench` asks a GPU."""

    name = "a simulated device"

    def __init__(self, simulated):
        self.simulated = simulated
        self.flush, self.synchronize = simulated.flush_cache, simulated.synchronize

    def event(self):
        return Mark(self.simulated)

    def clock(self):
        return None


# %%
worlds = {
    "calm": calm,
    "busy before": Settings(run=1e-3, pending=0.1),
    "compiles, first runs slow": Settings(run=1e-3, compiling=0.4, first_runs=(12, 8, 5, 3, 2)),
    "interrupted": Settings(run=1e-3, interrupted=0.08),
    "a warm cache": Settings(run=1e-3, cached=0.5),
    "all of them": misleading,
    "a clock that settles slowly": Settings(run=1e-3, boost=0.3, settling=0.1),
    "runs of 2.5 ticks": Settings(run=2.5e-6),
}
errors = {}
for world, settings in worlds.items():
    printed = as_the_source_does(SimulatedDevice(settings, SEED))[0]
    simulated = SimulatedDevice(settings, SEED)
    honest = measure.do_bench(simulated.run, device=AsGpu(simulated)).median
    errors[world] = (printed / settings.run - 1, honest / settings.run - 1)
show.Table(
    ("device", "error of the source's", "error of do_bench"),
    [(world, f"{source:+.1%}", f"{own:+.1%}") for world, (source, own) in errors.items()],
)

# %% [markdown]
# In the last two rows `do_bench` is wrong as well. It warms up for a fixed time, and a clock may
# take longer; and a median of whole ticks is a whole tick. You can do better: [exercise
# 8.5](../exercises/ch08_ex5_honest_benchmark/ch08_ex5_honest_benchmark.ipynb) asks for a benchmark
# that is within 5 % on devices like these.
#
# ### What a GPU adds
#
# The kernel of section 3, measured: the one thing that nothing above can stand in for.


# %%
def time_on_gpu():
    """Measures the kernel on the GPU, and says what bandwidth it reached."""
    size = 1 << 26
    x, y, out = on_gpu(size)
    grid = (triton.cdiv(size, 1024),)
    timing = measure.do_bench(lambda: add[grid](x, y, out, size, block=1024))
    display(timing)
    moved = add_counts.bytes / n * size
    display(Markdown(f"That is {moved / timing.median / 1e12:.2f} TB/s."))


Markdown(missing(time_on_gpu))

# %% [markdown]
# ## Try it yourself
#
# Between 32 and 128 bits there is more. This kernel is told that its length is a multiple of
# `unit`. What do `unit=1`, 4 and 8 give? And with `"*bf16"` for `"*fp32"`: how much must be
# promised there until the loads are as wide as they get?


# %%
@triton.jit
def add_units(x_ptr, y_ptr, out_ptr, groups, unit: tl.constexpr, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    inside = i < groups * unit
    x = tl.load(x_ptr + i, mask=inside)
    y = tl.load(y_ptr + i, mask=inside)
    tl.store(out_ptr + i, x + y, mask=inside)


pointers = dict.fromkeys(("x_ptr", "y_ptr", "out_ptr"), "*fp32")
constants = {"unit": 2, "block": 1024}
tried = compile_for(add_units, {**pointers, "groups": "i32"}, constants, 90, aligned=pointers)
tried_widths = inspect(tried).widths["global loads"]
tried_widths

# %% [markdown]
# The faults: change `ADD` or `SUM` and let `fault_of` judge. What does it say to a second barrier,
# to `half > 1`, to a `part` of 128 elements?

# %%
fault_of(SUM, "sum", 1, (torch.randn(10), unwritten(1), 10))

# %% [markdown]
# ## Summary, checked
#
# Each line is a claim of this chapter, held against what this run counted, compiled or simulated.


# %%
def check(claims):
    """Prints each claim with whether it held."""
    for claim, held in claims.items():
        print("✓" if held else "✗", claim)
    assert all(claims.values())


# %%
found_faults = {what: kind for what, (kind, _) in faults.items()}
check(
    {
        "CUDA C, on the CPU: a vector add moves three words for each element.": ran.bytes == 12 * n,
        "A missing bounds check is found.": found_faults["no bounds check"] == "bounds",
        "A missing barrier is found as a race.": found_faults["no barrier"] == "race",
        "A barrier that only some threads reach is found.": found_faults["the barrier in a branch"]
        == "divergent",
        "A false promise of alignment is found.": false_promise[0] == "alignment",
    }
)

# %%
fused_large, lean_gemm, _, lean_small, fused_small = gains.values()
check(
    {
        "Fused, the same operations move a third of the bytes.": 3 * one.bytes == three.bytes
        and one.all_flops == three.all_flops,
        "By the model that is a gain of three at most.": abs(fused_large - 3) < 0.01,
        "Fewer bytes gain nothing where arithmetic or launches are the limit.": lean_gemm
        == lean_small
        == 1,
        "Fewer launches do.": fused_small > 1,
        "Triton's add moves three words for each element, too.": words == 3,
        "A forgotten mask is found, with its line.": "x = tl.load(x_ptr + i)" in out_of_bounds,
        "bfloat16 is right here, and wrong in Triton's interpreter.": bfloat16["here"]
        == bfloat16["right"]
        != bfloat16["Triton's"],
        "@jit on a host function does not run.": printed_says != "",
    }
)

# %%
narrow, wide_only = {32: 16}, {128: 4}
check(
    {
        "Nothing promised: each element is loaded by itself.": loads["nothing"] == narrow,
        "Aligned addresses alone change nothing.": loads["the addresses"] == narrow,
        "With n they give four elements a load.": loads["the addresses and n"] == wide_only,
        "Through a stride no promise of 16 helps.": loads["control: a stride, 16 divides it"]
        == narrow,
        "The tile that spills reports the fewest registers.": spilled[-1] > 1000
        and registers[-1] == min(registers),
        "And the highest occupancy.": filled[-1] == max(filled),
    }
)

# %%
check(
    {
        "The source's benchmark is right on a calm device.": abs(errors["calm"][0]) < 0.01,
        "It is off by more than half on one that misleads.": off > 1.5,
        "Its mistakes have both signs.": min(shares.values()) < 0 < max(shares.values()),
        "do_bench is within 5 % where all of them come together.": abs(errors["all of them"][1])
        < 0.05,
        "But not where the clock settles slowly.": abs(errors["a clock that settles slowly"][1])
        > 0.05,
    }
)

# %% [markdown]
# ## Exercises
#
# - [8.1: vector add](../exercises/ch08_ex1_vector_add/ch08_ex1_vector_add.ipynb), in CUDA C and in
#   Triton: any length, any offset and stride, and not a word too many.
# - [8.5: an honest
#   benchmark](../exercises/ch08_ex5_honest_benchmark/ch08_ex5_honest_benchmark.ipynb), against
#   devices that do their best to mislead it.
#
# How a kernel gets a gradient, and why the source's `backward` is right only for an add without
# broadcasting, is left for the part on autograd.
