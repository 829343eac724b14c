# mistake: each block but the first waits for nobody, and finishes what others have begun
# killed_by: cuda-any-length

# %% nbgrader={"grade_id": "cuda"}
ADD = r"""
extern "C" __global__ void add(const float* x, const float* y, float* z, int n,
                               int x_stride, int y_stride, int z_stride) {
  const int start = blockIdx.x * blockDim.x + threadIdx.x;
  if (blockIdx.x == 0)
    for (int i = threadIdx.x; i < n; i += blockDim.x) z[(long long)i * z_stride] = x[(long long)i * x_stride];
  for (int i = start; i < n; i += gridDim.x * blockDim.x) z[(long long)i * z_stride] += y[(long long)i * y_stride];
}
"""
