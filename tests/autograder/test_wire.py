"""The four verbs and callbacks, between two ends in one process; over a box see tests/grading."""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from autograder.acceptance import Failed
from autograder.asker import AnswerRaised, AnswerRefused, LocalAsker, WorkerLost
from autograder.values import Handle


class Counter:
    step = 1

    def __init__(self, start: int = 0) -> None:
        self.value = start

    def add(self, number: int, times: int = 1) -> int:
        self.value += number * times
        return self.value

    def other(self) -> "Counter":
        return Counter(self.value + 100)

    def items(self, given: list[int]) -> list[int]:
        given.append(self.value)
        return given

    def itself(self) -> "Counter":
        return self


class OwnError(KeyError):
    pass


def fail(kind: str) -> None:
    raise {"own": OwnError("gone"), "exit": SystemExit(3), "interrupt": KeyboardInterrupt()}[kind]


class Unprintable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise ValueError("no text")


def fail_unprintably() -> None:
    raise Unprintable


def apply(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def apply_in_thread(function: Callable[..., Any], argument: Any) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(function(argument)))
    thread.start()
    thread.join()
    return found[0]


def name_of_what_is_raised(function: Callable[[], Any]) -> str:
    try:
        return str(function())
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"


def swallow(function: Callable[[], Any]) -> str:
    for _ in range(3):
        try:
            function()
        except Exception:  # noqa: BLE001
            continue
    return "swallowed"


kept: list[Callable[..., Any]] = []


def keep(function: Callable[..., Any]) -> None:
    kept.append(function)


def nap(seconds: float) -> None:
    time.sleep(seconds)


NAMES = [Counter, fail, fail_unprintably, apply, apply_in_thread, name_of_what_is_raised, swallow, keep, nap]


@pytest.fixture
def asker() -> LocalAsker:
    return LocalAsker({item.__name__: item for item in NAMES} | {"CONSTANT": [1, "a"]})  # type: ignore[attr-defined]


def test_new_leaves_the_object_where_it_is(asker: LocalAsker) -> None:
    one = asker.ask("new", "Counter", arguments=[5])
    other = asker.ask("new", "Counter", keywords={"start": 7})
    assert isinstance(one, Handle)
    assert asker.ask("call", one, "add", [1]) == 6
    assert asker.ask("call", one, "add", [1], {"times": 3}) == 9
    assert asker.ask("get", one, "value") == 9
    assert asker.ask("get", other, "value") == 7
    made = asker.ask("new", one, "other")
    assert asker.ask("get", made, "value") == 109


def test_get_and_call_give_plain_values(asker: LocalAsker) -> None:
    assert asker.ask("get", "CONSTANT") == [1, "a"]
    given = [1]
    one = asker.ask("new", "Counter")
    assert asker.ask("call", one, "items", [given]) == [1, 0]
    assert given == [1], "arguments are copies"
    with pytest.raises(AnswerRefused, match="Counter"):
        asker.ask("call", one, "itself")


def test_drop_forgets(asker: LocalAsker) -> None:
    one = asker.ask("new", "Counter")
    asker.ask("drop", one)
    with pytest.raises(AnswerRaised, match="KeyError"):
        asker.ask("get", one, "value")
    asker.ask("drop", one)


def test_a_name_that_is_not_defined(asker: LocalAsker) -> None:
    with pytest.raises(AnswerRaised, match="NameError: the notebook does not define Missing"):
        asker.ask("new", "Missing")


def test_exceptions_come_back_as_names_and_text(asker: LocalAsker) -> None:
    with pytest.raises(AnswerRaised) as caught:
        asker.ask("call", "fail", arguments=["own"])
    assert caught.value.names[:4] == ("OwnError", "KeyError", "LookupError", "Exception")
    assert caught.value.message == "'gone'"
    for kind, name in (("exit", "SystemExit"), ("interrupt", "KeyboardInterrupt")):
        with pytest.raises(AnswerRaised) as caught:
            asker.ask("call", "fail", arguments=[kind])
        assert caught.value.names[0] == name
    with pytest.raises(AnswerRaised, match=r"Unprintable: .*text cannot be had"):
        asker.ask("call", "fail_unprintably")


