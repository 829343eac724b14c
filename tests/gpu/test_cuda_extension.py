"""CUDA kernels as functions of torch: what is written around them, and, as far as it goes without a GPU, built.

The whole of it is built and called by `-m slow`, a minute: there a library stands for CUDA's runtime that writes down
what is launched, and tensors of the CPU stand for a GPU's. What a kernel computes there, tests/gpu/test_on_gpu.py asks.
"""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.gpu.cuda_samples import ADD
from tests.system import need, unavailable
from workbook.gpu import compiling, cuda_extension, cuda_nvcc, cuda_source
from workbook.gpu.code import CompileError, NotRunError
from workbook.gpu.cuda_extension import Joined, errors, joined, launcher_file, wrapper_of

ADD_LAUNCHER = """\
namespace workbook_extension {

void launch(dim3 grid, dim3 block, int shared, cudaStream_t stream, void* p0, void* p1, void* p2, int p3) {
  if (shared > 48 << 10) {
    int device = 0, most = 0;
    C10_CUDA_CHECK(cudaGetDevice(&device));
    C10_CUDA_CHECK(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    TORCH_CHECK_VALUE(shared <= most, "a block has at most ", most, " bytes of shared memory here, not ", shared);
    C10_CUDA_CHECK(cudaFuncSetAttribute(::add, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
  }
  ::add<<<grid, block, shared, stream>>>(
      static_cast<const float *>(p0),
      static_cast<const float *>(p1),
      static_cast<float *>(p2),
      p3);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

}  // namespace workbook_extension
"""

ADD_BINDING = """\
void launch(dim3 grid, dim3 block, int shared, cudaStream_t stream, void* p0, void* p1, void* p2, int p3);

}  // namespace workbook_extension

void launch(std::array<unsigned, 3> grid, std::array<unsigned, 3> block, int shared, py::tuple given) {
  using namespace workbook_extension;
  TORCH_CHECK_TYPE(given.size() == 4, "add takes 4 arguments (x, y, z, n), not ", given.size());
  Tensors tensors;
  void* p0 = tensors.address(PyTuple_GET_ITEM(given.ptr(), 0), "x", "const float * __restrict__",
                             "float32", {at::kFloat}, CONTIGUOUS, READ);
  void* p1 = tensors.address(PyTuple_GET_ITEM(given.ptr(), 1), "y", "const float *",
                             "float32", {at::kFloat}, CONTIGUOUS, READ);
  void* p2 = tensors.address(PyTuple_GET_ITEM(given.ptr(), 2), "z", "float *",
                             "float32", {at::kFloat}, CONTIGUOUS, WRITTEN);
  int p3 = number<int>(PyTuple_GET_ITEM(given.ptr(), 3), "n", "int");
  c10::cuda::OptionalCUDAGuard guard(tensors.device);
  workbook_extension::launch(three(grid), three(block), shared, c10::cuda::getCurrentCUDAStream(), p0, p1, p2, p3);
  tensors.changed();
}
"""

EVERY = """
// every type of a parameter, and names that the wrapper uses too
__global__ void every(
    float* grid, const double* block, bool* shared, signed char* stream, unsigned char* p0, const short* given,
    uint16_t* tensors, int* launch, unsigned* device, long long* i64, uint64_t* u64, half* f16,
    const __nv_bfloat16* bf16, float4* vectors, const volatile int* v, int* __restrict__ const last,
    float f, double d, bool b, signed char i8, unsigned char u8, short i16, unsigned short u16, int i, unsigned u,
    int64_t q, size_t s, half h) {
  if (threadIdx.x == 0) {
    f16[0] = h + f16[1] * half(f);  // operators and conversions that torch takes away
    grid[0] = d + block[0] + float(bf16[0]) + INFINITY + v[0] + vectors[0].x + i8 + u8 + i16 + u16 + i + u + q + s + b;
  }
}
"""


def kernel(source: str = ADD, name: str = "add") -> cuda_source.Signature:
    return cuda_source.kernel(source, name)


def test_a_vector_addition_is_launched() -> None:
    assert wrapper_of(kernel()).launcher == ADD_LAUNCHER


