"""Environments from locks: made once, from wheels of a local folder, and unchangeable afterwards."""

import base64
import hashlib
import os
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from workbook.sandbox.service.environments import (
    EnvironmentChangedError,
    Environments,
    EnvironmentUnavailableError,
    name_of,
    only_the_default,
)

AddWheel = Callable[..., str]

HASH = "--hash=sha256:" + "0" * 64


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    folder = tmp_path / "locks"
    folder.mkdir()
    return folder


@pytest.fixture
def environments(tmp_path: Path, locks: Path) -> Environments:
    return Environments(locks, tmp_path / "cache")


@pytest.fixture
def add_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AddWheel:
    """Makes a wheel where pip looks for it, and returns its line of a lock."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)

    def add(files: dict[str, str] | None = None, name: str = "tiny", version: str = "1.0") -> str:
        info = f"{name}-{version}.dist-info"
        contents = {
            **(files or {f"{name}/__init__.py": "X = 1\n"}),
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        rows = []
        for path, text in contents.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            rows.append(f"{path},sha256={digest},{len(text)}")
        contents[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
        wheel = folder / f"{name}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, text in contents.items():
                archive.writestr(path, text)
        return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"

    return add


def test_the_default_is_there_and_empty(environments: Environments) -> None:
    assert environments.names() == ["default"]
    assert list(environments.get("default").iterdir()) == []
    assert environments.files("default") == {}


def test_an_environment_is_made_on_first_use(
    environments: Environments, locks: Path, add_wheel: AddWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = add_wheel({"tiny/__init__.py": "X = 7\n", "tiny/more.py": ""})
    (locks / "third.txt").write_text("# what the third exercise needs\n" + line.replace(" --", " \\\n    --"))
    assert environments.names() == ["default", "third"]
    folder = environments.get("third")
    assert (folder / "tiny" / "__init__.py").read_text() == "X = 7\n"
    files = environments.files("third")
    assert {path for path in files if path.endswith(".py")} == {"tiny/__init__.py", "tiny/more.py"}
    assert files["tiny/more.py"] == folder / "tiny" / "more.py"
    assert {path.stat().st_mode & 0o222 for path in [folder.parent, *folder.parent.rglob("*")]} == {0}
    monkeypatch.setattr("subprocess.run", None)  # it is not made again
    assert environments.get("third") == folder


def test_a_changed_lock_is_another_environment(environments: Environments, locks: Path, add_wheel: AddWheel) -> None:
    (locks / "a.txt").write_text(add_wheel(version="1.0"))
    first = environments.get("a")
    (locks / "a.txt").write_text(add_wheel(version="2.0"))
    second = environments.get("a")
    assert first != second
    assert (first / "tiny-1.0.dist-info").is_dir()
    assert (second / "tiny-2.0.dist-info").is_dir()


def test_what_a_session_began_with_is_had_as_long_as_it_is_kept(
    environments: Environments, locks: Path, add_wheel: AddWheel, tmp_path: Path
) -> None:
    (locks / "a.txt").write_text(add_wheel(version="1.0"))
    pinned = environments.pinned("a")
    assert name_of(pinned) == "a"
    assert environments.get(pinned) == environments.get("a")
    (locks / "a.txt").write_text(add_wheel(version="2.0"))
    assert environments.pinned("a") != pinned
    assert (environments.get(pinned) / "tiny-1.0.dist-info").is_dir()
    (locks / "a.txt").unlink()
    assert (environments.get(pinned) / "tiny-1.0.dist-info").is_dir()
    (locks / "a.txt").write_text(add_wheel(version="2.0"))
    emptied = Environments(locks, tmp_path / "another cache")
    with pytest.raises(EnvironmentChangedError, match="'a' has another lock by now"):
        emptied.files(pinned)
    assert (emptied.get(environments.pinned("a")) / "tiny-2.0.dist-info").is_dir()
    assert environments.pinned("default") == "default"
    for name in (f"a@{'0' * 31}", "a@../../cache", f"../a@{'0' * 32}", "default@", f"b@{'0' * 32}"):
        with pytest.raises(EnvironmentUnavailableError, match="there are a, default"):
            environments.get(name)
    with pytest.raises(EnvironmentUnavailableError, match="see --environments"):
        only_the_default(pinned)
    assert only_the_default("default") == {}


def _change(folder: Path) -> None:
    path = folder / "tiny" / "__init__.py"
    path.chmod(0o644)
    path.write_text("X = 2\n")


def _add(folder: Path) -> None:
    (folder / "tiny").chmod(0o755)
    (folder / "tiny" / "more.py").write_text("")


def _remove(folder: Path) -> None:
    (folder / "tiny").chmod(0o755)
    (folder / "tiny" / "__init__.py").unlink()


def _link(folder: Path) -> None:
    (folder / "tiny").chmod(0o755)
    (folder / "tiny" / "more.py").symlink_to("/etc/hostname")


def _link_folder(folder: Path) -> None:
    folder.chmod(0o755)
    (folder / "more").symlink_to("/etc")


def _forget(folder: Path) -> None:
    folder.parent.chmod(0o755)
    (folder.parent / "manifest.json").unlink()


@pytest.mark.parametrize("damage", [_change, _add, _remove, _link, _link_folder, _forget])
def test_a_change_is_seen(
    environments: Environments, locks: Path, add_wheel: AddWheel, damage: Callable[[Path], None]
) -> None:
    (locks / "a.txt").write_text(add_wheel())
    damage(environments.get("a"))
    with pytest.raises(EnvironmentUnavailableError, match=r"'a' has changed since it was made: .*; find out why"):
        environments.files("a")


def test_a_build_that_fails_leaves_nothing(
    environments: Environments, locks: Path, add_wheel: AddWheel, tmp_path: Path
) -> None:
    right = add_wheel()
    wrong = right[:-65] + "0" * 64 + "\n"
    (locks / "a.txt").write_text(wrong)
    with pytest.raises(EnvironmentUnavailableError, match=r"(?s)'a' was not made; pip says:.*HASHES"):
        environments.get("a")
    (locks / "b.txt").write_text(f"missing==1 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(EnvironmentUnavailableError, match="No matching distribution"):
        environments.get("b")
    assert [path for path in (tmp_path / "cache").iterdir() if not path.name.endswith(".lock")] == []
    (locks / "a.txt").write_text(right)
    assert environments.get("a").is_dir()


def test_what_a_killed_build_left_is_removed(
    environments: Environments, locks: Path, add_wheel: AddWheel, tmp_path: Path
) -> None:
    (locks / "a.txt").write_text(add_wheel())
    place = environments.get("a").parent
    left = place.with_name(f".{place.name}.making-x")
    place.rename(left)
    assert environments.get("a").parent == place
    assert not left.exists()


@pytest.mark.parametrize(
    "line",
    [
        *("tiny==1.0", "tiny", f"tiny>=1 {HASH}", f"tiny==1.* {HASH}", "tiny==1.0 --hash=md5:" + "0" * 32, "-e ."),
        *("-r other.txt", "--index-url https://evil/", f"https://evil/x.whl {HASH}", "./x.whl", "tiny @ file:///x.whl"),
        *("--find-links=/", f"tiny==1.0 {HASH} --config-settings=x=y", f"tiny==1.0 ; -r x {HASH} x", f"-c x {HASH}"),
    ],
)
def test_locks_that_lock_nothing(environments: Environments, locks: Path, line: str) -> None:
    (locks / "a.txt").write_text(line + "\n")
    with pytest.raises(EnvironmentUnavailableError, match=r"is not name==version"):
        environments.get("a")


@pytest.mark.parametrize("name", ["b", "../a", "", ".", "A", "a/b", "a.txt", "a\0"])
def test_names_that_are_not_there(environments: Environments, locks: Path, name: str) -> None:
    (locks / "a.txt").write_text("")
    (locks / "A.txt").write_text("")
    with pytest.raises(EnvironmentUnavailableError, match="there are a, default"):
        environments.get(name)


def test_the_default_cannot_be_given_packages(environments: Environments, locks: Path) -> None:
    (locks / "default.txt").write_text("")
    with pytest.raises(EnvironmentUnavailableError, match="always empty"):
        environments.get("default")


@pytest.mark.parametrize("path", ["workbook/sandbox/isolation/zygote.py", "workbook.py", "json.py", "asyncio/x.py"])
def test_what_closes_a_box_in_cannot_be_replaced(
    environments: Environments, locks: Path, add_wheel: AddWheel, path: str
) -> None:
    (locks / "a.txt").write_text(add_wheel({path: ""}))
    with pytest.raises(EnvironmentUnavailableError, match="would replace the module"):
        environments.get("a")


def test_several_that_want_one_make_it_once(locks: Path, add_wheel: AddWheel, tmp_path: Path) -> None:
    (locks / "a.txt").write_text(add_wheel())
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes, ThreadPoolExecutor(2) as threads:
        wanted = [pool.submit(_made, locks, tmp_path / "cache") for pool in (processes, processes, threads, threads)]
        found = {future.result() for future in wanted}
    assert len(found) == 1


def _made(locks: Path, cache: Path) -> tuple[Path, int]:
    folder = Environments(locks, cache).get("a")
    return folder, folder.stat().st_ino
