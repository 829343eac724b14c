"""CUDA kernels that several tests use."""

import pytest

from tests.system import unavailable
from workbook.gpu import cuda_build, cuda_nvrtc
from workbook.gpu.code import NotRunError

ADD = """
extern "C" __global__ void add(const float* __restrict__ x, const float* y, float* z, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) z[i] = x[i] + y[i];
}
"""

ADD4 = """
__global__ void add(const float* x, const float* y, float* z, int n) {
  int i = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
  if (i + 3 < n) {
    float4 a = *reinterpret_cast<const float4*>(x + i), b = reinterpret_cast<const float4*>(y)[i / 4];
    reinterpret_cast<float4*>(z)[i / 4] = make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
  } else {
    for (; i < n; i++) z[i] = x[i] + y[i];
  }
}
"""

SUM = """
__device__ float warp_sum(float v) {
  for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(0xffffffffu, v, d);
  return v;
}

__global__ void __launch_bounds__(256) sum(const float* x, float* out, int n) {
  __shared__ float parts[8];
  float v = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) v += x[i];
  v = warp_sum(v);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
  __syncthreads();
  if (threadIdx.x == 0) {
    float total = 0;
    for (int w = 0; w < 8; w++) total += parts[w];
    out[0] = total;
  }
}
"""


@pytest.fixture
def on_cpu() -> None:
    """Skips where there is no g++ that runs kernels."""
    try:
        cuda_build.versions()
    except NotRunError as error:
        unavailable(str(error))


@pytest.fixture
def nvrtc() -> None:
    """Skips where there is no NVRTC."""
    try:
        cuda_nvrtc.versions()
    except NotRunError as error:
        unavailable(str(error))
