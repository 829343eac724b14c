"""Reading the hardware, of this machine and of recorded others.

What stands here for a Mac, an Arm server or a GPU is text or an object in the shape that those give; it shows that it
is read right, not that such a machine gives it.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest

from workbook import hardware

GIB = 1 << 30
HOST = SimpleNamespace(total=64 * GIB, available=40 * GIB)

XEON = """\
processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8480+ CPU @ 2.00GHz
flags\t\t: fpu sse4_2 avx2 avx512f avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8
"""
ARM = """\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes asimdhp sve i8mm bf16
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""
APPLE = """\
machdep.cpu.brand_string: Apple M3 Max
hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_SME: 0
hw.optional.neon: 1
hw.optional.avx2_0: 0
"""


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    monkeypatch.setattr(hardware, "PROC", folder)
    return folder


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 64 GiB and 8 cores whose control groups the test writes."""
    folder = tmp_path / "cgroup"
    folder.mkdir()
    monkeypatch.setattr(hardware, "CGROUP", folder)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: HOST)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return folder


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def test_an_x86_cpu(proc: Path) -> None:
    (proc / "cpuinfo").write_text(XEON)
    expected = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
    assert hardware.cpu() == ("Intel Xeon Platinum 8480+", expected)


def test_an_arm_server(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (proc / "cpuinfo").write_text(ARM)
    monkeypatch.setattr(hardware, "_output", lambda *_: "Architecture: aarch64\nModel name:          Neoverse-V1\n")
    assert hardware.cpu() == ("Neoverse-V1", ("neon", "bf16", "i8mm", "sve"))


def test_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(hardware, "_output", lambda *_: APPLE)
    assert hardware.cpu() == ("Apple M3 Max", ("neon", "bf16", "i8mm"))


@pytest.mark.usefixtures("proc")
def test_a_cpu_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_output", lambda *_: "")
    model, features = hardware.cpu()
    assert model
    assert features == ()


@pytest.mark.usefixtures("proc", "cgroup")
def test_no_control_group() -> None:
    assert hardware.cores() == 8
    assert hardware.memory() == (64 * GIB, 40 * GIB)


@pytest.mark.usefixtures("proc", "cgroup")
def test_affinity_limits_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert hardware.cores() == 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_the_real_affinity_is_read() -> None:
    program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); \
        from workbook import hardware; print(hardware.cores())"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "1\n"


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("200000 100000", 2), ("350000 100000", 3), ("50000 100000", 1), ("1600000 100000", 8)],
)
def test_a_quota_of_version_2(quota: str, cores: int, proc: Path, cgroup: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/kubepods/pod7\n")
    write(cgroup / "kubepods" / "pod7", cpu__max=quota)
    assert hardware.cores() == cores


def test_a_limit_further_up_holds_too(proc: Path, cgroup: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/user/session\n")
    write(cgroup / "user" / "session", cpu__max="max 100000", memory__max=str(20 * GIB), memory__current="0")
    write(cgroup / "user", cpu__max="300000 100000", memory__max=str(8 * GIB), memory__current=str(6 * GIB))
    assert hardware.cores() == 3
    assert hardware.memory() == (8 * GIB, 2 * GIB)


def test_a_container_that_sees_its_group_as_the_root(proc: Path, cgroup: Path) -> None:
    """/proc gives the host's path, which does not exist inside."""
    (proc / "self" / "cgroup").write_text("0::/docker/0123abcd\n")
    write(cgroup, cpu__max="100000 100000", memory__max=str(4 * GIB), memory__current=str(GIB))
    assert hardware.cores() == 1
    assert hardware.memory() == (4 * GIB, 3 * GIB)


