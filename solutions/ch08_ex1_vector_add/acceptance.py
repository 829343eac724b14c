"""Acceptance criteria of exercise 8.1: vector addition."""

import functools
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from autograder.acceptance import NotRun, Proxy, Work, criterion, expect
from autograder.cuda_kernels import CudaKernel
from autograder.kernels import Kernel
from workbook.gpu.code import GpuCode, NotRunError
from workbook.gpu.cuda_cpu import unwritten
from workbook.gpu.inspection import inspect

PRELOAD = (
    "torch",
    "triton",
    "workbook.gpu.inspection",
    "workbook.gpu.roofline",
    "workbook.gpu.triton_cpu",
)

Layout = tuple[int, int]  # where a vector begins in its memory, and its stride, in elements

PLAIN: Layout = (0, 1)
ALIGNED = 4  # every so many elements of float32 there is an address that 16 divides
ARCHITECTURES = (80, 90)  # whose machine code is read; for the next one it must compile
NEXT_ARCHITECTURE = 100
WIDE = 0.9  # of the bytes must go in accesses of 128 bits


@criterion(
    hint=(
        "Work one launch out by hand: which elements does the last thread of the last block get?",
        "Threads may be too many, then some have nothing to do, or too few, then each has several elements.",
        "`for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)`",
    )
)
def cuda_any_length(work: Work, rng: random.Random) -> None:
    """The CUDA kernel adds vectors of any length, 0 too, for any grid and block, in any order of blocks."""
    kernel = work.cuda("ADD", "add")
    block = rng.choice([32, 64, 96])
    launches = [
        *((n, 1, block) for n in (0, 1, rng.randint(2, 3), rng.randint(5, 7))),
        (2 * block, 2, block),
        (2 * block - rng.randint(1, 3), 2, block),
        (
            rng.randint(5, 9) * block + rng.randint(1, 3),
            rng.randint(1, 4),
            block,
        ),  # more elements than threads
        (rng.randint(20, 40), 3, rng.randint(1, 9)),
        (rng.randint(9, 30), 4, 4 * block),
        # By chance the first block begins in one order of four, and a kernel that waits for it is right.
        *[(4 * block, 4, block)] * 6,
    ]
    for n, grid, block in launches:
        cuda_adds(kernel, rng, n, [PLAIN] * 3, grid, block)


@criterion(
    hint=(
        "Two facts about each pointer decide whether 16 bytes may be moved at once. Which?",
        "An address that 16 does not divide takes no `float4`, and neighbours in memory are neighbours in the vector "
        "only where the stride is 1. This must hold for x, y and z alike.",
        "`(size_t)x % 16 == 0 && x_stride == 1 && …` for all three; otherwise element by element, with strides.",
    )
)
def cuda_views(work: Work, rng: random.Random) -> None:
    """Vectors may begin anywhere in their memory and have strides; what lies between is not touched."""
    kernel = work.cuda("ADD", "add")
    for layouts in views(rng):
        cuda_adds(kernel, rng, rng.randint(9, 150), layouts, rng.randint(1, 4), 32)


@criterion(
    hint=(
        "How often does your kernel touch each element of x, of y and of z?",
        "Load each number once into a variable, add in variables, store once. Only one thread has each element, also "
        "those at the end.",
    )
)
def cuda_moves_3n_words(work: Work, rng: random.Random) -> None:
    """N numbers of x and of y are read, N of z are written, once each and nothing else: 12 N bytes."""
    kernel = work.cuda("ADD", "add")
    for layouts in ([PLAIN] * 3, [(4, 1), (8, 1), PLAIN], some_views(rng)):
        n = 4 * rng.randint(30, 90) + rng.randint(1, 3)
        counts = cuda_adds(kernel, rng, n, layouts, rng.randint(2, 4), 32).counts
        for name, (read, written) in {"x": (4 * n, 0), "y": (4 * n, 0), "z": (0, 4 * n)}.items():
            moved(
                name,
                n,
                counts[name].read,
                read,
                counts[name].written + counts[name].atomic,
                written,
            )


