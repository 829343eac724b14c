# differs: loads of uint4 and bits; element by element, one thread has neighbours

# %% nbgrader={"grade_id": "cuda"}
ADD = r"""
extern "C" __global__ void add(const float* x, const float* y, float* z, int n,
                               int x_stride, int y_stride, int z_stride) {
  const long long start = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  const long long step = gridDim.x * (long long)blockDim.x;
  const bool wide = ((size_t)x | (size_t)y | (size_t)z) % 16 == 0 && x_stride == 1 && y_stride == 1 && z_stride == 1;
  for (long long four = start; 4 * four < n; four += step) {
    const long long i = 4 * four;
    if (wide && i + 3 < n) {
      const uint4 a = ((const uint4*)x)[four], b = ((const uint4*)y)[four];
      uint4 sum;
      sum.x = __float_as_uint(__uint_as_float(a.x) + __uint_as_float(b.x));
      sum.y = __float_as_uint(__uint_as_float(a.y) + __uint_as_float(b.y));
      sum.z = __float_as_uint(__uint_as_float(a.z) + __uint_as_float(b.z));
      sum.w = __float_as_uint(__uint_as_float(a.w) + __uint_as_float(b.w));
      ((uint4*)z)[four] = sum;
    } else {
      for (long long j = i; j < n && j < i + 4; j++) z[j * z_stride] = x[j * x_stride] + y[j * y_stride];
    }
  }
}
"""


# %% nbgrader={"grade_id": "triton"}
@triton.jit
def plus(a, b):
    return a + b


@triton.jit
def add(x_ptr, y_ptr, z_ptr, n, x_stride, y_stride, z_stride, block: tl.constexpr):
    for first in range(tl.program_id(0) * block, n, tl.num_programs(0) * block):
        i = first + tl.arange(0, block)
        inside = i < n
        x = tl.load(x_ptr + i * x_stride, mask=inside, other=0.0)
        y = tl.load(y_ptr + i * y_stride, mask=inside, other=0.0)
        tl.store(z_ptr + i * z_stride, plus(x, y), mask=inside)
