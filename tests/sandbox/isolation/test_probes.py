"""The probes of each layer: they hold where the layer does, and notice where that layer alone does not."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system import unavailable
from workbook.sandbox.isolation import cgroups, probes, seccomp, server

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
GROUPS = {"memory": "memory", "pids": "processes", "cpu": "processor"}
CONTROL_GROUPS = {f"control group: {name}" for name in GROUPS.values()}
WATCHDOGS = {"watchdog: memory", "watchdog: processor"}

only_as_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone can be both users")
pytestmark = pytest.mark.usefixtures("sandboxes")


@pytest.fixture
def copy() -> Iterator[Path]:
    """A copy of this package that everyone may read, to break something in."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        Path(folder).chmod(0o755)
        shutil.copytree(ROOT / "workbook/sandbox/isolation", Path(folder, "workbook/sandbox/isolation"))
        for name in ("workbook/__init__.py", "workbook/sandbox/__init__.py"):
            shutil.copyfile(ROOT / name, Path(folder, name))
        yield Path(folder)


PROBE = """
import json, sys
from dataclasses import asdict
from workbook.sandbox.isolation.probes import probe
print(json.dumps([asdict(one) for one in probe(json.loads(sys.argv[1]))]))
"""


def probe_as(user: str, project: Path, layers: list[str] | None = None) -> dict[str, dict[str, Any]]:
    """What the probes of a copy of the project find, by layer."""
    if user == "ordinary" and (reason := server._no_user_namespaces()):
        unavailable(reason)
    start = [sys.executable, str(HERE / "ordinary.py")] if user == "ordinary" else [sys.executable]
    done = subprocess.run(
        [*start, "-c", PROBE, json.dumps(layers)],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {found["layer"]: found for found in json.loads(done.stdout)}


def failures(found: dict[str, dict[str, Any]]) -> set[str]:
    return {layer for layer, probe in found.items() if probe["needed"] and not probe["ok"]}


def needed(found: dict[str, dict[str, Any]]) -> set[str]:
    return {layer for layer, probe in found.items() if probe["needed"]}


# ---------------------------------------------------------------- on this machine as it is


@only_as_root
def test_all_layers_hold_for_root() -> None:
    found = probe_as("root", ROOT)
    assert set(found) == set(probes._LAYERS)
    assert all(probe["detail"] for probe in found.values())
    assert failures(found) == set()
    missing = cgroups.find().missing
    watched = {f"watchdog: {GROUPS[name]}" for name in ("memory", "cpu") if name not in missing}
    assert set(found) - needed(found) == {"user namespace", *watched, *(CONTROL_GROUPS if missing else ())}


@only_as_root
def test_an_ordinary_user_is_told_what_is_weaker() -> None:
    found = probe_as("ordinary", ROOT)
    assert set(found) == set(probes._LAYERS)
    assert failures(found) == set()
    spared = {"user ID", *CONTROL_GROUPS}
    assert set(found) - needed(found) == spared
    for layer in spared:
        assert not found[layer]["ok"]
        assert "run as root" in found[layer]["remedy"]
    assert re.search(r"share your user ID, [1-9]\d+", found["user ID"]["detail"])
    assert "only the watchdog bounds memory" in found["control group: memory"]["detail"]


@pytest.mark.parametrize("missing", ["memory", "cpu", "pids"])
def test_where_a_control_group_is_missing_something_else_is_needed(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    real = cgroups.find()
    parents = {name: parent for name, parent in real.parents.items() if name != missing}
    hierarchy = cgroups.Hierarchy(parents, real.version, {**real.missing, missing: "not in this test"})
    monkeypatch.setattr(cgroups, "find", lambda: hierarchy)
    layers = {"resource limits", f"control group: {GROUPS[missing]}", *WATCHDOGS}
    found = {probe.layer: probe for probe in probes.probe(layers)}
    group = found[f"control group: {GROUPS[missing]}"]
    assert (group.ok, group.needed) == (False, False)
    assert "not in this test" in group.detail
    stands_in = found.get(f"watchdog: {GROUPS[missing]}", found["resource limits"])
    assert (stands_in.ok, stands_in.needed) == (True, True)
    for name in ("memory", "cpu"):
        assert found[f"watchdog: {GROUPS[name]}"].needed is (name in hierarchy.missing)


# ---------------------------------------------------------------- each layer switched off alone

NOTHING = "pass  # "
NO_NETWORK = [("confinement", "linux.CLONE_NEWNET | ", ""), ("confinement", "linux.bring_up_loopback()", NOTHING)]
ENTERED = "for folder in sorted(set(self.folders.values()))"
SOON = ("probes", "_PATIENCE = 20.0", "_PATIENCE = 5.0")
MOUNT = '    linux.mount("pts", '

# Each layer: the file, what in it is replaced, and by what.
BROKEN: dict[str, list[tuple[str, str, str]]] = {
    "PID namespace": [("zygote", "linux.unshare(linux.CLONE_NEWPID)", NOTHING)],
    "mount namespace": [("confinement", "linux.CLONE_NEWNS | ", "")],
    "network namespace": NO_NETWORK,
    "IPC namespace": [("confinement", "linux.CLONE_NEWIPC | ", "")],
    "UTS namespace": [
        ("confinement", " | linux.CLONE_NEWUTS", ""),
        ("confinement", 'linux.set_hostname("sandbox")', NOTHING),  # or it would name this machine
    ],
    "user namespace": [
        ("confinement", "linux.unshare(linux.CLONE_NEWUSER)", NOTHING),
        ("confinement", "linux.map_ids(uid, 0, 0)", NOTHING),
    ],
    "user ID": [
        ("confinement", "os.setresuid", NOTHING),
        ("confinement", 'f",uid={uid},gid={uid}" if privileged else ""', '""'),
    ],
    "read-only system": [("filesystem", "on=linux.MOUNT_ATTR_RDONLY | ", "on=")],
    "Python environment": [
        ("filesystem", MOUNT, f'    linux.mount("none", sys.prefix, "tmpfs", 1, "size=4k")\n{MOUNT}')
    ],
    "file systems of bounded size": [("filesystem", "size={size},", "")],
    "no capabilities": [("confinement", "linux.drop_bounding_set", NOTHING)],
    "no new privileges": [
        ("confinement", "linux.forbid_new_privileges", NOTHING),
        ("confinement", "linux.load_seccomp(program)", NOTHING),  # this late it needs what was just left out
        ("confinement", "linux.drop_bounding_set()", "linux.drop_bounding_set(); linux.load_seccomp(program)"),
    ],
    "system call filter": [("confinement", "linux.load_seccomp", NOTHING)],
    "resource limits": [("confinement", "_limit(limits, ", "dict(")],
    **{
        f"control group: {name}": [
            ("cgroups", ENTERED, f'for folder in {{*self.folders.values()}} - {{self.folders["{controller}"]}}')
        ]
        for controller, name in GROUPS.items()
    },
    "watchdog: memory": [("watchdog", 'return "out of memory"', "return None"), SOON],
    "watchdog: processor": [("watchdog", "self._seconds() > self._limits.cpu_seconds", "False"), SOON],
    "first to end where memory runs out": [("confinement", '.write_text("1000")', ".exists()")],
    "keyring": [("confinement", "linux.join_new_keyring", NOTHING)],
    "network out of reach": NO_NETWORK,
    "files of this machine out of reach": [("filesystem", '*("/usr", ', '*("/var", "/usr", ')],
}

# What cannot hold either where a layer does not; None is anything, since the boxes get into each other's way.
WITHOUT: dict[str, set[str] | None] = {
    "PID namespace": None,
    "mount namespace": None,
    "network namespace": {"network out of reach"},
    "user namespace": None,
    "network out of reach": {"network namespace"},
}

# For whom a layer is not needed, since another stands in for it.
SPARED = {"root": {"user namespace", *WATCHDOGS}, "ordinary": {"user ID", *CONTROL_GROUPS}}


def test_each_layer_is_broken_here() -> None:
    assert set(BROKEN) == set(probes._LAYERS)
    assert not SPARED["root"] & SPARED["ordinary"]


@only_as_root
@pytest.mark.parametrize(
    ("user", "layer"), [(user, layer) for user, spared in SPARED.items() for layer in BROKEN if layer not in spared]
)
def test_a_layer_that_is_broken_is_noticed(copy: Path, user: str, layer: str) -> None:
    if user == "root" and layer in CONTROL_GROUPS and cgroups.find().missing:
        unavailable("no control group can be made here")
    for file, line, instead in BROKEN[layer]:
        path = copy / f"workbook/sandbox/isolation/{file}.py"
        text = path.read_text()
        assert line in text
        path.write_text(text.replace(line, instead))
    layers = [name for name in BROKEN if name not in WATCHDOGS or layer in WATCHDOGS]  # watchdogs take their time
    failed = failures(probe_as(user, copy, layers))
    assert layer in failed
    others = WITHOUT.get(layer, set())
    if cgroups.find().version == 2 and layer in CONTROL_GROUPS:
        others = CONTROL_GROUPS  # one tree holds all of them
    assert others is None or failed == {layer} | others


# ---------------------------------------------------------------- where there can be no box, or only a weak one


def test_off_linux_there_is_one_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    (found,) = probes.probe()
    assert not found.ok
    assert found.needed
    assert "need Linux" in found.detail
    assert "Linux" in found.remedy


def test_a_server_that_cannot_start_is_one_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    (found,) = probes.probe()
    assert (found.layer, found.ok) == (probes.SANDBOX, False)
    assert "fork server has ended" in found.detail


@only_as_root
@pytest.mark.parametrize(
    ("file", "line", "instead", "remedy"),
    [
        ("launcher", "linux.unshare(linux.CLONE_NEWNS", "os.stat('/nowhere'", "--privileged"),
        ("confinement", "linux.unshare(linux.CLONE_NEWNS", "os.stat('/nowhere'", "--privileged"),
        ("zygote", '"/usr/bin/env", "--ignore-signal=CHLD"', '"/usr/bin/env", "--no-such-option"', "coreutils 8.31"),
    ],
)
def test_where_no_box_can_be_built_the_way_out_is_named(
    copy: Path, file: str, line: str, instead: str, remedy: str
) -> None:
    path = copy / f"workbook/sandbox/isolation/{file}.py"
    text = path.read_text()
    assert line in text
    path.write_text(text.replace(line, instead))
    (found,) = probe_as("root", copy).values()
    assert found["layer"] == probes.SANDBOX
    assert remedy in found["remedy"]


def test_without_the_filters_library_the_other_layers_are_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "unavailable", lambda: "it is not there: install it")
    found = {probe.layer: probe for probe in probes.probe(["system call filter", "no capabilities", "UTS namespace"])}
    assert {layer: probe.ok for layer, probe in found.items()} == {
        "system call filter": False, "no capabilities": True, "UTS namespace": True
    }  # fmt: skip
    assert found["system call filter"].detail == "it is not there: install it"