@criterion(
    hint=(
        "A thread moves as many bits at once as the type has that it loads. Which type of CUDA has 128?",
        "Read x and y as `float4`, and store a `float4`: a cast of the pointers, and n / 4 of them.",
        "`const float4* x4 = (const float4*)x;` The loop runs over n / 4 of these; the last n % 4 elements are left to "
        "an ordinary loop.",
    )
)
def cuda_moves_128_bits(work: Work, rng: random.Random) -> None:
    """Aligned vectors are moved by loads and stores of 128 bits: when it runs, and in code for sm_80 and sm_90."""
    kernel = work.cuda("ADD", "add")
    n = rng.randint(300, 900)
    counts = cuda_adds(kernel, rng, n, [(4, 1), (8, 1), PLAIN], rng.randint(2, 4), 32).counts
    for name, accesses in (
        ("x", counts["x"].loads),
        ("y", counts["y"].loads),
        ("z", counts["z"].stores),
    ):
        share = 16 * accesses.get(16, 0) / (4 * n)
        expect(
            share >= WIDE,
            f"{share:.0%} of the bytes of {name} are moved 128 bits at a time, of {n} aligned elements; "
            f"expected {WIDE:.0%} or more",
        )
    for arch in ARCHITECTURES:
        widths = looked_at(kernel.compile(arch))
        loads, stores = (
            widths.get(kind, {}).get(128, 0) for kind in ("global loads", "global stores")
        )
        expect(
            loads >= 2 and stores >= 1,
            f"for sm_{arch} there are {loads} loads and {stores} stores of 128 bits in it",
        )
    kernel.compile(NEXT_ARCHITECTURE)


@criterion(
    hint=(
        "Which elements does the last program have, where `block` does not divide n? And a program more than needed?",
        "Both loads and the store take the mask `i < n`; their places come of `block`, whatever that is.",
    )
)
def triton_any_length(work: Work, rng: random.Random) -> None:
    """The Triton kernel adds vectors of any length and of float32, float16 or bfloat16, for any `block`."""
    kernel = work.kernel("add")
    small, large = rng.choice([16, 32, 64]), rng.choice([512, 1024])
    for n, block, more, dtype in (
        (0, small, 1, torch.float32),
        (1, small, 0, torch.float32),
        (small - rng.randint(1, 3), small, 0, torch.float32),
        (3 * small, small, rng.randint(1, 2), torch.float32),
        (2 * large + rng.randint(1, 9), large, 0, torch.float32),
        (rng.randint(2, 6) * small + rng.randint(1, 9), small, rng.randint(0, 2), torch.bfloat16),
        (rng.randint(1, 3) * large + rng.randint(1, 9), large, 0, torch.float16),
    ):
        triton_adds(kernel, rng, n, [PLAIN] * 3, block, dtype, more)


@criterion(
    hint=(
        "Element i of x does not lie i elements after the first, where x has a stride.",
        "`x_ptr + i * x_stride`, and likewise for y and z, each with its own.",
    )
)
def triton_views(work: Work, rng: random.Random) -> None:
    """Vectors may begin anywhere in their memory and have strides; what lies between is not touched."""
    kernel = work.kernel("add")
    for layouts in views(rng):
        triton_adds(kernel, rng, rng.randint(9, 150), layouts, 64, torch.float32)
    triton_adds(kernel, rng, rng.randint(9, 150), some_views(rng), 64, torch.bfloat16)


@criterion(
    hint=(
        "How often does your kernel touch each element of x, of y and of z?",
        "Two `tl.load`, one `tl.store`, each with the mask, and no element in two programs.",
    )
)
def triton_moves_3n_words(work: Work, rng: random.Random) -> None:
    """N numbers of x and of y are read, N of z are written, once each and nothing else."""
    kernel = work.kernel("add")
    for layouts, dtype in (
        ([PLAIN] * 3, torch.float32),
        (some_views(rng), torch.float32),
        ([PLAIN] * 3, torch.bfloat16),
    ):
        n = 64 * rng.randint(2, 6) + rng.randint(1, 63)
        counts = triton_adds(kernel, rng, n, layouts, 64, dtype).counts
        size = n * dtype.itemsize
        for name, (read, written) in {"x": (size, 0), "y": (size, 0), "z": (0, size)}.items():
            pointer = f"{name}_ptr"
            stored = counts.stored[pointer] + counts.updated[pointer]
            moved(name, n, counts.loaded[pointer], read, stored, written)


