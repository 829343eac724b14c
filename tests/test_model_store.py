"""The store, with models of a few bytes: what is in it is whole, whatever happened while it was written."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.system import unavailable
from workbook import model_store
from workbook.model_store import HEAD_BYTES, MANIFEST, ModelError, Recipe, defect, prepare

LIMIT = 60  # seconds that a child which takes half of one may take on a loaded machine

# A program that prepares a model in a process of its own. `hook` is code that runs before the recipe's second file is
# written; it stands for everything that can happen during a build.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from workbook import model_store
from workbook.model_store import Recipe, prepare

here = Path(sys.argv[1])

def build(folder):
    with (here / "builds").open("a") as log:
        log.write("built\\n")
    (folder / "first.bin").write_bytes(b"1" * 5_000_000)
    {hook}
    (folder / "second.json").write_text("{{}}")
    return {{}}

{patch}
print(prepare(Recipe("tiny", revision=1, size=5_000_002, build=build)))
"""


def build(folder: Path) -> dict[str, Any]:
    (folder / "first.bin").write_bytes(b"1" * 5_000_000)
    (folder / "second.json").write_text("{}")
    return {"seed": 0}


TINY = Recipe("tiny", revision=1, size=5_000_002, build=build)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBOOK_CACHE", str(tmp_path))
    return tmp_path