def test_callbacks_are_answered_by_the_judge(asker: LocalAsker) -> None:
    assert asker.ask("call", "apply", arguments=[lambda a, b: [*a, b], [1], (2,)]) == [1, (2,)]
    assert asker.ask("call", "apply_in_thread", arguments=[lambda text: text * 2, "ab"]) == "abab"


def test_a_callback_may_put_questions(asker: LocalAsker) -> None:
    one = asker.ask("new", "Counter")

    def nested(number: int) -> int:
        asker.ask("call", one, "add", [number])
        return int(asker.ask("call", "apply", arguments=[lambda: number * 2]))

    assert asker.ask("call", "apply", arguments=[nested, 21]) == 42
    assert asker.ask("get", one, "value") == 21


def test_what_a_callback_raises_is_raised_where_it_is_called(asker: LocalAsker) -> None:
    def missing() -> None:
        raise FileNotFoundError("no such file: a")

    def strange() -> None:
        raise OwnError("odd")

    def undecodable() -> None:
        b"\xff".decode()

    def ask(function: Callable[[], None]) -> str:
        return str(asker.ask("call", "name_of_what_is_raised", arguments=[function]))

    assert ask(missing) == "FileNotFoundError: no such file: a"
    assert ask(strange) == "RuntimeError: OwnError: 'odd'"
    assert ask(undecodable).startswith("RuntimeError: UnicodeDecodeError")


def test_an_unmet_expectation_in_a_callback_ends_the_criterion_whatever_the_student_catches(asker: LocalAsker) -> None:
    calls = 0

    def unmet() -> None:
        nonlocal calls
        calls += 1
        raise Failed("expected a system message first")

    with pytest.raises(Failed, match="system message"):
        asker.ask("call", "swallow", arguments=[unmet])
    assert calls == 1
    assert asker.ask("get", "CONSTANT") == [1, "a"]


def test_a_callback_is_dead_once_the_call_is_over(asker: LocalAsker) -> None:
    asker.ask("call", "keep", arguments=[lambda: 1])
    result: list[str] = []
    thread = threading.Thread(target=lambda: result.append(name_of_what_is_raised(kept[-1])))
    thread.start()
    thread.join()
    assert "until the call that was given it returns" in result[0]


def test_a_callback_is_dead_in_a_fork(asker: LocalAsker) -> None:
    def in_fork(function: Callable[[], Any]) -> str:
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.write(writing, name_of_what_is_raised(function).encode())
            os._exit(0)
        os.wait()
        return os.read(reading, 1000).decode()

    asker = LocalAsker({"in_fork": in_fork})
    assert "only in the process" in asker.ask("call", "in_fork", arguments=[lambda: 1])


def test_callback_arguments_must_be_plain(asker: LocalAsker) -> None:
    def odd(function: Callable[..., Any]) -> Any:
        return function(object())

    asker = LocalAsker({"odd": odd})
    with pytest.raises(AnswerRefused, match="object"):
        asker.ask("call", "odd", arguments=[lambda value: value])


def test_deadline(asker: LocalAsker) -> None:
    began = time.monotonic()
    with pytest.raises(WorkerLost, match="in time"), asker.deadline(30), asker.deadline(0.2):
        asker.ask("call", "nap", arguments=[20])
    assert time.monotonic() - began < 10
    with asker.deadline(30):
        asker.ask("call", "nap", arguments=[0.3])


def test_the_earlier_of_two_deadlines_counts(asker: LocalAsker) -> None:
    began = time.monotonic()
    with pytest.raises(WorkerLost), asker.deadline(0.2), asker.deadline(30):
        asker.ask("call", "nap", arguments=[20])
    assert time.monotonic() - began < 10
