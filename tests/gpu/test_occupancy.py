"""Occupancy, against what NVIDIA documents and against NVIDIA's own header."""

import itertools
import subprocess
from pathlib import Path

import pytest
from cuxray import archspec  # type: ignore[import-untyped]
from cuxray.occupancy import compute  # type: ignore[import-untyped]

from tests.gpu.test_chips import header
from tests.system import need
from workbook.gpu.chips import ARCHITECTURES, architecture
from workbook.gpu.occupancy import occupancy

REGISTERS = (0, 1, 16, 24, 32, 33, 37, 40, 64, 65, 96, 128, 155, 168, 200, 255)
THREADS = (1, 32, 64, 96, 128, 160, 256, 320, 384, 512, 640, 768, 1000, 1024)
SHARED = (0, 1, 1024, 12 * 1024, 40960, 48 * 1024, 65536, 98304)
GRID = list(itertools.product(REGISTERS, THREADS, SHARED))

PROGRAM = """
#include <cstdio>
#include "cuda_occupancy.h"
int main() {
  int arch, registers, threads, shared, blocks_of_sm, threads_of_sm, shared_of_sm;
  while (scanf("%d %d %d %d %d %d", &arch, &registers, &threads, &shared, &threads_of_sm, &shared_of_sm) == 6) {
    cudaOccDeviceProp properties;
    properties.computeMajor = arch / 10; properties.computeMinor = arch % 10;
    properties.maxThreadsPerBlock = 1024; properties.maxThreadsPerMultiprocessor = threads_of_sm;
    properties.regsPerBlock = 65536; properties.regsPerMultiprocessor = 65536; properties.warpSize = 32;
    properties.sharedMemPerBlock = 48 << 10; properties.sharedMemPerMultiprocessor = shared_of_sm;
    properties.numSms = 1; properties.sharedMemPerBlockOptin = shared_of_sm - 1024;
    properties.reservedSharedMemPerBlock = 1024;
    cudaOccFuncAttributes function;
    function.maxThreadsPerBlock = 1024; function.numRegs = registers; function.sharedSizeBytes = 0;
    function.partitionedGCConfig = PARTITIONED_GC_OFF;
    function.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN; function.maxDynamicSharedSizeBytes = shared_of_sm;
    function.numBlockBarriers = 1;
    cudaOccDeviceState state;
    state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
    cudaOccResult result;
    int error = cudaOccMaxActiveBlocksPerMultiprocessor(&result, &properties, &function, &state, threads, shared);
    printf("%d %d\\n", error, result.activeBlocksPerMultiprocessor);
  }
}
"""


@pytest.mark.parametrize(
    ("threads", "blocks", "percent"),
    [(128, 12, 75), (320, 4, 63)],
)
def test_the_example_of_the_best_practices_guide(threads: int, blocks: int, percent: int) -> None:
    """CUDA C++ Best Practices Guide, "Calculating Occupancy": 37 registers, 65,536 and 2,048 threads on an SM."""
    found = occupancy(80, registers=37, threads=threads)
    assert found.blocks == blocks
    assert round(100 * found.fraction + 1e-9) == percent
    assert found.limiters == ("registers",)


@pytest.fixture(scope="module")
def nvidias(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NVIDIA's own rules, as a program."""
    compiler = need("g++", "g++")
    folder = tmp_path_factory.mktemp("occupancy")
    (folder / "main.cpp").write_text(PROGRAM)
    include = header("/cuda_occupancy.h").parent
    command = [compiler, "-w", f"-I{include}", "main.cpp", "-o", "main"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "main"


@pytest.mark.parametrize("arch", list(ARCHITECTURES))
def test_it_is_what_nvidias_header_computes(nvidias: Path, arch: int) -> None:
    limits = architecture(arch)
    grid = [
        (registers, threads, shared) for registers, threads, shared in GRID if shared <= limits.shared_per_block - 1024
    ]
    asked = "\n".join(
        f"{arch} {registers} {threads} {shared} {limits.threads} {limits.shared}" for registers, threads, shared in grid
    )
    lines = subprocess.run([nvidias], input=asked, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == len(grid) > 1000
    wrong = []
    for (registers, threads, shared), line in zip(grid, lines, strict=True):
        error, theirs = map(int, line.split())
        assert error == 0
        ours = occupancy(arch, registers=registers, threads=threads, shared=shared).blocks
        if ours != theirs:
            wrong.append((registers, threads, shared, ours, theirs))
    assert not wrong


@pytest.mark.parametrize("arch", list(ARCHITECTURES))
def test_it_is_what_cuxray_computes(arch: int) -> None:
    spec = archspec.lookup(f"sm_{arch}")
    for registers, threads, shared in GRID:
        ours = occupancy(arch, registers=registers, threads=threads, shared=shared)
        theirs = compute(spec, registers, threads, smem_dynamic=shared)
        assert ours.blocks == theirs.blocks_per_sm, (registers, threads, shared)
        assert {name.replace(" ", "_") for name in ours.limiters} == set(theirs.limiter.split("+"))


def test_the_largest_block_fits_and_a_byte_more_does_not() -> None:
    most = architecture(90).shared_per_block
    assert most == 227 * 1024
    assert occupancy(90, registers=32, threads=128, shared=most).blocks == 1
    found = occupancy(90, registers=32, threads=128, shared=most + 1)
    assert (found.blocks, found.limiters) == (0, ("shared memory",))
    assert str(found) == "none: 232449 bytes of shared memory a block; sm_90 has 232448"


def test_what_cannot_be_launched_says_why() -> None:
    assert occupancy(80, registers=32, threads=1056).refused == "a block of 1056 threads; 1024 are allowed"
    assert "128 registers a thread for 1024 threads" in occupancy(80, registers=128, threads=1024).refused
    assert occupancy(80, registers=256, threads=32).blocks == 0


def test_a_number_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="threads=0"):
        occupancy(80, registers=32, threads=0)


def test_ties_name_all_limiters() -> None:
    found = occupancy(80, registers=32, threads=64)
    assert found.limiters == ("registers", "warps", "blocks")
    assert str(found) == "100%: 32 blocks, 64 of 64 warps"
