# differs: begins with single elements up to an aligned address, and unrolls; a block with two dimensions

# %% nbgrader={"grade_id": "cuda"}
ADD = r"""
__device__ __forceinline__ float4 plus(float4 a, float4 b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

extern "C" __global__ void __launch_bounds__(1024) add(const float* __restrict__ x, const float* __restrict__ y,
    float* __restrict__ z, int n, int x_stride, int y_stride, int z_stride) {
  const unsigned start = blockIdx.x * blockDim.x + threadIdx.x, step = gridDim.x * blockDim.x;
  if (x_stride != 1 || y_stride != 1 || z_stride != 1 || ((size_t)x ^ (size_t)y) % 16 || ((size_t)x ^ (size_t)z) % 16) {
    for (unsigned i = start; i < (unsigned)n; i += step)
      z[(size_t)i * z_stride] = x[(size_t)i * x_stride] + y[(size_t)i * y_stride];
    return;
  }
  const unsigned head = min((unsigned)((16 - (size_t)x % 16) % 16 / 4), (unsigned)n), fours = (n - head) / 4;
  const float4 *x4 = reinterpret_cast<const float4*>(x + head), *y4 = reinterpret_cast<const float4*>(y + head);
  float4* z4 = reinterpret_cast<float4*>(z + head);
  unsigned i = start;
  for (; i + step < fours; i += 2 * step) {
    const float4 a = __ldg(x4 + i), b = __ldg(y4 + i), c = __ldg(x4 + i + step), d = __ldg(y4 + i + step);
    z4[i] = plus(a, b);
    z4[i + step] = plus(c, d);
  }
  if (i < fours) z4[i] = plus(x4[i], y4[i]);
  const unsigned rest = n - 4 * fours;
  for (unsigned i = start; i < rest; i += step) {
    const unsigned j = i < head ? i : i + 4 * fours;
    z[j] = x[j] + y[j];
  }
}
"""


# %% nbgrader={"grade_id": "triton"}
@triton.jit
def add(x_ptr, y_ptr, z_ptr, n, x_stride, y_stride, z_stride, block: tl.constexpr):
    wide: tl.constexpr = 16 if block >= 16 else block
    first = tl.program_id(0) * block
    i = first + tl.arange(0, block // wide)[:, None] * wide + tl.arange(0, wide)[None, :]
    inside = i < n
    total = tl.load(x_ptr + i * x_stride, inside) + tl.load(y_ptr + i * y_stride, inside)
    tl.store(z_ptr + i * z_stride, total, inside)


# %% nbgrader={"grade_id": "host"}
def vector_add(x, y):
    def grid(meta):
        return (triton.cdiv(x.numel(), meta["block"]),)

    x, y = x.contiguous(), y.contiguous()
    out = torch.empty_like(x)
    add[grid](x, y, out, x.numel(), 1, 1, 1, block=256)
    return out
