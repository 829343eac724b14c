"""Registers, spills and shared memory, against what `ptxas -v` says of the same PTX."""

import re
import subprocess
import tempfile
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

from tests.gpu import samples
from workbook.gpu import sass
from workbook.gpu.code import GpuCode
from workbook.gpu.resources import resources, spills, tensor, widths
from workbook.gpu.sass import Instruction, kernels

SPILLING = {80: (256, 128), 90: (256, 128)}


def ptxas(arch: int, *, triton: bool) -> list[str]:
    """Returns the command of the assembler that the code was made with."""
    if triton:  # the options are those of Triton's own call
        suffix = "a" if arch >= 90 else ""
        tool = sass.find("ptxas" if arch < 90 else "ptxas-blackwell")
        return [str(tool), "-v", "-lineinfo", "--regAllocOptLevel=2", f"-arch=sm_{arch}{suffix}"]
    tool = next(Path(str(file.locate())) for file in metadata.files("nvidia-cuda-nvcc") or [] if file.name == "ptxas")
    return [str(tool), "-v", "-lineinfo", f"-arch=sm_{arch}"]


@cache
def said(code: GpuCode, *, triton: bool) -> dict[str, dict[str, int]]:
    """Returns what the assembler says of each kernel in the PTX."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "code.ptx"
        path.write_text(code.ptx)
        command = [*ptxas(code.arch, triton=triton), str(path), "-o", str(path.with_suffix(".cubin"))]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found = {}
    for part in text.split("Function properties for ")[1:]:
        numbers = {
            key: int(value[1]) if (value := re.search(pattern, part)) else 0
            for key, pattern in {
                "stack": r"(\d+) bytes stack frame",
                "store_bytes": r"(\d+) bytes spill stores",
                "load_bytes": r"(\d+) bytes spill loads",
                "registers": r"Used (\d+) registers",
                "shared": r"(\d+) bytes smem",
            }.items()
        }
        found[part.split()[0]] = numbers
    return found


def ours(code: GpuCode) -> dict[str, int]:
    kernel = kernels(code.cubin)[code.name]
    own, spilled = resources(code.cubin, kernel), spills(kernel.instructions)
    return {
        "stack": own.stack,
        "store_bytes": spilled.store_bytes,
        "load_bytes": spilled.load_bytes,
        "registers": own.registers,
        "shared": own.shared,
    }


@pytest.mark.parametrize("arch", [80, 89, 90, 100])
@pytest.mark.parametrize("name", samples.cuda_names())
def test_cuda_agrees_with_ptxas(name: str, arch: int) -> None:
    theirs = said(samples.cuda("add", arch), triton=False)
    assert ours(samples.cuda(name, arch)) == theirs[name]
    if name == "spilling":
        assert theirs[name]["store_bytes"] > 300
    if name == "indexed":
        assert theirs[name] | {"stack": 256, "store_bytes": 0, "load_bytes": 0} == theirs[name]
    if name == "transpose":
        assert theirs[name]["shared"] == 4096


@pytest.mark.parametrize("arch", samples.ARCHS)
def test_triton_agrees_with_ptxas(arch: int) -> None:
    for code in (samples.add(arch), samples.flash(arch)):
        assert ours(code) == said(code, triton=True)[code.name]


@pytest.mark.parametrize("arch", SPILLING)
def test_spills_of_triton_agree_with_ptxas(arch: int) -> None:
    code = samples.flash(arch, *SPILLING[arch])
    found = ours(code)
    assert found == said(code, triton=True)["attention"]
    assert found["store_bytes"] > 500
    if arch == 80:
        assert found["registers"] == 32, "a kernel that spills thousands of words reports few registers"


def test_an_array_is_told_apart_from_spills() -> None:
    kernel = kernels(samples.cuda("indexed", 90).cubin)["indexed"]
    found = spills(kernel.instructions)
    assert not found
    assert found.array_stores == 16  # 64 floats, by 128 bits
    assert found.array_loads > 1


def test_spills_beside_an_array() -> None:
    """What is stored and loaded at a fixed place is a spill, also where an array lies elsewhere on the stack."""
    code = [
        Instruction(0, "", "STL.128", "[R1]", ()),
        Instruction(16, "", "STL", "[R1+0x40], R5"),
        Instruction(32, "", "LDL", "R4, [R7]"),
        Instruction(48, "", "LDL.LU", "R5, [R1+0x40]"),
    ]
    found = spills(code)
    assert (found.stores, found.loads, found.store_bytes, found.load_bytes) == (1, 1, 4, 4)
    assert (found.array_stores, found.array_loads) == (1, 1)


@pytest.mark.parametrize("arch", samples.ARCHS)
def test_the_block_is_known_of_triton_and_bounded_by_launch_bounds(arch: int) -> None:
    cubin = samples.add(arch).cubin
    own = resources(cubin, kernels(cubin)["vector_add"])
    assert (own.block, own.max_threads) == ((128, 1, 1), None)
    cubin = samples.cuda("spilling", arch).cubin
    own = resources(cubin, kernels(cubin)["spilling"])
    assert (own.block, own.max_threads) == (None, 1024)


@pytest.mark.parametrize("arch", samples.ARCHS)
def test_loads_widen_as_alignment_is_promised(arch: int) -> None:
    for code, bits, number in [
        (samples.add(arch, aligned=False), 32, 4),
        (samples.add(arch), 128, 1),
    ]:
        found = widths(kernels(code.cubin)["vector_add"].instructions)
        assert found == {"global loads": {bits: 4 * number}, "global stores": {bits: 2 * number}}
    assert widths(kernels(samples.cuda("add", arch).cubin)["add4"].instructions) == {
        "global loads": {128: 2},
        "global stores": {128: 1},
    }


@pytest.mark.parametrize("arch", samples.ARCHS)
def test_the_family_of_tensor_instructions(arch: int) -> None:
    found = tensor(kernels(samples.flash(arch).cubin)["attention"].instructions)
    assert set(found) == {{80: "HMMA", 90: "HGMMA", 100: "UTCHMMA"}[arch]}
    assert sum(found.values()) == {80: 64, 90: 8, 100: 20}[arch]


def test_loads_that_are_never_executed_do_not_count() -> None:
    code = [Instruction(0, "@!PT", "LDS", "RZ, [RZ]"), Instruction(16, "", "LDS.64", "R0, [R2]")]
    assert widths(code) == {"shared loads": {64: 1}}


def test_what_moves_tiles_has_no_width() -> None:
    assert widths([Instruction(0, "@UP1", "UTMALDG.2D", "[UR8], [UR4]")]) == {"TMA loads": {0: 1}}
