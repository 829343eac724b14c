"""The memory: what is stored comes back byte for byte, or a clear error says why not."""

import errno
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.context.test_canonical import TEXT, VALUES
from workbook.context.memory import CorruptedError, DiskFullError, Memory, MemoryFailure, MissingError, encode

ROOT = Path(__file__).parents[2]


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "memory")


def left_over(memory: Memory) -> list[str]:
    return [path.name for path in memory.folder.iterdir() if path.name not in memory.names()]


@settings(deadline=None)
@given(st.binary() | TEXT | VALUES)
def test_what_is_stored_comes_back(value: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        memory = Memory(Path(folder))
        stored = memory.put(value)
        data = memory.read(stored.name)
        assert len(data) == stored.size
        if stored.kind == "bytes":
            assert data == value
        elif stored.kind == "text":
            assert data.decode() == value
        else:
            assert json.loads(data) == value
        assert memory.put(value) == stored
        assert memory.names() == [stored.name]
        assert stored.name in memory
        assert Memory(Path(folder)).read(stored.name) == data
        assert not left_over(memory)


def test_equal_content_is_stored_once_and_not_written_again(memory: Memory) -> None:
    stored = memory.put({"a": 1, "b": 2})
    path = memory.folder / stored.name
    os.utime(path, (1, 1))
    assert memory.put({"b": 2, "a": 1}) == stored
    assert path.stat().st_mtime == 1


@pytest.mark.parametrize("name", ["", "0" * 15, "../../etc/passwd", "0" * 17, "G" * 16, "/etc/passwd______"])
def test_what_is_no_reference_reads_nothing(memory: Memory, name: str) -> None:
    with pytest.raises(MissingError, match="is no reference"):
        memory.read(name)
    assert name not in memory


def test_a_missing_observation_is_named(memory: Memory) -> None:
    with pytest.raises(MissingError, match="nothing is stored as 0000000000000000") as caught:
        memory.read("0" * 16)
    assert not str(caught.value).startswith("'")


@pytest.mark.parametrize("damage", [b"", b"cut", b"something else of the same length."])
def test_a_damaged_file_is_an_error_and_is_mended(memory: Memory, damage: bytes) -> None:
    stored = memory.put("an observation that is all there..")
    (memory.folder / stored.name).write_bytes(damage)
    with pytest.raises(CorruptedError, match="is damaged"):
        memory.read(stored.name)
    memory.put("an observation that is all there..")
    assert memory.read(stored.name) == b"an observation that is all there.."


class HalfFull:
    """A disk on which this many bytes fit still."""

    def __init__(self, room: int, code: int = errno.ENOSPC) -> None:
        self.room, self.code, self.write_before = room, code, os.write

    def write(self, descriptor: int, data: Any) -> int:
        if self.room <= 0:
            raise OSError(self.code, os.strerror(self.code))
        written = self.write_before(descriptor, bytes(data)[: self.room])
        self.room -= written
        return written


@pytest.mark.parametrize("room", [0, 1, 999])
def test_a_full_disk_is_a_clear_error_and_loses_nothing(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    old = memory.put("old")
    monkeypatch.setattr("os.write", HalfFull(room).write)
    with pytest.raises(DiskFullError, match="no room for 1,000 bytes"):
        memory.put("x" * 1000)
    assert memory.names() == [old.name]
    assert not left_over(memory)
    monkeypatch.undo()
    assert memory.read(old.name) == b"old"
    assert memory.read(memory.put("x" * 1000).name) == b"x" * 1000


def test_a_disk_that_writes_in_pieces_is_written_to_the_end(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr("os.write", lambda descriptor, data: write(descriptor, bytes(data)[:7]))
    assert memory.read(memory.put("y" * 100).name) == b"y" * 100


def test_another_error_of_the_disk_is_named(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.write", HalfFull(0, errno.EIO).write)
    with pytest.raises(MemoryFailure, match=r"cannot be written.*Input/output error") as caught:
        memory.put("x")
    assert not isinstance(caught.value, DiskFullError)
    assert not left_over(memory)


def test_two_contents_with_one_name_are_refused(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, "name_of", staticmethod(lambda data: "a" * 16))
    memory.put("one")
    with pytest.raises(MemoryFailure, match="another content"):
        memory.put("two")
    assert memory.read("a" * 16) == b"one"


KILLED = """
import os, pathlib, sys
from workbook.context.memory import Memory
memory = Memory(sys.argv[1])
memory.put("first")
write, count = os.write, 0
if sys.argv[2] == "while writing":
    def die(descriptor, data):
        write(descriptor, bytes(data)[:10])
        os.kill(os.getpid(), 9)
    os.write = die
elif sys.argv[2] == "before the rename":
    pathlib.Path.replace = lambda self, target: os.kill(os.getpid(), 9)
else:
    rename = pathlib.Path.replace
    def die(self, target):
        rename(self, target)
        os.kill(os.getpid(), 9)
    pathlib.Path.replace = die
memory.put("second" * 100)
"""


@pytest.mark.parametrize("moment", ["while writing", "before the rename", "after the rename"])
def test_a_second_run_goes_on_where_a_killed_one_stopped(tmp_path: Path, moment: str) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), moment]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, env=environment, check=False).returncode == -9
    memory = Memory(tmp_path)
    for name in memory.names():  # whatever has a name is whole
        memory.read(name)
    assert memory.read(memory.put("first").name) == b"first"
    assert memory.read(memory.put("second" * 100).name) == b"second" * 100
    unfinished = left_over(memory)
    assert left_over(Memory(tmp_path)) == unfinished  # it might be another process's, that is writing now
    for name in unfinished:  # the killed run's, too young to be removed
        old = time.time() - 7200
        os.utime(tmp_path / name, (old, old))
    assert not left_over(Memory(tmp_path))
    assert len(memory.names()) == 2


def test_an_interrupted_write_leaves_nothing(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(descriptor: int, data: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        memory.put("x")
    assert not list(memory.folder.iterdir())


def test_fsync_reaches_the_file_and_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr("os.fsync", calls.append)
    Memory(tmp_path / "a").put("x")
    assert not calls
    Memory(tmp_path / "b", fsync=True).put("x")
    assert len(calls) == 2
    Memory(tmp_path / "a", fsync=True).put("x")  # it is there, but perhaps not on the disk
    assert len(calls) == 4


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MemoryFailure, match="cannot be made"):
        Memory(tmp_path / "file")


def test_a_member_of_stored_json_is_a_line() -> None:
    assert encode({"b": 2, "a": [1]}) == (b'{\n "a": [\n  1\n ],\n "b": 2\n}', "json")


def test_files_of_others_are_not_stored_observations(memory: Memory) -> None:
    (memory.folder / "notes-of-someone").write_text("x")
    stored = memory.put("a")
    assert memory.names() == [stored.name]
    assert "notes-of-someone" not in memory
    with pytest.raises(MissingError, match="None is no reference"):
        memory.read(None)  # type: ignore[arg-type]


def test_what_is_no_file_is_neither_waited_for_nor_read(memory: Memory) -> None:
    path = memory.folder / memory.put("x").name
    for put_there in (os.mkfifo, lambda place: place.symlink_to("/dev/zero"), os.mkdir):
        path.rmdir() if path.is_dir() else path.unlink()
        put_there(path)
        for use in (lambda: memory.read(path.name), lambda: memory.put("x")):
            with pytest.raises(MemoryFailure, match="it is no file"):
                use()
