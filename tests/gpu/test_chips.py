"""The figures of chips: each has a source, and those that NVIDIA's headers hold too agree with them."""

import dataclasses
import re
from importlib import metadata
from pathlib import Path

import pytest

from workbook.gpu import chips
from workbook.gpu.chips import ARCHITECTURES, CHIPS, architecture, chip


def test_the_ridges_are_those_of_the_course() -> None:
    ridges = {name: CHIPS[name].bf16_flops / CHIPS[name].bandwidth for name in ("H100 SXM", "H200", "L40S")}
    assert {name: round(ridge) for name, ridge in ridges.items()} == {"H100 SXM": 295, "H200": 206, "L40S": 419}


@pytest.mark.parametrize("name", list(CHIPS))
def test_each_figure_has_a_source(name: str) -> None:
    figures = {field.name for field in dataclasses.fields(CHIPS[name])} - {"name", "sources"}
    assert CHIPS[name].sources.keys() == figures
    assert CHIPS[name].limits.sources


def test_a_figure_without_a_source_is_refused() -> None:
    sources = {**CHIPS["A100"].sources, "l2": " "}
    with pytest.raises(ValueError, match="A100: no source for l2"):
        dataclasses.replace(CHIPS["A100"], sources=sources)


@pytest.mark.parametrize("arch", list(ARCHITECTURES))
def test_limits_are_those_of_nvidias_header(arch: int) -> None:
    """`arch_traits.h`, from which NVIDIA's own libraries take them."""
    text = header("/cuda/__device/arch_traits.h").read_text()
    common = text.partition("__common_arch_traits(")[2].partition("return __traits")[0]
    own = text.partition(f"arch_traits<arch_id::sm_{arch}>() noexcept\n{{")[2].partition("return __traits")[0]

    def value(name: str) -> int:
        found = re.search(rf"__traits\.{name}\s*=\s*([\d* ]+);", own) or re.search(
            rf"__traits\.{name}\s*=\s*([\d* ]+);", common
        )
        assert found, name
        numbers = [int(number) for number in found[1].split("*")]
        return numbers[0] * (numbers[1] if numbers[1:] else 1)

    limits = architecture(arch)
    assert limits.threads == value("max_threads_per_multiprocessor")
    assert limits.blocks == value("max_blocks_per_multiprocessor")
    assert limits.shared == value("max_shared_memory_per_multiprocessor")
    assert limits.registers == value("max_registers_per_multiprocessor")
    assert limits.registers_per_thread == value("max_registers_per_thread")
    assert limits.threads_per_block == value("max_threads_per_block")
    assert "(__cc >= compute_capability{80}) ? 1024 : 0" in common
    assert limits.shared_reserved == 1024
    assert limits.shared_per_block == limits.shared - limits.shared_reserved
    assert "max_shared_memory_per_multiprocessor - __traits.reserved_shared_memory_per_block" in own


def test_an_unknown_architecture_is_not_guessed() -> None:
    with pytest.raises(ValueError, match="sm_70 are not in the table: 80, 86"):
        architecture(70)


def test_a_chip_is_found_by_a_part_of_its_name() -> None:
    assert chip("h100").name == "H100 SXM"
    with pytest.raises(ValueError, match="no chips are called 'V100'"):
        chip("V100")
    with pytest.raises(ValueError, match="2 chips are called '100'"):
        chip("100")


def test_peaks_go_by_precision() -> None:
    assert chip("L40S").peak("bf16") == 362.05e12
    assert chip("L40S").peak("fp32") == 91.6e12
    with pytest.raises(ValueError, match="no peak is known for 'fp8'"):
        chip("L40S").peak("fp8")


def test_the_table_shows_all() -> None:
    text = str(chips.table())
    assert all(name in text for name in CHIPS)
    assert "989.4 TFLOPS" in text
    assert "3.35 TB/s" in text


def header(path: str) -> Path:
    """Returns a header of NVIDIA's wheels, by the end of its path."""
    for wheel in ("nvidia-cuda-cccl", "nvidia-cuda-runtime"):
        for file in metadata.files(wheel) or []:
            if str(file).endswith(path):
                return Path(str(file.locate()))
    raise AssertionError(f"{path} is in no wheel")
