# mistake: two floats at a time
# killed_by: cuda-moves-128-bits

# %% nbgrader={"grade_id": "cuda"}
ADD = r"""
__device__ bool is_aligned(const void* pointer) { return (size_t)pointer % sizeof(float2) == 0; }

extern "C" __global__ void add(const float* x, const float* y, float* z, int n,
                               int x_stride, int y_stride, int z_stride) {
  const int start = blockIdx.x * blockDim.x + threadIdx.x;
  const int step = gridDim.x * blockDim.x;
  int done = 0;
  if (is_aligned(x) && is_aligned(y) && is_aligned(z) && x_stride == 1 && y_stride == 1 && z_stride == 1) {
    const float2* x4 = (const float2*)x;
    const float2* y4 = (const float2*)y;
    float2* z4 = (float2*)z;
    for (int i = start; i < n / 2; i += step) {
      float2 a = x4[i], b = y4[i];
      z4[i] = make_float2(a.x + b.x, a.y + b.y);
    }
    done = n / 2 * 2;
  }
  for (int i = done + start; i < n; i += step)
    z[(long long)i * z_stride] = x[(long long)i * x_stride] + y[(long long)i * y_stride];
}
"""
