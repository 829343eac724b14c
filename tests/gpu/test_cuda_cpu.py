"""CUDA kernels on a CPU: what they compute, what they move, and what they do wrong."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.gpu.cuda_samples import ADD, ADD4, SUM, on_cpu  # noqa: F401 - a fixture
from workbook.gpu.cuda_cpu import CudaFault, Ran, unwritten
from workbook.gpu.cuda_gpu import run_cuda

pytestmark = pytest.mark.usefixtures("on_cpu")


def ints(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.int32)


def run(body: str, *, block: int = 32, z: torch.Tensor | None = None, n: int = 8, head: str = "", **more: Any) -> Ran:
    source = f"{head}\n__global__ void k(int* z, int n) {{\n{body}\n}}\n"
    return run_cuda(source, "k", 1, block, (torch.zeros(64, dtype=torch.int32) if z is None else z, n), **more)


def result(body: str, count: int = 4, **more: Any) -> list[int]:
    values: list[int] = run(body, **more).tensors["z"][:count].tolist()
    return values


@pytest.mark.parametrize("n", [1, 255, 1000, 4096])
def test_a_vector_add_computes_and_moves_three_words_an_element(n: int) -> None:
    x, y = torch.randn(n), torch.randn(n)
    ran = run_cuda(ADD, "add", -(-n // 256), 256, (x, y, unwritten(n), n))
    assert torch.equal(ran.tensors["z"], x + y)
    assert (ran.counts["x"].read, ran.counts["y"].read, ran.counts["z"].written) == (4 * n, 4 * n, 4 * n)
    assert ran.bytes == 12 * n


def test_vectors_of_four_are_loaded_at_once_and_must_be_aligned() -> None:
    x, y = torch.randn(1003), torch.randn(1003)
    ran = run_cuda(ADD4, "add", 1, 256, (x[:1002], y[:1002], unwritten(1002), 1002))
    assert torch.equal(ran.tensors["z"], x[:1002] + y[:1002])
    assert ran.counts["x"].loads == {16: 250, 4: 2}
    assert ran.counts["z"].stores == {16: 250, 4: 2}
    with pytest.raises(CudaFault, match="multiple of 16") as caught:
        run_cuda(ADD4, "add", 1, 256, (x[1:], y[:1002], unwritten(1002), 1002))
    assert (caught.value.kind, caught.value.line) == ("alignment", 5)


def test_one_element_too_many_is_caught_with_its_thread_and_line() -> None:
    wrong = ADD.replace("i < n", "i <= n")
    with pytest.raises(CudaFault) as caught:
        run_cuda(wrong, "add", 4, 256, (torch.ones(2000)[:1000], torch.ones(1000), unwritten(1000), 1000))
    fault = caught.value
    assert (fault.kind, fault.block, fault.thread, fault.line) == ("bounds", (3, 0, 0), (232, 0, 0), 4)
    assert "reads bytes 4000 to 4003 of x, which has bytes 0 to 3999" in str(fault)


def test_views_keep_their_strides_and_nothing_between_their_elements_is_touched() -> None:
    x = torch.randn(64, 8)[:, 3]
    copy = "__global__ void c(const float* x, float* z, int s) { z[threadIdx.x] = x[threadIdx.x * s]; }"
    assert torch.equal(run_cuda(copy, "c", 1, 64, (x, unwritten(64), 8)).tensors["z"], x)
    with pytest.raises(CudaFault, match="between the elements of the view"):
        run_cuda(copy, "c", 1, 64, (x, unwritten(64), 7))
    z = unwritten(64, 2)[:, 1]
    into = "__global__ void c(const float* x, float* z) { z[2 * threadIdx.x] = x[8 * threadIdx.x]; }"
    ran = run_cuda(into, "c", 1, 64, (x, z))
    assert torch.equal(ran.tensors["z"], x)
    assert ran.tensors["z"].stride() == (2,)
    assert z.isnan().all()  # what was given is left as it was


def test_outputs_that_are_not_written_show() -> None:
    ran = run_cuda(ADD, "add", 1, 256, (torch.ones(300), torch.ones(300), unwritten(300), 300))
    assert ran.tensors["z"].isnan().sum() == 44
    assert unwritten(2, 3, dtype=torch.bfloat16).isnan().all()


def test_a_tensor_that_is_given_twice_is_one() -> None:
    x = torch.ones(8)
    ran = run_cuda(ADD, "add", 1, 8, (x, x, x, 8))
    assert torch.equal(ran.tensors["z"], torch.full((8,), 2.0))
    assert ran.bytes == 3 * 32 or ran.bytes == 2 * 32  # the second load of the same may be left out


def test_empty_tensors_have_no_bytes() -> None:
    ran = run_cuda(ADD, "add", 1, 32, (torch.ones(0), torch.ones(0), unwritten(0), 0))
    assert ran.bytes == 0
    with pytest.raises(CudaFault, match="x, which is empty"):
        run_cuda(ADD, "add", 1, 32, (torch.ones(0), torch.ones(1), unwritten(1), 1))
    with pytest.raises(ValueError, match="from 1 to"):
        run_cuda(ADD, "add", 0, 32, (torch.ones(0), torch.ones(0), unwritten(0), 0))


def test_what_is_changed_in_place_counts_as_read_and_written() -> None:
    ran = run("z[threadIdx.x] += n;")
    assert ran.tensors["z"][0] == 8
    assert ran.counts["z"].read == ran.counts["z"].written == 32 * 4
    ran = run("z[threadIdx.x] = n; __syncthreads(); z[threadIdx.x] = n + 1;")
    assert ran.counts["z"].written == 2 * 32 * 4


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_block_sums_through_shuffles_and_shared_memory(seed: int | None) -> None:
    x = torch.randn(1000, dtype=torch.float32)
    got = run_cuda(SUM, "sum", 1, 256, (x, unwritten(1), 1000), seed=seed).tensors["out"]
    torch.testing.assert_close(got[0], x.double().sum().float(), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_a_missing_barrier_is_a_race(seed: int) -> None:
    with pytest.raises(CudaFault, match="no barrier between them") as caught:
        run_cuda(SUM.replace("__syncthreads();", ""), "sum", 1, 256, (torch.ones(9), unwritten(1), 9), seed=seed)
    assert caught.value.kind == "race"


@pytest.mark.parametrize(
    ("body", "says"),
    [  # written and read, read and then written, a variable alone, a loop that comes round, an atomic
        ("__shared__ int s[32]; s[threadIdx.x] = n; z[threadIdx.x] = s[31 - threadIdx.x];", "s, which"),
        ("__shared__ int s; s = n; __syncthreads(); z[threadIdx.x] = s; if (threadIdx.x == 3) s = 2;", "s, which"),
        ("__shared__ int s; if (!threadIdx.x) s = n; z[threadIdx.x] = s;", "s, which"),
        ("extern __shared__ int s[]; if (!threadIdx.x) s[0] = n; z[threadIdx.x] = s[0];", "the dynamic shared memory"),
        ("__shared__ int s[33]; for (int i = 0; i < 2; i++) { s[threadIdx.x] = i; __syncthreads();\n"
         "z[threadIdx.x] = s[threadIdx.x ^ 1]; }", "s, which"),
        ("__shared__ int s; if (!threadIdx.x) s = 0; atomicAdd(&s, 1);", "s, which"),
        ("__shared__ int s[32]; s[threadIdx.x] = 0; __syncthreads(); s[threadIdx.x] += n;"
         "z[threadIdx.x] = s[threadIdx.x ^ 1];", "s, which"),
    ],
)  # fmt: skip
def test_each_kind_of_race_is_found(body: str, says: str) -> None:
    with pytest.raises(CudaFault, match=says) as caught:
        run(body, shared=128)
    assert caught.value.kind == "race"


@pytest.mark.parametrize(
    "body",
    [
        "__shared__ int s[32]; s[threadIdx.x] = n; __syncwarp(); z[threadIdx.x] = s[31 - threadIdx.x];",
        "__shared__ int s[32]; s[threadIdx.x] = n; __any_sync(0xffffffffu, n); z[threadIdx.x] = s[31 - threadIdx.x];",
        "__shared__ bool any; any = true; __syncthreads(); z[threadIdx.x] = n * any;",
        "__shared__ int s; if (!threadIdx.x) s = 0; __syncthreads(); atomicAdd(&s, n / 8); __syncthreads();"
        "z[threadIdx.x] = s / 4;",
        "extern __shared__ int s[]; s[threadIdx.x] = n; __syncthreads(); z[threadIdx.x] = s[threadIdx.x ^ 5];",
    ],
)
def test_what_is_no_race_is_let_pass(body: str) -> None:
    assert result(body, shared=128) == [8, 8, 8, 8]


def test_a_warp_is_no_barrier_for_a_block() -> None:
    body = "__shared__ int s[64]; s[threadIdx.x] = n; __syncwarp(); z[threadIdx.x] = s[63 - threadIdx.x];"
    with pytest.raises(CudaFault, match="no barrier"):
        run(body, block=64)


def test_shared_memory_is_full_of_nan_when_a_block_begins() -> None:
    body = "__shared__ float s[4]; extern __shared__ float d[]; z[blockIdx.x] = isnan(s[n]) + isnan(*d); s[n] = *d = 0;"
    source = f"__global__ void k(int* z, int n) {{ {body} }}"
    assert (
        run_cuda(source, "k", 3, 1, (torch.zeros(3, dtype=torch.int32), 2), shared=4).tensors["z"].tolist() == [2] * 3
    )


@pytest.mark.parametrize(
    ("body", "kind", "line"),
    [
        ("if (threadIdx.x < 5) __syncthreads();", "divergent", 3),
        ("if (threadIdx.x < 5) __syncthreads();\nelse __syncthreads();", "divergent", 0),
        ("if (threadIdx.x == 5) return;\n__syncthreads();", "divergent", 4),
        ("if (threadIdx.x < 5) __syncwarp();", "", 0),
        ("if (threadIdx.x < 5) __syncwarp(); else __syncthreads();", "warp stuck", 3),
        ("if (threadIdx.x < 5) __syncwarp(0xff); else __syncwarp(0xfffffff0);", "warp", 3),
        ("__syncwarp(0x0f);", "mask", 3),
    ],
)
def test_threads_that_do_not_meet_are_caught(body: str, kind: str, line: int) -> None:
    if not kind:  # those that have ended are waited for by nobody
        run(body)
        return
    with pytest.raises(CudaFault) as caught:
        run(body)
    assert caught.value.kind == kind
    assert line in (0, caught.value.line)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("z[threadIdx.x] = __shfl_xor_sync(0xffffffffu, (int)threadIdx.x, 1);", [1, 0, 3, 2]),
        ("z[threadIdx.x] = __shfl_up_sync(0xffffffffu, (int)threadIdx.x, 2);", [0, 1, 0, 1]),
        ("z[threadIdx.x] = __shfl_down_sync(0xffffffffu, (int)threadIdx.x, 1, 2);", [1, 1, 3, 3]),
        ("z[threadIdx.x] = __shfl_sync(0xffffffffu, threadIdx.x * 1.5, 6);", [9, 9, 9, 9]),
        ("if (threadIdx.x < 4) z[threadIdx.x] = __shfl_sync(0xf, (int)threadIdx.x, 9);", [1, 1, 1, 1]),
        ("if (threadIdx.x < 4) z[threadIdx.x] = __shfl_sync(0xf, (int)threadIdx.x, 3);", [3, 3, 3, 3]),
        ("z[threadIdx.x] = __ballot_sync(0xffffffffu, threadIdx.x % 8 == 1);", [0x02020202] * 4),
        ("z[threadIdx.x] = __any_sync(~0u, threadIdx.x == 31) + __all_sync(~0u, threadIdx.x);", [1] * 4),
        ("z[threadIdx.x] = __syncthreads_count(threadIdx.x > 9) + __syncthreads_or(0) + __syncthreads_and(1);",
         [23] * 4),
        ("int old = atomicAdd(z, 1); if (old == 31) z[1] = atomicMax(z, 40) + atomicCAS(z, 40, 5);", [5, 72, 0, 0]),
        ("auto f = [&](int a) { return a * n; }; z[threadIdx.x] = f(3);", [24] * 4),
        ("switch (threadIdx.x) { case 0: z[0] = 5; break; case 1: z[1] = 6; break; case 2: z[2] = 7; break;"
         "case 3: z[3] = 8; break; case 4: z[4] = 9; break; case 5: z[5] = 10; }", [5, 6, 7, 8]),
        ("#pragma unroll\nfor (int i = 0; i < 4; i++) z[i] = i;", [0, 1, 2, 3]),
        ("__half h = __float2half(0.1f); if (!threadIdx.x) z[0] = __half2float(h + h) * 1e6f;", [199951, 0, 0, 0]),
    ],
)  # fmt: skip
def test_the_language_means_what_cuda_means(body: str, wanted: Sequence[int]) -> None:
    if "0xf," in body and ", 9)" in body:  # lane 9 takes no part: what comes from it is of no use
        wanted = [-1] * 4
    assert result(body) == list(wanted)


def test_half_precision_rounds_as_torch_does() -> None:
    source = "__global__ void h(const float* x, __half* a, __nv_bfloat16* b, float* c) { int i = threadIdx.x;\n" \
        "a[i] = __float2half(x[i]); b[i] = __float2bfloat16(x[i]); c[i] = __half2float(a[i]); }"  # fmt: skip
    x = torch.cat([torch.randn(500) * 10.0 ** torch.randint(-9, 6, (500,)), torch.tensor([0, -0.0, 65520, 6e-8, 2e-8])])
    out = (unwritten(505, dtype=torch.float16), unwritten(505, dtype=torch.bfloat16), unwritten(505))
    ran = run_cuda(source, "h", 1, 505, (x, *out))
    assert torch.equal(ran.tensors["a"], x.half())
    assert torch.equal(ran.tensors["b"], x.bfloat16())
    assert torch.equal(ran.tensors["c"], x.half().float())


def test_the_order_of_blocks_and_threads_comes_of_the_seed() -> None:
    source = "__global__ void o(int* z) { z[atomicAdd(z + 64, 1)] = blockIdx.x * blockDim.x + threadIdx.x; }"
    orders = [
        run_cuda(source, "o", (2, 4), 8, (torch.zeros(65, dtype=torch.int32),), seed=s).tensors["z"] for s in (1, 1, 2)
    ]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    every = "__global__ void e(int* z) { atomicAdd(z + blockIdx.x + 7 * (blockIdx.y + 5 * blockIdx.z), 1); }"
    assert (run_cuda(every, "e", (7, 5, 3), 2, (torch.zeros(105, dtype=torch.int32),), seed=3).tensors["z"] == 2).all()


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"block": 1025}, ValueError, "1024"),
        ({"block": (32, 32, 2)}, ValueError, "at most 1024 threads"),
        ({"shared": 300_000}, ValueError, "at most 232448 bytes"),
        ({"grid": (1, 70_000)}, ValueError, "65535"),
        ({"arguments": (torch.ones(1),)}, TypeError, "takes 4 arguments"),
        ({"arguments": (torch.ones(1), 3, unwritten(1), 1)}, TypeError, "y is const float \\*, so it takes a tensor"),
        ({"arguments": (torch.ones(1), torch.ones(1).double(), unwritten(1), 1)}, TypeError, "not torch.float64"),
        ({"arguments": (torch.ones(1), torch.ones(1), unwritten(1), 1.5)}, TypeError, "n is int, and 1.5"),
        ({"arguments": (torch.ones(1), torch.ones(1), unwritten(1), 2**31)}, TypeError, "does not fit"),
    ],
)
def test_a_launch_that_cannot_be_is_refused(change: dict[str, Any], error: type[Exception], says: str) -> None:
    launch = {"grid": 1, "block": 32, "arguments": (torch.ones(1), torch.ones(1), unwritten(1), 1), **change}
    with pytest.raises(error, match=says):
        run_cuda(ADD, "add", **launch)
