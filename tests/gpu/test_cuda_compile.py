"""CUDA C compiled by NVRTC and nvcc, without a GPU."""

import pytest

from tests.gpu.cuda_samples import ADD, ADD4, nvrtc  # noqa: F401 - a fixture
from workbook.gpu.code import CompileError, NotRunError
from workbook.gpu.cuda_gpu import no_gpu, symbol
from workbook.gpu.cuda_nvcc import compile_program, run_program
from workbook.gpu.cuda_nvrtc import compile_cuda

pytestmark = pytest.mark.usefixtures("nvrtc")

PROGRAM = """
#include <cstdio>
__global__ void twice(float* x) { x[threadIdx.x] *= 2; }
int main() {
  float* x;
  cudaError_t error = cudaMalloc(&x, 128);
  if (error) { printf("%s\\n", cudaGetErrorString(error)); return 1; }
  twice<<<1, 32>>>(x);
  printf("%s\\n", cudaGetErrorString(cudaDeviceSynchronize()));
}
"""


@pytest.mark.parametrize("arch", [80, 90, 100])
def test_a_kernel_becomes_machine_code(arch: int) -> None:
    code = compile_cuda(ADD, "add", arch)
    assert code.cubin.startswith(b"\x7fELF")
    assert f".target sm_{arch}" in code.ptx
    assert symbol(code) == "add"
    assert symbol(compile_cuda(ADD4, "add", arch)) == "_Z3addPKfS0_Pfi"


def test_wide_loads_are_in_the_code() -> None:
    assert "ld.global.v4" in compile_cuda(ADD4, "add", 90).ptx
    assert "v4" not in compile_cuda(ADD, "add", 90).ptx


def test_the_same_text_gives_the_same_code() -> None:
    assert compile_cuda(ADD, "add", 90).sha256 == compile_cuda(ADD, "add", 90).sha256
    assert compile_cuda(ADD, "add", 90).sha256 != compile_cuda(ADD, "add", 90, max_registers=16).sha256


def test_an_error_is_a_message_with_its_line() -> None:
    with pytest.raises(CompileError, match='line 4: identifier "j" is undefined'):
        compile_cuda(ADD.replace("int i", "int q").replace("(i < n)", "(j < n)"), "add", 90)
    with pytest.raises(CompileError, match="too much shared data"):
        compile_cuda("__global__ void k(int* z) { __shared__ int b[20000]; b[z[0]] = 1; z[1] = b[z[2]]; }", "k", 90)


def test_a_program_with_host_code_compiles_and_says_that_there_is_no_gpu() -> None:
    program = compile_program(PROGRAM)
    if no_gpu():
        with pytest.raises(NotRunError, match=r"not run: no GPU.*driver"):
            run_program(program)
    else:
        assert run_program(program) == "no error\n"
    with pytest.raises(CompileError, match='identifier "x" is undefined'):
        compile_program("int main() { return x; }")
