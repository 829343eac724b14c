# mistake: one float at a time
# killed_by: cuda-moves-128-bits

# %% nbgrader={"grade_id": "cuda"}
ADD = r"""
extern "C" __global__ void add(const float* x, const float* y, float* z, int n,
                               int x_stride, int y_stride, int z_stride) {
  const int start = blockIdx.x * blockDim.x + threadIdx.x;
  const int step = gridDim.x * blockDim.x;
  for (int i = start; i < n; i += step)
    z[(long long)i * z_stride] = x[(long long)i * x_stride] + y[(long long)i * y_stride];
}
"""