def start(cache: Path, hook: str = "pass", patch: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM.format(hook=hook, patch=patch), str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def entries(cache: Path) -> set[str]:
    return {path.name for path in (cache / "models").iterdir()} - {"tiny.lock"}


def test_a_model_is_built_once_with_a_manifest(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert defect(TINY) == "it is not in the store yet"
    folder = prepare(TINY)
    assert folder == cache / "models" / "tiny"
    assert entries(cache) == {"tiny"}
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["source"] == {"seed": 0}
    assert manifest["files"]["second.json"] == {
        "size": 2,
        "sha256_head": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",  # printf '{}' | sha256sum
        "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
    }
    assert "not in the store yet" in capsys.readouterr().err
    assert prepare(TINY, verify=True) == folder
    assert capsys.readouterr().err == ""


def cut(folder: Path) -> None:
    with (folder / "first.bin").open("r+b") as file:
        file.truncate(4_999_999)


def replace(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


def flip(place: int, folder: Path) -> None:
    with (folder / "first.bin").open("r+b") as file:
        file.seek(place)
        file.write(b"?")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(cut, "first.bin has 4,999,999 bytes instead of 5,000,000", id="truncated"),
        pytest.param(lambda folder: flip(100, folder), "first.bin is not what was written", id="byte changed"),
        pytest.param(lambda folder: (folder / "first.bin").unlink(), "first.bin cannot be read", id="file missing"),
        pytest.param(
            lambda folder: (folder / MANIFEST).unlink(), "manifest.json cannot be read", id="manifest missing"
        ),
        pytest.param(lambda folder: (folder / MANIFEST).write_text("{"), "manifest.json is damaged", id="not JSON"),
        pytest.param(
            lambda folder: (folder / MANIFEST).write_text("[]"), "manifest.json is damaged", id="not an object"
        ),
        pytest.param(replace, "manifest.json cannot be read", id="a file in its place"),
    ],
)
def test_damage_is_named_and_repaired(damage: Any, said: str, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = prepare(TINY)
    damage(folder)
    problem = defect(TINY)
    assert problem is not None
    assert problem.startswith(said)
    capsys.readouterr()
    assert prepare(TINY) == folder
    assert said in capsys.readouterr().err
    assert defect(TINY, verify=True) is None
    assert entries(cache) == {"tiny"}


def test_only_verify_reads_past_the_head() -> None:
    folder = prepare(TINY)
    flip(HEAD_BYTES + 1, folder)
    assert defect(TINY) is None  # what a quick check is known to miss
    assert "first.bin is not what was written" in str(defect(TINY, verify=True))
    prepare(TINY, verify=True)
    assert defect(TINY, verify=True) is None


def test_another_revision_is_rebuilt() -> None:
    prepare(TINY)
    newer = Recipe("tiny", revision=2, size=TINY.size, build=build)
    assert "another version" in str(defect(newer))
    prepare(newer)
    assert defect(newer) is None


def test_two_processes_build_once(cache: Path) -> None:
    go = cache / "go"
    hook = f"while not Path({str(go)!r}).exists(): time.sleep(0.01)"
    first = start(cache, hook)
    while not (cache / "builds").exists():  # it holds the lock, and is in the middle of its build
        assert first.poll() is None, first.communicate()
    second = start(cache, hook)
    assert second.stderr is not None
    assert "another process is preparing it" in second.stderr.readline()
    go.touch()
    outputs = [process.communicate(timeout=LIMIT)[0].strip() for process in (first, second)]
    assert outputs == [str(cache / "models" / "tiny")] * 2
    assert (cache / "builds").read_text() == "built\n"
    assert defect(TINY, verify=True) is None
    assert entries(cache) == {"tiny"}


DIE = "os.kill(os.getpid(), signal.SIGKILL)"
POINTS_OF_DEATH = {
    "in the recipe": (DIE, ""),
    "at the checksums": ("pass", f"model_store._fingerprint = lambda *_, **__: {DIE}"),
    "before the manifest is on disk": ("pass", f"model_store._sync = lambda _: {DIE}"),
    "before the rename": ("pass", f"Path.rename = lambda *_: {DIE}"),
}


@pytest.mark.parametrize("point", POINTS_OF_DEATH)
def test_a_killed_build_leaves_no_model_and_is_cleaned_up(point: str, cache: Path) -> None:
    hook, patch = POINTS_OF_DEATH[point]
    process = start(cache, hook, patch)
    process.communicate(timeout=LIMIT)
    assert process.returncode == -signal.SIGKILL
    assert entries(cache) == {".tiny.partial"}
    assert defect(TINY) == "it is not in the store yet"
    # The next one must not take over what lies there.
    (cache / "models" / ".tiny.partial" / "debris.bin").touch()
    folder = prepare(TINY)
    assert entries(cache) == {"tiny"}
    assert {path.name for path in folder.iterdir()} == {"first.bin", "second.json", MANIFEST}
    assert defect(TINY, verify=True) is None


def test_a_killed_repair_leaves_no_half_model(cache: Path) -> None:
    cut(prepare(TINY))
    process = start(cache, patch=POINTS_OF_DEATH["before the rename"][1])
    process.communicate(timeout=LIMIT)
    assert process.returncode == -signal.SIGKILL
    assert defect(TINY) is not None
    prepare(TINY)
    assert defect(TINY, verify=True) is None
    assert entries(cache) == {"tiny"}


def test_a_failing_recipe_leaves_nothing(cache: Path) -> None:
    def fail(folder: Path) -> dict[str, Any]:
        (folder / "half.bin").touch()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        prepare(Recipe("tiny", revision=1, size=1, build=fail))
    assert entries(cache) == set()
    second = start(cache)  # it does not wait for this process to end: the lock was given back
    assert second.communicate(timeout=LIMIT)[0].strip() == str(cache / "models" / "tiny")


def test_too_little_room_is_said_before_building(cache: Path) -> None:
    def never(_: Path) -> dict[str, Any]:
        raise AssertionError("the recipe was started")

    size = shutil.disk_usage(cache).free + 10**12
    with pytest.raises(ModelError, match=rf"tiny needs {size:,} bytes in .* are free: make room"):
        prepare(Recipe("tiny", revision=1, size=size, build=never))
    assert entries(cache) == set()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_explained(cache: Path) -> None:
    def fill(folder: Path) -> dict[str, Any]:
        (folder / "half.bin").write_bytes(b"1" * 100)
        with Path("/dev/full").open("wb") as file:  # whatever is written there fails with ENOSPC
            file.write(b"1")
        return {}

    with pytest.raises(ModelError, match=r"tiny needs 1,000 bytes in .* are free: make room"):
        prepare(Recipe("tiny", revision=1, size=1000, build=fill))
    assert entries(cache) == set()


def test_safetensors_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real thing: a disk of 4 MB on which a safetensors file of 8 MB is written."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        unavailable("mounting a small disk needs root and a system that lets it mount")
    try:
        monkeypatch.setenv("WORKBOOK_CACHE", str(disk))

        def fill(folder: Path) -> dict[str, Any]:
            save_file({"weight": np.ones(2_000_000, np.float32)}, folder / "model.safetensors")
            return {}

        with pytest.raises(ModelError, match=r"tiny needs 1,000 bytes .* make room"):
            prepare(Recipe("tiny", revision=1, size=1000, build=fill))
        assert entries(disk) == set()
        assert shutil.disk_usage(disk).free > 4_000_000
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_store_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WORKBOOK_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot be written .* set WORKBOOK_CACHE to a folder of yours"):
        prepare(TINY)


def test_the_cache_is_the_users_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBOOK_CACHE", "~/elsewhere")
    assert model_store.store() == Path.home() / "elsewhere" / "models"
    monkeypatch.delenv("WORKBOOK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    if sys.platform == "linux":
        assert model_store.store() == Path("/somewhere/inference-workbook/models")
