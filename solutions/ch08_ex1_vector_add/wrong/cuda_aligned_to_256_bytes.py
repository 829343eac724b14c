# mistake: only addresses that 256 divides count as aligned
# killed_by: cuda-moves-128-bits

# %% nbgrader={"grade_id": "cuda"}
ADD = r"""
__device__ bool is_aligned(const void* pointer) { return (size_t)pointer % 256 == 0; }

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
