# mistake: threads beyond the last element add, too
# killed_by: cuda-any-length

# %% nbgrader={"grade_id": "cuda"}
ADD = r"""
extern "C" __global__ void add(const float* x, const float* y, float* z, int n,
                               int x_stride, int y_stride, int z_stride) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  z[(long long)i * z_stride] = x[(long long)i * x_stride] + y[(long long)i * y_stride];
}
"""