def test_the_arguments_of_a_vector_addition_are_checked() -> None:
    binding = wrapper_of(kernel()).binding
    assert binding.endswith(ADD_BINDING)
    assert "kernel.cu" not in binding
    assert "::add" not in binding


def test_the_text_keeps_its_lines() -> None:
    lines = launcher_file(ADD, wrapper_of(kernel())).split("\n")
    at = lines.index('#line 1 "kernel.cu"') + 1
    assert lines[at : at + ADD.count("\n") + 1] == ADD.split("\n")
    assert lines[at + ADD.count("\n") + 1] == '#line 1 "launcher.cu"'


@pytest.mark.parametrize(
    ("written", "binding", "launcher"),
    [
        ("float* x", '"float32", {at::kFloat}, CONTIGUOUS, WRITTEN', "static_cast<float *>(p0)"),
        ("double const* x", '"float64", {at::kDouble}, CONTIGUOUS, READ', "static_cast<double const *>(p0)"),
        ("float* const x", '"float32", {at::kFloat}, CONTIGUOUS, WRITTEN', "static_cast<float *>(p0)"),
        ("const volatile int* x", "{at::kInt, at::kUInt32}, CONTIGUOUS, READ", "static_cast<const volatile int *>(p0)"),
        ("float4* __restrict__ x", '"float32", {at::kFloat}', "static_cast<float4 *>(p0)"),
        ("const half2* x", '"float16", {at::kHalf}, CONTIGUOUS, READ', "static_cast<const half2 *>(p0)"),
        ("nv_bfloat16* x", '"bfloat16", {at::kBFloat16}', "static_cast<nv_bfloat16 *>(p0)"),
        ("bool* x", '"bool", {at::kBool}', "static_cast<bool *>(p0)"),
        ("uint8_t* x", '"uint8", {at::kByte, at::kChar}', "static_cast<uint8_t *>(p0)"),
        ("char* x", '"int8", {at::kChar, at::kByte}', "static_cast<char *>(p0)"),
        ("short* x", '"int16", {at::kShort, at::kUInt16}', "static_cast<short *>(p0)"),
        ("size_t* x", '"int64", {at::kLong, at::kUInt64}', "static_cast<size_t *>(p0)"),
        ("float x", "float p0 = number<float>(", "\n      p0);"),
        ("const double x", "double p0 = number<double>(", "\n      p0);"),
        ("half x", "float p0 = number<c10::Half>(", "__float2half(p0)"),
        ("bool x", "bool p0 = number<bool>(", "\n      p0);"),
        ("char x", "signed char p0 = number<signed char>(", "\n      p0);"),
        ("uint8_t x", "unsigned char p0 = number<unsigned char>(", "\n      p0);"),
        ("unsigned short x", "unsigned short p0 = number<unsigned short>(", "\n      p0);"),
        ("unsigned x", "unsigned int p0 = number<unsigned int>(", "\n      p0);"),
        ("int64_t x", "long long p0 = number<long long>(", "\n      p0);"),
        ("size_t x", "unsigned long long p0 = number<unsigned long long>(", "\n      p0);"),
    ],
)
def test_each_type_is_taken_as_what_it_is(written: str, binding: str, launcher: str) -> None:
    made = wrapper_of(kernel(f"__global__ void k({written}) {{}}", "k"))
    assert binding in made.binding
    assert launcher in made.launcher


def test_a_kernel_may_have_no_parameters() -> None:
    made = wrapper_of(kernel("__global__ void k() {}", "k"))
    assert "::k<<<grid, block, shared, stream>>>();" in made.launcher
    assert "getCurrentCUDAStream());" in made.binding


def test_strides_are_the_kernels_own_where_it_says_so() -> None:
    binding = wrapper_of(kernel(), strided=["x"]).binding
    assert '"float32", {at::kFloat}, STRIDED, READ' in binding
    assert binding.count(", CONTIGUOUS, ") == 2
    for wrong, said in ((["n"], "not n"), (["q", "x"], "not q"), ("x", "not 'x'")):
        with pytest.raises(ValueError, match=rf"pointers of add \(x, y, z\), {said}"):
            wrapper_of(kernel(), strided=wrong)


