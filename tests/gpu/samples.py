"""Kernels whose machine code is known, compiled once in a session."""

from functools import cache

import triton
import triton.language as tl

from workbook.gpu.code import GpuCode
from workbook.gpu.triton_compile import compile_for

ARCHS = (80, 90, 100)
THREADS = {"transpose": (32, 32, 1), "padded_transpose": (32, 32, 1), "naive_transpose": (32, 32, 1)}

CUDA = r"""
extern "C" __global__ void add(const float* x, const float* y, float* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = x[i] + y[i];
}

extern "C" __global__ void add4(const float4* x, const float4* y, float4* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) {
    float4 a = x[i], b = y[i];
    out[i] = make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
  }
}

extern "C" __global__ void eighth(const float* x, float* out) {
  out[threadIdx.x] = x[8 * threadIdx.x];
}

template <int PITCH> __device__ void transposed(const float* x, float* out, int n) {
  __shared__ float tile[32][PITCH];
  tile[threadIdx.y][threadIdx.x] = x[(blockIdx.y * 32 + threadIdx.y) * n + blockIdx.x * 32 + threadIdx.x];
  __syncthreads();
  out[(blockIdx.x * 32 + threadIdx.y) * n + blockIdx.y * 32 + threadIdx.x] = tile[threadIdx.x][threadIdx.y];
}
extern "C" __global__ void __launch_bounds__(1024) transpose(const float* x, float* out, int n) {
  transposed<32>(x, out, n);
}
extern "C" __global__ void __launch_bounds__(1024) padded_transpose(const float* x, float* out, int n) {
  transposed<33>(x, out, n);
}
extern "C" __global__ void naive_transpose(const float* x, float* out, int n) {
  int c = blockIdx.x * 32 + threadIdx.x, r = blockIdx.y * 32 + threadIdx.y;
  out[c * n + r] = x[r * n + c];
}

extern "C" __global__ void __launch_bounds__(1024, 2) spilling(const float* x, float* out, int n) {
  float a[64];
  #pragma unroll
  for (int j = 0; j < 64; j++) a[j] = x[threadIdx.x + j * n];
  for (int k = 0; k < n; k++) {
    #pragma unroll
    for (int j = 0; j < 64; j++) a[j] = a[j] * a[(j + 7) % 64] + x[k];
  }
  #pragma unroll
  for (int j = 0; j < 64; j++) out[threadIdx.x + j * n] = a[j];
}

extern "C" __global__ void indexed(const float* x, float* out, int n) {
  float a[64];
  for (int j = 0; j < 64; j++) a[j] = x[threadIdx.x + j * n];
  for (int j = 0; j < n; j++) out[j] = a[((int)x[j]) & 63];
}

extern "C" __global__ void dynamic(const float* x, float* out) {
  extern __shared__ float s[];
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = s[threadIdx.x ^ 1];
}

extern "C" __global__ void gathered(const float* x, const int* index, float* out) {
  out[threadIdx.x] = x[index[threadIdx.x]];
}

__global__ void mangled(float* out) { out[threadIdx.x] = 1; }
"""


@triton.jit  # type: ignore[untyped-decorator]
def vector_add(x, y, out, n, block: tl.constexpr):  # type: ignore[no-untyped-def]
    offsets = tl.program_id(0) * block + tl.arange(0, block)
    mask = offsets < n
    tl.store(out + offsets, tl.load(x + offsets, mask) + tl.load(y + offsets, mask), mask)


@triton.jit  # type: ignore[untyped-decorator]
def attention(  # type: ignore[no-untyped-def]
    q, k, v, out, n, scale, rows: tl.constexpr, columns: tl.constexpr, size: tl.constexpr
):
    own = tl.program_id(0) * rows + tl.arange(0, rows)
    dims = tl.arange(0, size)
    queries = tl.load(q + own[:, None] * size + dims[None, :])
    most = tl.full([rows], float("-inf"), tl.float32)
    total = tl.zeros([rows], tl.float32)
    sums = tl.zeros([rows, size], tl.float32)
    for start in range(0, n, columns):
        others = start + tl.arange(0, columns)
        scores = tl.dot(queries, tl.load(k + others[None, :] * size + dims[:, None])) * scale
        higher = tl.maximum(most, tl.max(scores, 1))
        weights = tl.exp2(scores - higher[:, None])
        factor = tl.exp2(most - higher)
        total = total * factor + tl.sum(weights, 1)
        values = tl.load(v + others[:, None] * size + dims[None, :])
        sums = tl.dot(weights.to(values.dtype), values, sums * factor[:, None])
        most = higher
    tl.store(out + own[:, None] * size + dims[None, :], (sums / total[:, None]).to(out.dtype.element_ty))


@cache
def add(arch: int, *, aligned: bool = True) -> GpuCode:
    signature = {"x": "*fp32", "y": "*fp32", "out": "*fp32", "n": "i32"}
    return compile_for(vector_add, signature, {"block": 1024}, arch, aligned=list(signature) if aligned else ())


@cache
def flash(arch: int, rows: int = 64, columns: int = 64, warps: int = 4) -> GpuCode:
    signature = {**dict.fromkeys(("q", "k", "v", "out"), "*bf16"), "n": "i32", "scale": "fp32"}
    constants = {"rows": rows, "columns": columns, "size": 64}
    aligned = ["q", "k", "v", "out", "n"]
    return compile_for(attention, signature, constants, arch, aligned=aligned, num_warps=warps, num_stages=2)


@cache
def cuda(name: str, arch: int) -> GpuCode:
    """One of the kernels in CUDA C; their machine code lies in one cubin."""
    cubin, ptx = _nvrtc(arch)
    return GpuCode(name, arch, cubin, ptx, CUDA)


def cuda_names() -> list[str]:
    lines = [line for line in CUDA.splitlines() if line.startswith('extern "C"')]
    return [line.partition("(const")[0].split()[-1] for line in lines]


@cache
def _nvrtc(arch: int) -> tuple[bytes, str]:
    from cuda.bindings import nvrtc  # type: ignore[import-untyped]

    (_, program) = nvrtc.nvrtcCreateProgram(CUDA.encode(), b"kernels.cu", 0, [], [])
    options = [f"-arch=sm_{arch}".encode(), b"-lineinfo"]
    (failed,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    assert failed == nvrtc.nvrtcResult.NVRTC_SUCCESS, failed
    made = []
    for kind in ("CUBIN", "PTX"):
        (_, size) = getattr(nvrtc, f"nvrtcGet{kind}Size")(program)
        made.append(bytearray(size))
        getattr(nvrtc, f"nvrtcGet{kind}")(program, made[-1])
    nvrtc.nvrtcDestroyProgram(program)
    return bytes(made[0]), made[1].decode().rstrip("\0")
