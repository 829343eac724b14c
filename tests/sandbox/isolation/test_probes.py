"""The probes of each layer: they hold where the layer does, and notice where it does not."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.system import unavailable
from workbook.sandbox.isolation import cgroups, probes
from workbook.sandbox.isolation.server import ForkServer

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
PACKAGE = ROOT / "workbook/sandbox/isolation"
GROUPS = {"memory": "memory", "pids": "processes", "cpu": "processor"}

only_as_root = pytest.mark.skipif(os.geteuid() != 0, reason="these layers are root's")


def failures(found: list[probes.Probe]) -> dict[str, probes.Probe]:
    return {probe.layer: probe for probe in found if not probe.ok}


@only_as_root
@pytest.mark.usefixtures("sandboxes")
def test_all_layers_hold_for_root() -> None:
    found = probes.probe()
    assert len(found) == 19
    assert all(probe.detail for probe in found)
    assert set(failures(found)) == {f"control group: {GROUPS[name]}" for name in cgroups.find().missing}


@only_as_root
@pytest.mark.usefixtures("sandboxes")
def test_an_ordinary_user_is_told_what_is_missing() -> None:
    script = """
from workbook.sandbox.isolation.probes import probe
for one in probe():
    print(one.ok, one.layer, one.remedy, sep="|")
"""
    command = [sys.executable, str(HERE / "ordinary.py"), "-c", script]
    lines = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    ).stdout.splitlines()
    assert len(lines) == 19
    failed = {line.split("|")[1]: line.split("|")[2] for line in lines if line.startswith("False")}
    assert set(failed) == {"user ID", *(f"control group: {name}" for name in GROUPS.values())}
    assert all("run as root" in remedy for remedy in failed.values())


NOTHING = "pass  # "


@only_as_root
@pytest.mark.usefixtures("sandboxes")
@pytest.mark.parametrize(
    ("file", "line", "instead", "layers"),
    [
        ("confinement", "linux.CLONE_NEWNET | ", "", {"network namespace", "network out of reach"}),
        ("confinement", "linux.CLONE_NEWIPC | ", "", {"IPC namespace"}),
        ("confinement", "linux.load_seccomp", NOTHING, {"system call filter"}),
        ("confinement", "linux.drop_bounding_set", NOTHING, {"no capabilities"}),
        ("confinement", "os.setresuid", NOTHING, {"user ID"}),
        ("confinement", "_limit(limits, ", "dict(", {"resource limits"}),
        ("filesystem", "size={size},", "", {"file systems of bounded size"}),
        ("confinement", 'os.write(descriptor, b"0")', NOTHING, {f"control group: {name}" for name in GROUPS.values()}),
    ],
)
def test_a_layer_that_is_broken_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str, line: str, instead: str, layers: set[str]
) -> None:
    text = (PACKAGE / f"{file}.py").read_text()
    assert line in text
    (tmp_path / "broken.py").write_text(text.replace(line, instead))
    broken = {f"workbook/sandbox/isolation/{file}.py": tmp_path / "broken.py"}

    def start(entry: str, library: Mapping[str, Path], **options: Any) -> ForkServer:
        return ForkServer(entry, library={**library, **broken}, **options)

    monkeypatch.setattr(probes, "ForkServer", start)
    layers = layers - {f"control group: {GROUPS[name]}" for name in cgroups.find().missing}
    if not layers:
        unavailable("no control group can be made here")
    assert layers <= set(failures(probes.probe()))


def test_off_linux_there_is_one_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    (found,) = probes.probe()
    assert not found.ok
    assert "need Linux" in found.detail
    assert "Linux" in found.remedy


def test_a_server_that_cannot_start_is_one_probe(monkeypatch: pytest.MonkeyPatch, sandboxes: None) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    (found,) = probes.probe()
    assert not found.ok
    assert "fork server has ended" in found.detail