def test_a_number_that_python_has_none_of_is_refused() -> None:
    with pytest.raises(TypeError, match=r"b is __nv_bfloat16.*take a float"):
        wrapper_of(kernel("__global__ void k(__nv_bfloat16 b) {}", "k"))


def test_without_a_gpu_it_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_extension, "no_gpu", lambda: "not run: no GPU")
    monkeypatch.setattr(cuda_extension, "built", None)
    with pytest.raises(NotRunError, match=r"^not run: no GPU$"):
        joined(ADD, "add")
    with pytest.raises(CompileError, match="defines no kernel sub"):  # what is wrong everywhere is told everywhere
        joined(ADD, "sub")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def says(reason: str) -> None:
        with pytest.raises(NotRunError, match=f"^not run: {reason}"):
            cuda_extension.need()

    def missing() -> Path:
        raise NotRunError("not run: nvcc is missing")

    monkeypatch.setattr(cuda_extension, "no_gpu", lambda: "")
    monkeypatch.setattr(torch.version, "cuda", None)
    says("this torch is built without CUDA")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    says("torch finds no GPU")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda_nvcc, "nvcc", missing)
    says("nvcc is missing")
    monkeypatch.setattr(cuda_nvcc, "nvcc", lambda: tmp_path / "cu12" / "bin" / "nvcc")
    says("nvcc is of CUDA 12, and torch of CUDA 13.0")
    monkeypatch.setattr(cuda_nvcc, "nvcc", lambda: tmp_path / "cu13" / "bin" / "nvcc")
    monkeypatch.setattr(cuda_extension, "_path", lambda: str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    says("`c\\+\\+` is missing: install the Debian package g\\+\\+")
    for command in ("c++", "ninja"):
        (tmp_path / command).touch(mode=0o700)
        if command == "c++":
            says("`ninja` is missing")
    assert cuda_extension.need() == tmp_path / "cu13"


def test_a_launch_that_cannot_be_is_refused_before_cuda_is_asked() -> None:
    class Module:
        launched: tuple[Any, ...] = ()

        def launch(self, *given: Any) -> None:
            self.launched = given

    module = Module()
    add = Joined(kernel(), module)
    assert repr(add) == "<add(grid, block, x, y, z, n, shared=0) on a GPU>"
    for grid, block, shared in ((0, 1, 0), (1, 1025, 0), ((1, 65536), 1, 0), ((1, 1, 1, 1), 1, 0), (1, 1, -1)):
        with pytest.raises(ValueError, match=r"block|grid|shared"):
            add(grid, block, 1, 2, 3, 4, shared=shared)
    assert not module.launched
    add((2, 3), 64, "x", "y", "z", 4, shared=16)
    assert module.launched == ([2, 3, 1], [64, 1, 1], 16, ("x", "y", "z", 4))


def test_errors_are_found_in_what_a_build_says() -> None:
    log = """Error building extension 'a': [1/3] /x/nvcc -Werror=none -c cuda.cu
FAILED: [code=2] cuda.cuda.o
/x/nvcc -c cuda.cu
kernel.cu(4): error: identifier "j" is undefined
    if (j < n) z[i] = x[i];
        ^

1 error detected in the compilation of "cuda.cu".
[2/3] c++ -c main.cpp
ninja: build stopped: subcommand failed.
"""
    found = errors(log)
    assert found.startswith('line 4: identifier "j" is undefined\n    if (j < n)')
    assert "nvcc" not in found
    assert "ninja" not in found
    assert errors("no compiler\n") == "no compiler"


@pytest.fixture
def headers() -> list[str]:
    """The flags with which both compilers find torch's headers, which the CPU's wheels have too, but for one."""
    from torch.utils import cpp_extension

    try:
        home = cuda_nvcc.nvcc().parent.parent
    except NotRunError as error:
        unavailable(str(error))
    folders = cpp_extension.include_paths("cpu")
    if not Path(folders[0], "c10", "cuda", "CUDAGuard.h").is_file():
        unavailable("this torch comes without the headers c10/cuda")
    given = [flag for folder in (*folders, home / "include") for flag in ("-isystem", str(folder))]
    if not Path(folders[0], "c10", "cuda", "impl", "cuda_cmake_macros.h").is_file():
        given.append("-DC10_CUDA_NO_CMAKE_CONFIGURE_FILE")
    return given


def test_the_launch_compiles_with_every_type(headers: list[str], tmp_path: Path) -> None:
    from torch.utils import cpp_extension

    need("g++", "g++")
    file = tmp_path / "cuda.cu"
    file.write_text(launcher_file(EVERY, wrapper_of(kernel(EVERY, "every"))))
    flags = [*cpp_extension.COMMON_NVCC_FLAGS, "-arch=sm_90", "-cubin", *cuda_extension.FLAGS, *headers]
    command = [str(cuda_nvcc.nvcc()), *flags, str(file), "-o", str(tmp_path / "cubin")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    assert (tmp_path / "cubin").read_bytes().startswith(b"\x7fELF")


def test_the_checks_compile_with_every_type(headers: list[str], tmp_path: Path) -> None:
    compiler = need("g++", "g++")
    file = tmp_path / "main.cpp"
    file.write_text(wrapper_of(kernel(EVERY, "every"), strided=["given"]).binding)
    python = sysconfig.get_path("include")
    if not Path(python, "Python.h").is_file():
        unavailable("Python.h is missing: install the Debian package python3-dev")
    command = [compiler, "-std=c++20", "-fsyntax-only", "-Wall", "-Werror", *headers, "-isystem", python, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[:4000]


RUNTIME = r"""
// Stands for CUDA's runtime, and for torch's library over it: writes down what is launched.
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAStream.h>
#include <cstring>

extern "C" {
unsigned launched[8];  // how often, grid, block, shared
unsigned long long given[64];
int parameters, failure, asked;

cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void*) { *kernel = nullptr; return cudaSuccess; }
cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3 grid, dim3 block, void** args, size_t shared, cudaStream_t) {
  const unsigned now[] = {launched[0] + 1, grid.x, grid.y, grid.z, block.x, block.y, block.z, unsigned(shared)};
  std::memcpy(launched, now, sizeof now);
  for (int i = 0; i < parameters; i++) std::memcpy(&given[i], args[i], 8);
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return cudaError_t(failure); }
cudaError_t cudaGetDevice(int* device) { *device = 0; return cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) { *value = 227 << 10; return cudaSuccess; }
cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int value) { asked = value; return cudaSuccess; }
}

namespace c10::cuda {
DeviceIndex device_count() noexcept { return 1; }
cudaError_t GetDevice(DeviceIndex* device) { *device = 0; return cudaSuccess; }
cudaError_t SetDevice(DeviceIndex, const bool) { return cudaSuccess; }
cudaError_t MaybeSetDevice(DeviceIndex) { return cudaSuccess; }
DeviceIndex ExchangeDevice(DeviceIndex) { return 0; }
CUDAStream getDefaultCUDAStream(DeviceIndex) {
  return CUDAStream(CUDAStream::UNCHECKED, Stream(Stream::DEFAULT, Device(DeviceType::CUDA, 0)));
}
CUDAStream getCurrentCUDAStream(DeviceIndex) { return getDefaultCUDAStream(0); }
CUDAStream getStreamFromPool(const bool, DeviceIndex) { return getDefaultCUDAStream(0); }
CUDAStream getStreamFromPool(const int, DeviceIndex) { return getDefaultCUDAStream(0); }
void setCurrentCUDAStream(CUDAStream) {}
cudaStream_t CUDAStream::stream() const { return nullptr; }
bool CUDAStream::query() const { return true; }
void CUDAStream::synchronize() const {}
void c10_cuda_check_implementation(const int32_t error, const char*, const char*, const uint32_t, const bool) {
  TORCH_CHECK(!error, "CUDA error ", error);
}
namespace CUDACachingAllocator { std::atomic<CUDAAllocator*> allocator; }
}
"""

SCRIPT = """
import ctypes, json, sys
from pathlib import Path
import torch
from tests.gpu import test_cuda_extension
home, libraries, flags = json.loads(sys.argv[1])
for name in ("c10_cuda", "torch_cuda"):
    runtime = ctypes.CDLL(f"{libraries}/lib{name}.so", ctypes.RTLD_GLOBAL)
    if name == "c10_cuda":
        kept = runtime
getattr(test_cuda_extension, sys.argv[2])(kept, Path(home), libraries, flags)
"""


@pytest.fixture
def in_process(headers: list[str], tmp_path: Path) -> Callable[[str], None]:
    """Calls a function of this file in a process where that library stands for CUDA's runtime."""
    compiler = need("g++", "g++")
    for name, text in (("c10_cuda", RUNTIME), ("torch_cuda", "")):
        file = tmp_path / f"{name}.cpp"
        file.write_text(text)
        library = ["-shared", "-fPIC", f"-Wl,-soname,lib{name}.so", str(file), "-o", str(tmp_path / f"lib{name}.so")]
        library += [f"-L{Path(torch.__file__).parent / 'lib'}", "-lc10"]
        subprocess.run([compiler, "-std=c++20", *headers, *library], check=True, timeout=240)

    def call(function: str) -> None:
        home = str(cuda_nvcc.nvcc().parent.parent)
        given = json.dumps([home, str(tmp_path), [flag for flag in headers if flag.startswith("-D")]])
        root = str(Path(__file__).parents[2])
        environment = {**os.environ, "WORKBOOK_CACHE": str(tmp_path / "cache"), "PYTHONPATH": root}
        command = [sys.executable, "-c", SCRIPT, given, function]
        done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment, check=False)
        assert done.returncode == 0, done.stderr[-8000:]

    return call


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_is_built_and_called(in_process: Callable[[str], None]) -> None:
    in_process("call_every")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_does_not_compile_is_an_error_with_its_line(in_process: Callable[[str], None]) -> None:
    in_process("call_wrong")


def on_cpu(
    source: str, name: str, home: Path, libraries: str, flags: list[str], strided: tuple[str, ...] = ()
) -> Joined:
    """Builds a kernel of which the arguments lie on the CPU; all else is as on a GPU."""
    signature = cuda_source.kernel(source, name)
    made = wrapper_of(signature, strided=strided)
    assert made.binding.count("tensor.is_cuda()") == made.binding.count("guard(tensors.device)") == 1
    binding = made.binding.replace("tensor.is_cuda()", "tensor.is_cpu()").replace("guard(tensors.device)", "guard")
    wrapper = cuda_extension.Wrapper(made.launcher, binding)
    module = cuda_extension.built(source, name, wrapper, home, [80, 90], flags=flags, libraries=[libraries])
    again = cuda_extension.built(source, name, wrapper, home, [80, 90], flags=flags, libraries=[libraries])
    assert again is module
    return Joined(signature, module)


def call_wrong(runtime: Any, home: Path, libraries: str, flags: list[str]) -> None:
    """A kernel that does not compile; runs in a process of its own."""
    from torch.utils import cpp_extension

    before = cpp_extension.CUDA_HOME, os.environ["PATH"]
    with pytest.raises(CompileError, match=r'^line 4: identifier "j" is undefined\n') as raised:
        on_cpu(ADD.replace("(i < n)", "(j < n)"), "add", home, libraries, flags)
    assert "main.cpp" not in str(raised.value)
    assert before == (cpp_extension.CUDA_HOME, os.environ["PATH"])


def call_every(runtime: Any, home: Path, libraries: str, flags: list[str]) -> None:
    """A kernel with every type is called, rightly and wrongly; runs in a process of its own."""
    import ctypes
    import struct

    every = on_cpu(EVERY, "every", home, libraries, flags, ("given",))
    assert list((compiling.folder().parent / "extensions").glob("every-*/workbook_*.so"))
    parameters = every.signature.parameters
    ctypes.c_int.in_dll(runtime, "parameters").value = len(parameters)
    launched = (ctypes.c_uint * 8).in_dll(runtime, "launched")
    given = (ctypes.c_ulonglong * 64).in_dll(runtime, "given")
    pointers = [torch.zeros(8, dtype=getattr(torch, each.dtype)) for each in parameters if each.pointer]
    numbers: list[Any] = [0.1, 0.1, True, -128, 255, -32768, 65535, -(2**31), 2**32 - 1, -(2**63), 2**64 - 1, 0.1]
    right = [*pointers, *numbers]
    versions = [tensor._version for tensor in pointers]

    every((2, 3, 4), (32, 2), *right, shared=64)
    assert list(launched) == [1, 2, 3, 4, 32, 2, 1, 64]
    for parameter, value, bits in zip(parameters, right, given, strict=False):
        if parameter.pointer:
            assert bits == value.data_ptr(), parameter
        else:
            assert bits.to_bytes(8, "little").startswith(struct.pack(parameter.code, value)), parameter
    for tensor, version, parameter in zip(pointers, versions, parameters, strict=False):
        written = "const" not in parameter.type.split("*")[0]
        assert tensor._version == version + written, parameter

    def place(name: str) -> int:
        return [parameter.name for parameter in parameters].index(name)

    def call(name: str, value: Any, **more: Any) -> None:
        every(1, 1, *right[: place(name)], value, *right[place(name) + 1 :], **more)

    def refused(error: type[Exception], match: str, name: str, value: Any, **more: Any) -> None:
        before = launched[0]
        with pytest.raises(error, match=match):
            call(name, value, **more)
        assert launched[0] == before

    with pytest.raises(TypeError, match=r"every takes 28 arguments \(grid, block, .*, h\), not 27"):
        every(1, 1, *right[:-1])
    refused(TypeError, r"grid is float \*, so it takes a tensor, not 3", "grid", 3)
    refused(
        TypeError, r"grid is float \*, so it takes torch.float32, not torch.float64", "grid", torch.zeros(3).double()
    )
    refused(ValueError, r"\[3, 2\] and the strides \[1, 3\], so it is not contig", "grid", torch.zeros(2, 3).T)
    refused(RuntimeError, "grid requires a gradient", "grid", torch.zeros(3, requires_grad=True))
    refused(TypeError, "grid is a tensor on meta", "grid", torch.zeros(3, device="meta"))
    refused(TypeError, "grid is a sparse tensor", "grid", torch.zeros(3).to_sparse())
    refused(TypeError, "i is int, and 1.0 is no such number", "i", 1.0)
    refused(TypeError, "f is float, and tensor.* is no such number", "f", torch.tensor(1.0))
    for name, value in (("i", 2**31), ("u", -1), ("u8", 256), ("i8", -129), ("s", 2**64), ("q", 2**63), ("u16", -1)):
        refused(TypeError, f"{name} is .*, and {value} does not fit", name, value)
    for name, value in (("f", 1e39), ("h", 65520.0), ("d", 10**400), ("f", -(10**40))):
        refused(TypeError, f"{name} is .* does not fit", name, value)
    refused(ValueError, "at most 232448 bytes of shared memory here, not 232449", "i", 1, shared=232449)

    call("given", torch.zeros(4, 6, dtype=torch.int16).T)  # its strides are the kernel's own affair
    call("device", torch.zeros(3, dtype=torch.uint32))
    call("f", float("inf"))
    call("h", 65519)
    with torch.no_grad():
        call("grid", torch.zeros(3, requires_grad=True))
    with torch.inference_mode():
        call("grid", torch.zeros(3))
    call("i", 1, shared=100 << 10)
    assert ctypes.c_int.in_dll(runtime, "asked").value == launched[7] == 100 << 10

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            out = torch.empty_like(x)
            call("grid", out)
            return out

        @staticmethod
        def backward(_: Any, *gradients: torch.Tensor) -> torch.Tensor:
            call("grid", torch.empty_like(gradients[0]))
            return gradients[0] * 2

    x, before = torch.ones(3, requires_grad=True), launched[0]
    Twice.apply(x).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.tolist() == [2, 2, 2]
    assert launched[0] == before + 2
    saved = torch.ones(3, requires_grad=True)
    between = saved * 1
    product = between * between
    with torch.no_grad():
        call("grid", between)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):  # the kernel wrote what was saved
        product.sum().backward()  # type: ignore[no-untyped-call]
    ctypes.c_int.in_dll(runtime, "failure").value = 9
    with pytest.raises(RuntimeError, match="CUDA error 9"):
        call("i", 1)