@criterion(
    hint=(
        "Which elements does one thread get? Triton gives it neighbours in your block: are they neighbours in memory?",
        "`tl.program_id(0) * block + tl.arange(0, block)`: a program's elements lie side by side.",
    )
)
def triton_moves_128_bits(work: Work, rng: random.Random) -> None:
    """Compiled for aligned vectors of stride 1 and an n that 16 divides, all loads and stores move 128 bits."""
    kernel = work.kernel("add")
    triton_adds(
        kernel, rng, rng.randint(100, 200), [PLAIN] * 3, 64, torch.float32
    )  # what does nothing is narrow, too
    for arch, pointer in zip(
        (*ARCHITECTURES, NEXT_ARCHITECTURE), ("*fp32", "*bf16", "*fp32"), strict=True
    ):
        strides = {"x_stride": 1, "y_stride": 1, "z_stride": 1}
        code = kernel.compile(
            arch,
            *(pointer, pointer, pointer, "i32"),
            **strides,
            block=1024,
            aligned=("x_ptr", "y_ptr", "z_ptr", "n"),
            constants=[*strides],
        )
        if arch == NEXT_ARCHITECTURE:
            continue
        widths = looked_at(code)
        for kind in ("global loads", "global stores"):
            found = ", ".join(
                f"{count} of {bits} bits" for bits, count in widths.get(kind, {}).items()
            )
            expect(
                set(widths.get(kind, {})) == {128},
                f"for sm_{arch} and {pointer} the {kind} in it are: {found or 'none'}; expected 128 bits alone",
            )


@criterion(
    hint=(
        "How many programs does it take for the last elements, and which strides do x, y and the result have?",
        "`(triton.cdiv(n, block),)` programs; `x.stride(0)` for `x_stride`, and so on.",
    )
)
def host_starts_it(work: Work, rng: random.Random) -> None:
    """`vector_add(x, y)` returns a new vector, the sum, of views and of no elements too."""
    triton_adds(
        work.kernel("add"), rng, 100, [PLAIN] * 3, 64, torch.float32
    )  # or something else has done the work
    for n, layouts in ((0, [PLAIN] * 2), (1, [PLAIN] * 2), (rng.randint(1025, 3000), [PLAIN] * 2)):
        host_adds(work, rng, n, layouts)
    host_adds(work, rng, rng.randint(200, 400), [(3, 2), (0, 3)])


# ---------------------------------------------------------------- vectors, and what became of them


