"""NVIDIA's chips and architectures in figures, each with its source.

A chip's figures are what its maker promises: peaks that no program reaches. An architecture's limits decide how many
blocks of threads fit on a streaming multiprocessor (SM) at a time.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from workbook.show import Table

KIB, MIB = 1 << 10, 1 << 20
WARP = 32  # threads

_GUIDE = 'CUDA C++ Programming Guide 13, "Technical Specifications per Compute Capability"'
_OCCUPANCY = "cuda_occupancy.h of the CUDA runtime 13 (register and shared memory allocation)"


@dataclass(frozen=True)
class Architecture:
    """What one SM of an architecture holds, and in which portions it gives it away. Sizes in bytes.

    Attributes:
        arch: Compute capability without its dot: 80 for 8.0.
        name: NVIDIA's name for the generation.
        threads: Resident on an SM at most.
        blocks: Resident on an SM at most.
        shared: Memory of an SM, in its largest configuration.
        shared_per_block: That a block may have at most, after it has opted in to more than 48 KiB.
        shared_reserved: Of each resident block, taken by the system.
        shared_unit: In which shared memory is given to a block.
        registers: 32-bit registers of an SM.
        registers_per_thread: At most.
        register_unit: Registers, in which they are given to a warp.
        partitions: An SM's parts; each has its own share of the registers and its own warps.
        threads_per_block: At most.
        sources: Where the figures are from.
    """

    arch: int
    name: str
    threads: int
    blocks: int
    shared: int
    shared_per_block: int
    shared_reserved: int = KIB
    shared_unit: int = 128
    registers: int = 65536
    registers_per_thread: int = 255
    register_unit: int = 256
    partitions: int = 4
    threads_per_block: int = 1024
    sources: tuple[str, ...] = (_GUIDE, _OCCUPANCY)

    @property
    def warps(self) -> int:
        """Resident on an SM at most."""
        return self.threads // WARP


ARCHITECTURES: Mapping[int, Architecture] = {
    each.arch: each
    for each in (
        Architecture(80, "Ampere", 2048, 32, 164 * KIB, 163 * KIB),
        Architecture(86, "Ampere", 1536, 16, 100 * KIB, 99 * KIB),
        Architecture(89, "Ada Lovelace", 1536, 24, 100 * KIB, 99 * KIB),
        Architecture(90, "Hopper", 2048, 32, 228 * KIB, 227 * KIB),
        Architecture(100, "Blackwell", 2048, 32, 228 * KIB, 227 * KIB),
        Architecture(120, "Blackwell", 1536, 24, 100 * KIB, 99 * KIB),
    )
}


def architecture(arch: int) -> Architecture:
    """Returns the limits of an architecture: 80, 86, 89, 90, 100 or 120.

    Raises:
        ValueError: It is another one; nothing is guessed.
    """
    if arch not in ARCHITECTURES:
        raise ValueError(f"the limits of sm_{arch} are not in the table: {', '.join(map(str, ARCHITECTURES))} are")
    return ARCHITECTURES[arch]


@dataclass(frozen=True)
class Chip:
    """A GPU as its datasheet has it: peaks, which no program reaches.

    Attributes:
        name: As it is sold.
        arch: Its compute capability without the dot.
        sms: Streaming multiprocessors.
        bf16_flops: Operations a second of the tensor cores on dense BF16 (and FP16) with FP32 sums; a multiply-add is
            two. Half of what a datasheet gives "with sparsity".
        fp32_flops: Operations a second outside the tensor cores.
        bandwidth: Bytes a second from and to the chip's memory.
        memory: Bytes of it.
        l2: Bytes of the cache that all SMs share.
        sources: For each of these figures, where it is from.
    """

    name: str
    arch: int
    sms: int
    bf16_flops: float
    fp32_flops: float
    bandwidth: float
    memory: float
    l2: int
    sources: Mapping[str, str] = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        figures = {field.name for field in dataclasses.fields(self)} - {"name", "sources"}
        if missing := sorted(name for name in figures if not self.sources.get(name, "").strip()):
            raise ValueError(f"{self.name}: no source for {', '.join(missing)}")

    @property
    def limits(self) -> Architecture:
        """The limits of one of its SMs."""
        return architecture(self.arch)

    def peak(self, precision: str) -> float:
        """Returns operations a second: "bf16" (also for FP16) on the tensor cores, "fp32" outside them.

        Raises:
            ValueError: It is another precision.
        """
        if precision not in ("bf16", "fp32"):
            raise ValueError(f'no peak is known for {precision!r}: choose "bf16" (also for FP16) or "fp32"')
        return self.bf16_flops if precision == "bf16" else self.fp32_flops


def _sources(**given: str) -> dict[str, str]:
    """Returns sources by figure; a name may hold several figures, joined by "__"."""
    return {figure: source for figures, source in given.items() for figure in figures.split("__")}


_CUDA_GPUS = "NVIDIA, CUDA GPU Compute Capability (developer.nvidia.com/cuda/gpus)"
_A100_SHEET = "NVIDIA A100 datasheet, A100 80GB SXM"
_H100_PAPER = "NVIDIA H100 Tensor Core GPU Architecture (whitepaper), H100 SXM5"
_H100_SHEET = "NVIDIA H100 datasheet, H100 SXM"
_H200_SHEET = "NVIDIA H200 datasheet, H200 SXM"
_L40S_SHEET = "NVIDIA L40S datasheet"
_B200_SHEET = "NVIDIA Blackwell datasheet, individual GPU of an HGX B200"

CHIPS: Mapping[str, Chip] = {
    chip.name: chip
    for chip in (
        Chip(
            "A100",
            arch=80,
            sms=108,
            bf16_flops=312e12,
            fp32_flops=19.5e12,
            bandwidth=2039e9,
            memory=80e9,
            l2=40 * MIB,
            sources=_sources(
                arch=_CUDA_GPUS,
                sms__l2="NVIDIA A100 Tensor Core GPU Architecture (whitepaper), comparison of data center GPUs",
                bf16_flops__fp32_flops__bandwidth__memory=_A100_SHEET,
            ),
        ),
        Chip(
            "L40S",
            arch=89,
            sms=142,
            bf16_flops=362.05e12,
            fp32_flops=91.6e12,
            bandwidth=864e9,
            memory=48e9,
            l2=96 * MIB,
            sources=_sources(
                arch=_CUDA_GPUS,
                sms=f"{_L40S_SHEET}: 18,176 CUDA cores at 128 an SM, 142 RT cores at one an SM",
                bf16_flops__fp32_flops__bandwidth__memory=_L40S_SHEET,
                l2="NVIDIA Ada GPU Architecture (whitepaper), AD102 as in the L40: 98,304 KB",
            ),
        ),
        Chip(
            "H100 SXM",
            arch=90,
            sms=132,
            bf16_flops=989.4e12,
            fp32_flops=66.9e12,
            bandwidth=3.35e12,
            memory=80e9,
            l2=50 * MIB,
            sources=_sources(
                arch=_CUDA_GPUS,
                sms__l2=_H100_PAPER,
                bf16_flops__fp32_flops=f"{_H100_PAPER}; the datasheet's 1,979 is with sparsity",
                bandwidth__memory=_H100_SHEET,
            ),
        ),
        Chip(
            "H200",
            arch=90,
            sms=132,
            bf16_flops=989.4e12,
            fp32_flops=66.9e12,
            bandwidth=4.8e12,
            memory=141e9,
            l2=50 * MIB,
            sources=_sources(
                arch=_CUDA_GPUS,
                sms__l2=f"{_H100_PAPER}: the H200 has the same GH100 chip",
                bf16_flops__fp32_flops=f"{_H200_SHEET} (1,979 with sparsity, 67), to the digits of {_H100_PAPER}",
                bandwidth__memory=_H200_SHEET,
            ),
        ),
        Chip(
            "B200",
            arch=100,
            sms=148,
            bf16_flops=2250e12,
            fp32_flops=75e12,
            bandwidth=7.7e12,
            memory=180e9,
            l2=126 * MIB,
            sources=_sources(
                arch=_CUDA_GPUS,
                sms="the CUDA driver on a B200, as in pull request 4002 of pytorch/ao; no datasheet has it",
                bf16_flops=f"{_B200_SHEET}: 4.5 PFLOPS with sparsity",
                fp32_flops__bandwidth__memory=_B200_SHEET,
                l2="NVIDIA Blackwell Tuning Guide, Increased L2 Capacity",
            ),
        ),
    )
}


def chip(name: str) -> Chip:
    """Returns a chip by its name, or by a part that names one alone ("H100").

    Raises:
        ValueError: None is called so, or several are.
    """
    found = [each for each in CHIPS.values() if name.casefold() in each.name.casefold()]
    if len(found) != 1:
        raise ValueError(f"{len(found) or 'no'} chips are called {name!r}: choose from {', '.join(CHIPS)}")
    return found[0]


def table() -> Table:
    """Returns the chips side by side, for a notebook."""
    header = ("chip", "architecture", "SMs", "BF16 dense", "FP32", "memory", "bandwidth", "L2")
    rows = [
        (
            each.name,
            f"sm_{each.arch} {each.limits.name}",
            each.sms,
            f"{each.bf16_flops / 1e12:.4g} TFLOPS",
            f"{each.fp32_flops / 1e12:.3g} TFLOPS",
            f"{each.memory / 1e9:g} GB",
            f"{each.bandwidth / 1e12:.3g} TB/s",
            f"{each.l2 >> 20} MiB",
        )
        for each in CHIPS.values()
    ]
    return Table(header, rows)
