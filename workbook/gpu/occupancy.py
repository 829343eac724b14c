"""Occupancy: how many blocks of a kernel a streaming multiprocessor holds at a time, and what limits them.

NVIDIA's rules, as in `cuda_occupancy.h`. What it gives is an upper bound that holds on an otherwise empty SM whose
shared memory has its largest configuration; on sm_100 the tensor memory that blocks take may allow fewer. High
occupancy hides latency; it is not speed: good attention kernels have 12 to 25 %.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from workbook.gpu.chips import WARP, Architecture, architecture

OPT_IN = 48 * 1024
"""Bytes of shared memory above which a launch must ask for them (cudaFuncSetAttribute)."""


@dataclass(frozen=True)
class Occupancy:
    """How many blocks fit on an SM.

    Attributes:
        blocks: Resident at a time; 0 where not even one fits, and the launch fails.
        warps: Of those blocks.
        max_warps: That an SM can hold.
        limits: For each resource, the blocks for which it suffices: "registers", "shared memory", "warps", "blocks".
        limiters: The resources that allow no more than `blocks`; relieving one of several gains nothing.
        refused: Why no block can be launched, empty where one can.
    """

    blocks: int
    warps: int
    max_warps: int
    limits: Mapping[str, int]
    limiters: tuple[str, ...]
    refused: str = ""

    @property
    def fraction(self) -> float:
        """Warps over those that the SM can hold, 0 to 1."""
        return self.warps / self.max_warps

    def __str__(self) -> str:
        if self.refused:
            return f"none: {self.refused}"
        blocks = f"{self.blocks} block{'' if self.blocks == 1 else 's'}"
        return f"{self.fraction:.0%}: {blocks}, {self.warps} of {self.max_warps} warps"


def occupancy(arch: int, *, registers: int, threads: int, shared: int = 0) -> Occupancy:
    """Computes the occupancy of a kernel.

    Args:
        arch: 80, 86, 89, 90, 100 or 120.
        registers: Of a thread.
        threads: Of a block.
        shared: Bytes of a block, static and dynamic together; without those that the system reserves.

    Raises:
        ValueError: The architecture is not in the table, or a number cannot be.
    """
    limits = architecture(arch)
    if threads < 1 or registers < 0 or shared < 0:
        raise ValueError(f"threads={threads}, registers={registers}, shared={shared}: a count cannot be so small")
    warps = -(-threads // WARP)
    fit = {
        "registers": _by_registers(limits, registers, warps),
        "shared memory": _by_shared(limits, shared),
        "warps": limits.warps // warps if threads <= limits.threads_per_block else 0,
        "blocks": limits.blocks,
    }
    blocks = min(fit.values())
    return Occupancy(
        blocks=blocks,
        warps=blocks * warps,
        max_warps=limits.warps,
        limits=fit,
        limiters=tuple(name for name, number in fit.items() if number == blocks),
        refused=_refusal(limits, fit, registers, threads, shared),
    )


def _by_registers(limits: Architecture, registers: int, warps: int) -> int:
    """Returns how many blocks the registers suffice for: a warp takes all of its own from one partition of the SM."""
    if registers > limits.registers_per_thread:
        return 0
    of_warp = _up(max(registers, 1) * WARP, limits.register_unit)
    if of_warp * _up(warps, limits.partitions) > limits.registers:
        return 0  # the launch is refused, as if the warps filled all partitions evenly
    resident = limits.registers // limits.partitions // of_warp * limits.partitions
    return resident // warps


def _by_shared(limits: Architecture, shared: int) -> int:
    if shared > limits.shared_per_block:
        return 0
    return limits.shared // _up(shared + limits.shared_reserved, limits.shared_unit)


def _refusal(limits: Architecture, fit: Mapping[str, int], registers: int, threads: int, shared: int) -> str:
    if threads > limits.threads_per_block:
        return f"a block of {threads} threads; {limits.threads_per_block} are allowed"
    if not fit["shared memory"]:
        return f"{shared} bytes of shared memory a block; sm_{limits.arch} has {limits.shared_per_block}"
    if not fit["registers"]:
        return f"{registers} registers a thread for {threads} threads; an SM has {limits.registers}"
    return ""


def _up(number: int, unit: int) -> int:
    return -(-number // unit) * unit