def vector(
    rng: random.Random, n: int, layout: Layout, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Returns a view of n numbers in a memory that goes on behind them."""
    offset, stride = layout
    numbers = [rng.gauss(0, 1) for _ in range(offset + n * stride + 40)]
    return torch.tensor(numbers, dtype=dtype).as_strided((n,), (stride,), offset)


def unwritten_vector(n: int, layout: Layout, dtype: torch.dtype) -> Tensor:
    """Returns the same full of NaN: what is not written stays that."""
    offset, stride = layout
    return unwritten(offset + n * stride + 40, dtype=dtype).as_strided((n,), (stride,), offset)


def views(rng: random.Random) -> list[list[Layout]]:
    """Returns layouts of x, y and z: each of them alone is misaligned, or has a stride; then several are."""
    misaligned: list[Layout] = [(offset, 1) for offset in rng.sample([1, 2, 3], 3)]
    stretched: list[Layout] = [
        (ALIGNED * rng.randint(0, 3), stride) for stride in rng.sample([2, 3, 4], 3)
    ]
    alone = [
        [layout if place == each else PLAIN for each in range(3)]
        for layouts in (misaligned, stretched)
        for place, layout in enumerate(layouts)
    ]
    shift = rng.randint(1, 3)
    number_for_all: Layout = (rng.randint(0, 5), 0)
    return [
        *alone,
        [(shift, 1)] * 3,
        some_views(rng),
        [number_for_all, PLAIN, PLAIN],
        [PLAIN, number_for_all, (4, 1)],
    ]


def some_views(rng: random.Random) -> list[Layout]:
    """Returns layouts that all differ."""
    return list(zip(rng.sample(range(20), 3), rng.sample(range(2, 6), 3), strict=True))


def cuda_adds(
    kernel: CudaKernel, rng: random.Random, n: int, layouts: Sequence[Layout], grid: int, block: int
) -> Any:
    """Runs the CUDA kernel, and looks at all of its vectors."""
    x, y = (vector(rng, n, layout) for layout in layouts[:2])
    z = unwritten_vector(n, layouts[2], torch.float32)
    strides = [stride for _, stride in layouts]
    ran = kernel.run(grid, block, x, y, z, n, *strides, seed=rng.randrange(1 << 30))
    is_sum(
        ran.tensors["z"],
        x,
        y,
        f"of {n} elements, {layout_of(layouts)}, by {grid} blocks of {block} threads",
    )
    untouched(x, ran.tensors["x"], "x")
    untouched(y, ran.tensors["y"], "y")
    return ran


def triton_adds(
    kernel: Kernel,
    rng: random.Random,
    n: int,
    layouts: Sequence[Layout],
    block: int,
    dtype: torch.dtype,
    more: int = 0,
) -> Any:
    """Runs the Triton kernel, with so many programs more than it takes, and looks at all of its vectors."""
    x, y = (vector(rng, n, layout, dtype) for layout in layouts[:2])
    z = unwritten_vector(n, layouts[2], dtype)
    strides = [stride for _, stride in layouts]
    programs = -(-n // block) + more
    ran = kernel.run((programs,), x, y, z, n, *strides, block=block, shuffle=rng.randrange(1 << 30))
    is_sum(
        ran[2],
        x,
        y,
        f"of {n} elements, {layout_of(layouts)}, by {programs} programs with block={block}",
    )
    untouched(x, ran[0], "x")
    untouched(y, ran[1], "y")
    return ran


def host_adds(work: Work, rng: random.Random, n: int, layouts: Sequence[Layout]) -> None:
    """Asks the host function, of views that are made where it runs."""
    x, y = (vector(rng, n, layout) for layout in layouts)
    there = [view_there(work, each) for each in (x, y)]
    got = work.call("vector_add", *there)
    right = type(got) is Tensor and got.shape == x.shape and got.dtype == x.dtype
    expect(right, f"expected a float32 tensor of {n} elements, got {got!r:.100}")
    is_sum(got, x, y, f"of {n} elements with strides {layouts[0][1]} and {layouts[1][1]}")
    for name, before, view in (("x", x, there[0]), ("y", y, there[1])):
        untouched(before, work.get(view), name)


def view_there(work: Work, view: Tensor) -> Proxy:
    """Makes a view in the notebook's process: on the way there it would lose its strides."""
    length = view.storage_offset() + view.stride(0) * len(view) + 1
    memory = work.keep(view.as_strided((length,), (1,), 0))
    layout = [list(view.shape), list(view.stride()), view.storage_offset()]
    return Proxy(work, work.ask("new", memory, "as_strided", layout))


def layout_of(layouts: Sequence[Layout]) -> str:
    """Says where x, y and z begin, and their strides."""
    if all(layout == PLAIN for layout in layouts):
        return "side by side"
    starts, strides = zip(*layouts, strict=True)
    return f"from elements {', '.join(map(str, starts))} on with strides {', '.join(map(str, strides))}"


def is_sum(z: Tensor, x: Tensor, y: Tensor, which: str) -> None:
    """Expects the sum, to the bit."""
    wanted = x + y
    wrong = (z != wanted).nonzero().flatten().tolist()  # NaN is not equal to anything
    if wrong:
        i = wrong[0]
        got = "was not written" if z[i].isnan() else f"is {z[i].item():.6g}"
        more = f"; {len(wrong)} in all are wrong" if len(wrong) > 1 else ""
        expect(False, f"z[{i}] {got}, expected {wanted[i].item():.6g}: {which}{more}")


def untouched(before: Tensor, after: Tensor, name: str) -> None:
    """Expects that an input is what it was."""
    expect(torch.equal(before, after), f"{name} is no longer what it was: the kernel writes to it")


def moved(name: str, n: int, read: int, may_read: int, written: int, may_write: int) -> None:
    """Expects the bytes that a vector must cost."""
    expect(
        (read, written) == (may_read, may_write),
        f"of {name}, with {n} elements, {read} bytes are read and {written} written; "
        f"expected {may_read} and {may_write}",
    )


@functools.lru_cache(64)
def looked_at(code: GpuCode) -> Mapping[str, Mapping[int, int]]:
    """Returns the widths of loads and stores; expects that nothing is spilled."""
    try:
        seen = inspect(code)
    except NotRunError as error:
        raise NotRun(str(error).removeprefix("not run: ")) from error
    expect(not seen.spills, f"for sm_{code.arch} registers are spilled to memory")
    return seen.widths
