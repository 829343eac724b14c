"""CUDA kernels where their tensors are: on the CPU by `cuda_cpu`, on a GPU by the driver, from NVRTC's machine code."""

import ctypes
import functools
import re
import sys
from collections.abc import Sequence
from typing import Any

from workbook.gpu import cuda_launch, cuda_source
from workbook.gpu.code import GpuCode, NotRunError
from workbook.gpu.cuda_arguments import ALIGNED
from workbook.gpu.cuda_cpu import Ran, run_on_cpu
from workbook.gpu.cuda_nvrtc import compile_cuda

_LARGE = 48 << 10  # bytes of dynamic shared memory beyond which a kernel must ask


def run_cuda(
    source: str,
    name: str,
    grid: int | Sequence[int],
    block: int | Sequence[int],
    arguments: Sequence[Any],
    *,
    shared: int = 0,
    seed: int | None = None,
) -> Ran:
    """Runs a kernel: on copies of its tensors, which are all on the CPU or all on one GPU.

    Args:
        source: CUDA C; see `cuda_source` for what it may hold.
        name: Of the `__global__` function.
        grid: Blocks, in one to three dimensions.
        block: Threads of a block, likewise.
        arguments: For each parameter: a tensor for a pointer, else a number.
        shared: Bytes of dynamic shared memory.
        seed: Of the order in which blocks and threads run on a CPU; a GPU has an order of its own.

    Raises:
        CompileError: The text may not be compiled, or cannot be.
        CudaFault: On a CPU: the kernel does something wrong.
        NotRunError: What it takes is missing; says what.
        RuntimeError: On a GPU: the driver reports an error.
        TypeError: The arguments are not of the kernel's types.
        ValueError: There can be no such launch.
    """
    if any(getattr(argument, "is_cuda", False) for argument in arguments):
        return _run_on_gpu(source, name, grid, block, arguments, shared)
    return run_on_cpu(source, name, grid, block, arguments, shared=shared, seed=seed)


@functools.cache
def no_gpu() -> str:
    """Returns why there is no GPU to run on, beginning with "not run:"; nothing where there is one."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return "not run: no GPU, for NVIDIA's driver is not installed"
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "not run: no GPU"
    return ""


def symbol(code: GpuCode) -> str:
    """Returns the name of a kernel as it stands in its machine code, where C++ has put its types into it."""
    entries: list[str] = re.findall(r"\.entry\s+(\w+)", code.ptx)
    own = [entry for entry in entries if entry == code.name or entry.startswith(f"_Z{len(code.name)}{code.name}")]
    if len(own) != 1:
        raise ValueError(f"the machine code has the kernels {', '.join(entries)}: which is {code.name} is not clear")
    return own[0]


def _run_on_gpu(
    source: str, name: str, grid: int | Sequence[int], block: int | Sequence[int], arguments: Sequence[Any], shared: int
) -> Ran:
    if reason := no_gpu():
        raise NotRunError(reason)
    import torch
    from cuda.bindings import driver  # type: ignore[import-untyped,unused-ignore]

    signature = cuda_source.kernel(source, name)
    device = next(argument.device for argument in arguments if getattr(argument, "is_cuda", False))
    major, minor = torch.cuda.get_device_capability(device)
    blocks, threads = cuda_launch.three(grid), cuda_launch.three(block)
    copies: dict[str, torch.Tensor] = {}
    values: list[Any] = []
    kinds: list[Any] = []
    known: dict[int, torch.Tensor] = {}
    for parameter, value in zip(signature.parameters, arguments, strict=True):
        if parameter.pointer:
            copies[parameter.name] = known.setdefault(id(value), _copy(value))
            values.append(copies[parameter.name].data_ptr())
            kinds.append(ctypes.c_void_p)
        else:
            values.append(value)
            kinds.append(_C_TYPES[parameter.code])

    def done(answer: Sequence[Any]) -> Any:
        result, *given = answer
        if result != driver.CUresult.CUDA_SUCCESS:
            raise RuntimeError(f"{name}: the driver says {result.name}")
        return given[0] if given else None

    with torch.cuda.device(device):
        limit = driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        most = done(driver.cuDeviceGetAttribute(limit, torch.cuda.current_device()))
        cuda_launch.check(blocks, threads, shared, most)
        torch.cuda.current_stream().synchronize()
        code = compile_cuda(source, name, 10 * major + minor)
        module = done(driver.cuModuleLoadData(code.cubin))
        try:
            function = done(driver.cuModuleGetFunction(module, symbol(code).encode()))
            if shared > _LARGE:
                attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
                done(driver.cuFuncSetAttribute(function, attribute, shared))
            stream = torch.cuda.current_stream().cuda_stream
            done(driver.cuLaunchKernel(function, *blocks, *threads, shared, stream, (tuple(values), tuple(kinds)), 0))
            done(driver.cuStreamSynchronize(stream))
        finally:
            driver.cuModuleUnload(module)
    return Ran(copies, {})


_C_TYPES = {
    **{"f": ctypes.c_float, "d": ctypes.c_double, "?": ctypes.c_bool},
    **{"b": ctypes.c_int8, "B": ctypes.c_uint8, "h": ctypes.c_int16, "H": ctypes.c_uint16},
    **{"i": ctypes.c_int32, "I": ctypes.c_uint32, "q": ctypes.c_int64, "Q": ctypes.c_uint64},
}


def _copy(tensor: Any) -> Any:
    """Returns a copy of the same layout, as far from an aligned place as the tensor is."""
    import torch

    offset = tensor.storage_offset() % (ALIGNED // tensor.element_size())
    length = 1 + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    if not tensor.numel():
        return torch.empty_like(tensor)
    storage = torch.empty(offset + length, dtype=tensor.dtype, device=tensor.device)
    storage[offset:] = tensor.detach().as_strided((length,), (1,))
    return storage.as_strided(tensor.shape, tensor.stride(), offset)
