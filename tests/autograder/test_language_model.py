"""The language model of a grading run: its failure is nobody's answer. With a stand-in for the server."""

from typing import Any

import pytest

from autograder.acceptance import NotRun
from autograder.language_model import LanguageModel
from workbook import serving


class Engine:
    def __init__(self, fails: Exception | None = None) -> None:
        self.fails = fails
        self.closed = False

    def chat(self, messages: list[Any], **options: Any) -> Any:
        if self.fails:
            raise self.fails
        return [*messages, options]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """Those that will be started, one after the other."""
    waiting: list[Engine] = []
    monkeypatch.setattr(serving, "serve", lambda **_: waiting.pop(0))
    return waiting


def test_one_engine_serves_all_until_the_end(engines: list[Engine]) -> None:
    engine = Engine()
    engines.append(engine)
    model: Any = LanguageModel()
    assert model.get().chat([1], seed=2) == [1, {"seed": 2}]
    assert model.get().chat([]) == [{}]
    model.close()
    assert engine.closed
    model.close()


def test_an_engine_that_dies_is_nobodys_answer_and_the_next_criterion_gets_another(engines: list[Engine]) -> None:
    dead, alive = Engine(serving.ServerDiedError("secret log")), Engine()
    engines += [dead, alive]
    model: Any = LanguageModel()
    with pytest.raises(NotRun, match=r"^the language model failed: ServerDiedError$"):
        model.get().chat([])
    assert dead.closed
    assert model.get().chat([]) == [{}]


def test_a_prompt_that_is_too_long_is_the_students(engines: list[Engine]) -> None:
    engines.append(Engine(serving.SchemaError("no")))
    with pytest.raises(serving.SchemaError):
        LanguageModel().get().chat([])


def test_where_there_is_none_it_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def serve(**_: Any) -> Any:
        tried.append(1)
        raise serving.UnavailableError("vLLM is not installed")

    monkeypatch.setattr(serving, "serve", serve)
    model: Any = LanguageModel()
    for _ in range(2):
        with pytest.raises(NotRun, match="vLLM is not installed"):
            model.get()
    assert tried == [1]