def test_the_page_cache_counts_as_free(proc: Path, cgroup: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/\n")
    write(cgroup, memory__max=str(4 * GIB), memory__current=str(4 * GIB))
    write(cgroup, memory__stat=f"anon 1\ninactive_file {3 * GIB}\nactive_file 5")
    assert hardware.memory() == (4 * GIB, 3 * GIB)


def test_limits_of_version_1(proc: Path, cgroup: Path) -> None:
    (proc / "self" / "cgroup").write_text("4:memory:/job\n3:cpu,cpuacct:/job\n0::/job\n")
    write(cgroup / "cpu,cpuacct" / "job", cpu__cfs_quota_us="400000", cpu__cfs_period_us="100000")
    write(
        cgroup / "memory" / "job",
        memory__limit_in_bytes=str(16 * GIB),
        memory__usage_in_bytes=str(6 * GIB),
        memory__stat=f"inactive_file 7\ntotal_inactive_file {GIB}",
    )
    assert hardware.cores() == 4
    assert hardware.memory() == (16 * GIB, 11 * GIB)


def test_no_limits_of_version_1(proc: Path, cgroup: Path) -> None:
    (proc / "self" / "cgroup").write_text("4:memory:/\n1:cpu:/\n")
    write(cgroup / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    write(cgroup / "memory", memory__limit_in_bytes="9223372036854771712", memory__usage_in_bytes="5")
    assert hardware.cores() == 8
    assert hardware.memory() == (64 * GIB, 40 * GIB)


class FakeNvml(ModuleType):
    """What nvidia-ml-py offers, as far as it is used; with GPUs or an error of the test's choice."""

    class NVMLError(Exception):
        """Its errors' base."""

    class NVMLError_NotSupported(NVMLError):  # noqa: N801, N818
        """The GPU does not tell."""

    def __init__(self, gpus: list[dict[str, Any]], error: str = "") -> None:
        super().__init__("pynvml")
        self.gpus = gpus
        self.error = error
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802
        if self.error:
            raise self.NVMLError(self.error)
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802
        return self.gpus[index]

    def nvmlDeviceGetMemoryInfo(self, gpu: dict[str, Any]) -> SimpleNamespace:  # noqa: N802
        if "memory" not in gpu:
            raise self.NVMLError_NotSupported
        total, free = gpu["memory"]
        return SimpleNamespace(total=total, free=free)

    def nvmlDeviceGetCudaComputeCapability(self, gpu: dict[str, Any]) -> list[int]:  # noqa: N802
        return list(gpu["capability"])

    def nvmlDeviceGetName(self, gpu: dict[str, Any]) -> str:  # noqa: N802
        return str(gpu["name"])

    def nvmlDeviceGetUUID(self, gpu: dict[str, Any]) -> str:  # noqa: N802
        return str(gpu["uuid"])


H100 = {"name": "NVIDIA H100", "capability": (9, 0), "memory": (80 * GIB, 79 * GIB), "uuid": "GPU-aa11"}
L4 = {"name": "NVIDIA L4", "capability": (8, 9), "memory": (24 * GIB, 20 * GIB), "uuid": "GPU-bb22"}
GB10 = {"name": "NVIDIA GB10", "capability": (12, 1), "uuid": "GPU-cc33"}


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml([H100, L4, GB10])
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake


def test_gpus_from_the_drivers_library(nvml: FakeNvml) -> None:
    found, problem = hardware.gpus()
    assert found == (
        hardware.Gpu("NVIDIA H100", (9, 0), 80 * GIB, 79 * GIB, "GPU-aa11"),
        hardware.Gpu("NVIDIA L4", (8, 9), 24 * GIB, 20 * GIB, "GPU-bb22"),
        hardware.Gpu("NVIDIA GB10", (12, 1), None, None, "GPU-cc33"),
    )
    assert problem == ""
    assert nvml.open == 0


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ["NVIDIA L4"]),
        ("1,0", ["NVIDIA L4", "NVIDIA H100"]),
        ("GPU-cc", ["NVIDIA GB10"]),
        ("0,7,1", ["NVIDIA H100"]),
        ("MIG-dd44", ["NVIDIA H100", "NVIDIA L4", "NVIDIA GB10"]),
        ("", []),
        ("-1", []),
    ],
)
@pytest.mark.usefixtures("nvml")
def test_hidden_gpus_do_not_count(visible: str, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found, problem = hardware.gpus()
    assert [gpu.name for gpu in found] == names
    assert problem == ("" if names else f"CUDA_VISIBLE_DEVICES={visible} hides all")


def test_a_driver_that_fails_says_why(nvml: FakeNvml) -> None:
    nvml.error = "Driver/library version mismatch"
    assert hardware.gpus() == ((), "the NVIDIA driver says: Driver/library version mismatch")


def test_a_driver_without_gpus(nvml: FakeNvml) -> None:
    nvml.gpus = []
    assert hardware.gpus() == ((), "the NVIDIA driver finds none")


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in nvidia-smi's place, which the test writes; nvidia-ml-py is absent."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return tmp_path / "nvidia-smi"


def test_gpus_from_nvidia_smi(smi: Path) -> None:
    smi.write_text(
        "#!/bin/sh\n"
        '[ "$1" = "--query-gpu=uuid,compute_cap,memory.total,memory.free,name" ] || exit 9\n'
        '[ "$2" = "--format=csv,noheader,nounits" ] || exit 9\n'
        "echo 'GPU-aa11, 9.0, 81559, 80994, NVIDIA H100 80GB HBM3'\n"
        "echo 'GPU-cc33, 12.1, [N/A], [N/A], NVIDIA GB10'\n"
    )
    smi.chmod(0o755)
    assert hardware.gpus() == (
        (
            hardware.Gpu("NVIDIA H100 80GB HBM3", (9, 0), 81559 << 20, 80994 << 20, "GPU-aa11"),
            hardware.Gpu("NVIDIA GB10", (12, 1), None, None, "GPU-cc33"),
        ),
        "",
    )


def test_nvidia_smi_that_fails_says_why(smi: Path) -> None:
    message = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    smi.write_text(f'#!/bin/sh\necho "{message}"\nexit 9\n')
    smi.chmod(0o755)
    assert hardware.gpus() == ((), f"nvidia-smi says: {message}")


def test_no_driver_at_all(smi: Path) -> None:
    if (Path("/usr/bin") / smi.name).exists():
        pytest.skip("this machine has a driver")
    assert hardware.gpus() == ((), "no NVIDIA driver is installed")
