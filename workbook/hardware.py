"""Reads the machine's hardware: its CPU, what of it and of the memory this process may use, its GPUs.

A thing that cannot be read is reported as missing, never raised.
"""

import importlib
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import psutil

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")

# What inference kernels ask for, under the names of Linux, and how it is called there and by macOS' sysctl.
CPU_FEATURES = {
    "avx2": {"avx2", "hw.optional.avx2_0"},
    "avx512f": {"avx512f", "hw.optional.avx512f"},
    "avx512_bf16": {"avx512_bf16"},
    "avx512_vnni": {"avx512_vnni", "hw.optional.avx512vnni"},
    "amx_bf16": {"amx_bf16"},
    "amx_int8": {"amx_int8"},
    "neon": {"asimd", "neon", "hw.optional.neon"},
    "bf16": {"bf16", "hw.optional.arm.FEAT_BF16"},
    "i8mm": {"i8mm", "hw.optional.arm.FEAT_I8MM"},
    "sve": {"sve"},
}


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU. Memory in bytes; None where the driver does not tell (memory shared with the CPU)."""

    name: str
    compute_capability: tuple[int, int]
    memory_total: int | None
    memory_free: int | None
    uuid: str


def cpu() -> tuple[str, tuple[str, ...]]:
    """Returns the CPU's model and those of CPU_FEATURES that it has."""
    if platform.system() == "Darwin":
        text = _output("sysctl", "machdep.cpu.brand_string", "hw.optional")
        values = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
        model = values.get("machdep.cpu.brand_string", "")
        flags = {name for name, value in values.items() if value == "1"}
    else:
        text = _read(PROC / "cpuinfo")
        # On Arm the kernel gives numbers for a name; lscpu knows them.
        model = _field("model name", text) or _field("Model name", _output("lscpu"))
        flags = set(f"{_field('flags', text)} {_field('Features', text)}".split())
    model = re.sub(r"\((R|TM|tm)\)| CPU\b| Processor\b|@.*", "", model)
    features = tuple(name for name, aliases in CPU_FEATURES.items() if aliases & flags)
    return " ".join(model.split()) or platform.processor() or platform.machine(), features


def _field(name: str, text: str) -> str:
    found = re.search(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else ""


def cores() -> int:
    """Returns how many cores this process may use at once: affinity and quota, rounded down, at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _cgroups("cpu"):
        quota, period = (_read(folder / "cpu.max") or "max 0").split()[:2]
        if quota == "max":
            quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal():  # an unlimited one is "max" in version 2, "-1" in version 1
            count = min(count, int(quota) // int(period))
    return max(1, count)


def memory() -> tuple[int, int]:
    """Returns the bytes of memory that this process may use, and those of them that are available now."""
    machine = psutil.virtual_memory()
    total, free = machine.total, machine.available
    for folder in _cgroups("memory"):
        for limit_name, used_name, cache in [
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ]:
            limit, used = _read(folder / limit_name), _read(folder / used_name)
            if limit.isdecimal() and int(limit) < machine.total:
                total = min(total, int(limit))
                # The page cache counts as used, but the kernel drops it when memory is asked for.
                reclaimable = re.search(rf"^{cache} (\d+)$", _read(folder / "memory.stat"), re.MULTILINE)
                used_now = int(used or 0) - (int(reclaimable[1]) if reclaimable else 0)
                free = min(free, max(0, int(limit) - used_now))
    return total, free


def _cgroups(controller: str) -> list[Path]:
    """Returns the folders of this process's control group and of those above it, versions 1 and 2; each may limit it.

    A container may see its own group mounted as the root while /proc names it as the host does; the folders below the
    root that do not exist then are passed over.
    """
    folders = []
    for line in _read(PROC / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base = CGROUP
        elif controller in controllers.split(","):
            base = CGROUP / controllers if (CGROUP / controllers).is_dir() else CGROUP / controller
        else:
            continue
        own = base / path.lstrip("/")
        folders += [folder for folder in [own, *own.parents] if folder == base or base in folder.parents]
    return [folder for folder in folders if folder.is_dir()]


def gpus() -> tuple[tuple[Gpu, ...], str]:
    """Returns the GPUs that CUDA would see, or none and why.

    It asks the driver's management library: unlike CUDA, that holds no memory on the GPU, and leaves this process free
    to fork.
    """
    try:
        pynvml = importlib.import_module("pynvml")
    except ImportError:
        found, problem = _gpus_from_smi()
    else:
        found, problem = _gpus_from_nvml(pynvml)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if found and visible is not None and "MIG-" not in visible:  # a slice of a GPU; NVML names whole ones
        found = [found[place] for place in _visible(visible, found)]
        problem = f"CUDA_VISIBLE_DEVICES={visible} hides all"
    return tuple(found), "" if found else problem


def _visible(value: str, found: list[Gpu]) -> list[int]:
    """Returns the places that CUDA_VISIBLE_DEVICES names; as CUDA does, it stops at the first that does not exist."""
    places: list[int] = []
    for name in (part.strip() for part in value.split(",")):
        if name.isdecimal() and int(name) < len(found):
            places.append(int(name))
            continue
        by_uuid = [place for place, gpu in enumerate(found) if name.startswith("GPU-") and gpu.uuid.startswith(name)]
        if len(by_uuid) != 1:
            break
        places += by_uuid
    return places


def _gpus_from_nvml(pynvml: ModuleType) -> tuple[list[Gpu], str]:
    try:
        pynvml.nvmlInit()
        try:
            return [
                _gpu_from_nvml(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())
            ], "the NVIDIA driver finds none"
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        return [], f"the NVIDIA driver says: {error}"


def _gpu_from_nvml(pynvml: ModuleType, index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    total: int | None = None
    free: int | None = None
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        total, free = memory.total, memory.free
    except pynvml.NVMLError_NotSupported:
        pass  # the GPU shares the CPU's memory
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    name, uuid = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetUUID(handle)
    return Gpu(name, (major, minor), total, free, uuid)


def _gpus_from_smi() -> tuple[list[Gpu], str]:
    command = ["nvidia-smi", "--query-gpu=uuid,compute_cap,memory.total,memory.free,name"]
    try:
        answer = subprocess.run(
            [*command, "--format=csv,noheader,nounits"], capture_output=True, text=True, timeout=10, check=False
        )
    except FileNotFoundError:
        return [], "no NVIDIA driver is installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], f"nvidia-smi does not answer: {error}"
    found = []
    for line in answer.stdout.splitlines():
        try:
            uuid, capability, total, free, name = (part.strip() for part in line.split(",", 4))
            major, minor = capability.split(".")
            capability_pair = int(major), int(minor)
        except ValueError:
            return [], f"nvidia-smi says: {line}"
        found.append(Gpu(name, capability_pair, _from_mebibytes(total), _from_mebibytes(free), uuid))
    return found, "nvidia-smi lists none"


def _from_mebibytes(text: str) -> int | None:
    return int(text) << 20 if text.isdecimal() else None


def _output(*command: str) -> str:
    """Returns what a command prints, nothing where it is missing or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
