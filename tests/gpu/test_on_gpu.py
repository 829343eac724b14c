"""What `inspect` reads from machine code, against what the driver says of it: needs a GPU.

pytest tests/gpu/test_on_gpu.py -rs
"""

from typing import Any

import pytest

from tests.gpu import samples
from workbook.gpu.code import GpuCode, NotRunError
from workbook.gpu.inspection import Inspection, inspect
from workbook.gpu.measure import do_bench, need_gpu


@pytest.fixture(scope="module")
def driver() -> Any:
    """CUDA's driver, with a context on the GPU."""
    try:
        need_gpu()
    except NotRunError as error:
        pytest.skip(str(error))  # not with REQUIRE_ALL=1 either: CI has no GPU
    import torch
    from cuda.bindings import driver  # type: ignore[import-untyped]

    torch.cuda.synchronize()
    return driver


@pytest.fixture(scope="module")
def arch(driver: Any) -> int:
    import torch

    major, minor = torch.cuda.get_device_capability()
    if 10 * major + minor not in samples.ARCHS:
        pytest.skip(f"not run: the samples are compiled for {samples.ARCHS}, the GPU is sm_{major}{minor}")
    return 10 * major + minor


def check(result: tuple[Any, ...]) -> Any:
    assert int(result[0]) == 0, result
    return result[1] if len(result) > 1 else None


def agrees(driver: Any, code: GpuCode, found: Inspection) -> None:
    """Holds registers, local and shared memory and occupancy against the driver's."""
    module = check(driver.cuModuleLoadData(code.cubin))
    try:
        function = check(driver.cuModuleGetFunction(module, found.name.encode()))
        attribute = driver.CUfunction_attribute

        def value(name: str) -> int:
            return int(check(driver.cuFuncGetAttribute(getattr(attribute, f"CU_FUNC_ATTRIBUTE_{name}"), function)))

        assert found.registers == value("NUM_REGS")
        assert found.stack == value("LOCAL_SIZE_BYTES")
        # on sm_90 and later a driver may count in what the system reserves
        assert value("SHARED_SIZE_BYTES") in (found.static_shared, found.static_shared + found.limits.shared_reserved)
        if found.dynamic_shared:
            largest = attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            check(driver.cuFuncSetAttribute(function, largest, found.dynamic_shared))
        blocks = driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(function, found.threads, found.dynamic_shared)
        assert found.occupancy is not None
        assert found.occupancy.blocks == check(blocks)
    finally:
        check(driver.cuModuleUnload(module))


@pytest.mark.parametrize("name", samples.cuda_names())
@pytest.mark.parametrize("threads", [64, 256, 1024])
def test_the_driver_agrees_about_cuda(driver: Any, arch: int, name: str, threads: int) -> None:
    code = samples.cuda(name, arch)
    shared = 4 * threads if name == "dynamic" else 0
    agrees(driver, code, inspect(code, threads=samples.THREADS.get(name, threads), shared=shared))


def test_the_driver_agrees_about_triton(driver: Any, arch: int) -> None:
    for code in (samples.add(arch), samples.flash(arch), samples.flash(arch, warps=1)):
        agrees(driver, code, inspect(code))


def test_the_limits_are_the_gpus(driver: Any, arch: int) -> None:
    device = check(driver.cuCtxGetDevice())
    kind = driver.CUdevice_attribute

    def value(name: str) -> int:
        return int(check(driver.cuDeviceGetAttribute(getattr(kind, f"CU_DEVICE_ATTRIBUTE_{name}"), device)))

    limits = inspect(samples.add(arch)).limits
    assert limits.threads == value("MAX_THREADS_PER_MULTIPROCESSOR")
    assert limits.blocks == value("MAX_BLOCKS_PER_MULTIPROCESSOR")
    assert limits.registers == value("MAX_REGISTERS_PER_MULTIPROCESSOR")
    assert limits.shared == value("MAX_SHARED_MEMORY_PER_MULTIPROCESSOR")
    assert limits.shared_per_block == value("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN")
    assert limits.shared_reserved == value("RESERVED_SHARED_MEMORY_PER_BLOCK")


def test_a_copy_is_measured(driver: Any) -> None:
    import torch

    x = torch.empty(1 << 26, device="cuda")
    found = do_bench(x.clone)
    assert 0 < found.quartiles.low <= found.median <= found.quartiles.high < 1


def test_a_kernel_is_a_function_of_torch(driver: Any) -> None:
    import torch

    from tests.gpu.cuda_samples import ADD4
    from workbook.gpu.cuda_extension import joined

    add = joined(ADD4, "add")

    class Sum(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            z = torch.full_like(x, torch.nan)
            add(1, 256, x, y, z, x.numel())
            return z

        @staticmethod
        def backward(_: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return gradients[0], gradients[0]

    x, y = (torch.rand(1001, device="cuda", requires_grad=True) for _ in range(2))
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        # on another stream the kernel would be done before x is doubled
        torch.cuda._sleep(10_000_000)  # type: ignore[no-untyped-call]
        twice = x * 2
        z = Sum.apply(twice, y)  # type: ignore[no-untyped-call]
        z.sum().backward()
    side.synchronize()
    assert torch.equal(z, x * 2 + y)
    assert x.grad is not None
    assert (x.grad == 2).all()
    with pytest.raises(TypeError, match=r"y is a tensor on cpu"):
        add(1, 256, x.detach(), y.detach().cpu(), z.detach(), 1001)
    with pytest.raises(ValueError, match=r"bytes of shared memory here"):
        add(1, 256, x.detach(), y.detach(), z.detach(), 1001, shared=1 << 20)
