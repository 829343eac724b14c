"""Compilers in a process of their own: what they answer, how they end, and what is kept of it."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from workbook.gpu import compiling
from workbook.gpu.code import CompileError, NotRunError
from workbook.gpu.compiling import Answer, Question, ask, compiled

HERE = "tests.gpu.test_compiling"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKBOOK_CACHE", str(tmp_path))
    return tmp_path / "compiled"


def pid(question: Question) -> Answer:
    return {"pid": os.getpid(), "code": bytes(range(256)), "text": "é", "nothing": None, **question}


def fails(question: Question) -> Answer:
    raise {"compile": CompileError, "missing": NotRunError, "other": ZeroDivisionError}[question["how"]]("why")


def ends(question: Question) -> Answer:
    if question["how"] == "slow":
        time.sleep(60)
    if question["how"] == "exit":
        os._exit(3)
    os.write(2, b"LLVM ERROR: Cannot select\n")
    os.abort()


def find(name: str = "pid", version: str = "1", **question: Any) -> Answer:
    return compiled(f"{HERE}:{name}", question, {"it": version})


def test_an_answer_comes_of_another_process_which_lives_on() -> None:
    first = ask(f"{HERE}:pid", {"n": 1})
    assert first == {"pid": first["pid"], "code": bytes(range(256)), "text": "é", "nothing": None, "n": 1}
    assert first["pid"] != os.getpid()
    assert ask(f"{HERE}:pid", {})["pid"] == first["pid"]


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("compile", CompileError, "why"),
        ("missing", NotRunError, "why"),
        ("other", CompileError, "ZeroDivisionError: why"),
    ],
)
def test_an_error_is_raised_here(how: str, kind: type[Exception], message: str) -> None:
    before = ask(f"{HERE}:pid", {})["pid"]
    with pytest.raises(kind) as caught:
        find("fails", how=how)
    assert str(caught.value) == message
    assert ask(f"{HERE}:pid", {})["pid"] == before, "an error is no reason to start another process"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("abort", "the compiler crashed: SIGABRT\nLLVM ERROR: Cannot select"),
        ("exit", "the compiler crashed: exit stat"),
    ],
)
def test_a_crash_is_a_message_and_the_next_question_is_answered(how: str, message: str) -> None:
    before = ask(f"{HERE}:pid", {})["pid"]
    with pytest.raises(CompileError) as caught:
        find("ends", how=how)
    assert str(caught.value).startswith(message)
    assert ask(f"{HERE}:pid", {})["pid"] != before


def test_one_that_takes_too_long_is_ended() -> None:
    before = ask(f"{HERE}:pid", {})["pid"]
    assert isinstance(before, int)
    with pytest.raises(CompileError, match=r"took more than 0\.2 s"):
        ask(f"{HERE}:ends", {"how": "slow"}, seconds=0.2)
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


def test_one_that_was_killed_meanwhile_is_replaced() -> None:
    before = ask(f"{HERE}:pid", {})["pid"]
    assert isinstance(before, int)
    os.kill(before, signal.SIGKILL)
    time.sleep(0.1)
    assert ask(f"{HERE}:pid", {})["pid"] != before


def test_an_interrupt_leaves_no_answer_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    ask(f"{HERE}:pid", {})

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("workbook.gpu.compiling.Connection.poll", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ask(f"{HERE}:pid", {"n": 1})
    assert "n" not in ask(f"{HERE}:pid", {})


def test_threads_take_turns() -> None:
    with ThreadPoolExecutor(4) as pool:
        assert [answer["n"] for answer in pool.map(lambda n: ask(f"{HERE}:pid", {"n": n}), range(8))] == [*range(8)]


def test_a_fork_has_a_process_of_its_own() -> None:
    before = ask(f"{HERE}:pid", {})["pid"]
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, str(ask(f"{HERE}:pid", {})["pid"]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(reading, 99)) != before
    assert ask(f"{HERE}:pid", {})["pid"] == before


def test_an_answer_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    first = find(n=1)
    monkeypatch.setattr(compiling, "ask", lambda *_, **__: {"asked": True})
    assert find(n=1) == first
    for other in (find(n=2), find(version="2", n=1), find("ends", n=1)):
        assert other == {"asked": True}
    monkeypatch.setattr("inspect.getsource", lambda module: "another")
    assert find(n=1) == {"asked": True}, "also when the code that drives the compiler has changed"


def cut(data: bytes) -> bytes:
    return data[:-5]


def emptied(data: bytes) -> bytes:
    return b""


def changed(data: bytes) -> bytes:
    return data.replace(b'"n": 1', b'"n": 2')


@pytest.mark.parametrize("damage", [cut, emptied, changed])
def test_what_is_damaged_is_made_anew(cache: Path, damage: Callable[[bytes], bytes]) -> None:
    first = find(n=1)
    (kept,) = (path for path in cache.rglob("*") if path.is_file())
    kept.write_bytes(damage(kept.read_bytes()))
    assert find(n=1)["n"] == 1
    assert find(n=1)["code"] == first["code"]
    assert [path for path in cache.rglob("*") if path.is_file()] == [kept], "nothing lies beside it"


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORKBOOK_CACHE", str(tmp_path / "file"))
    assert find(n=1)["n"] == 1


def test_what_fails_leaves_no_half_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert find(n=1)["n"] == 1
    assert [path for path in cache.rglob("*") if path.is_file()] == []
