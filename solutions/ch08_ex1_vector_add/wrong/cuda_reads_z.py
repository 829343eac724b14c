# mistake: looks at z before it writes it
# killed_by: cuda-moves-3n-words

# %% nbgrader={"grade_id": "cuda"}
ADD = r"""
extern "C" __global__ void add(const float* x, const float* y, float* z, int n,
                               int x_stride, int y_stride, int z_stride) {
  const int start = blockIdx.x * blockDim.x + threadIdx.x;
  const int step = gridDim.x * blockDim.x;
  for (int i = start; i < n; i += step)
  {
    const float sum = x[(long long)i * x_stride] + y[(long long)i * y_stride];
    if (z[(long long)i * z_stride] != sum) z[(long long)i * z_stride] = sum;
  }
}
"""
