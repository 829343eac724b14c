"""What is particular to transformers: JSON where nothing can constrain it, and its own errors."""

import json
from pathlib import Path
from typing import Any

import pytest

from workbook import serving
from workbook.serving import transformers_engine
from workbook.serving.interface import Reply, Sampling

FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"city": "Paris"}', '{"city": "Paris"}'),
        ('Here it is:\n```json\n{"city": "Paris"}\n```\nAnything else?', '{"city": "Paris"}'),
        ('A set {1, 2} and then [1, {"a": "}"}] {"b": 2}', '[1, {"a": "}"}]'),
        ('{"city": "Par', '{"city": "Par'),
        (" Paris ", "Paris"),
    ],
)
def test_json_is_found_among_words(text: str, found: str) -> None:
    assert transformers_engine._json_in(text) == found


@pytest.mark.llm
def test_without_a_grammar_json_is_asked_for_checked_and_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers_engine, "find_spec", lambda _: None)
    asked: list[tuple[int, Sampling]] = []
    answers: list[tuple[str, str]] = []

    def generate(prompt: list[int], sampling: Sampling) -> Reply:
        asked.append((len(prompt), sampling))
        text, finish_reason = answers.pop(0)
        return Reply(text, len(prompt), None, 9, finish_reason, 0.0)  # type: ignore[arg-type]

    with serving.load(engine="transformers", device="cpu") as llm:
        assert any("no constrained decoding" in limit for limit in llm.limits)
        real: Any = llm._generate  # type: ignore[attr-defined]
        monkeypatch.setattr(llm, "_generate", generate)

        answers = [("Paris, of course!", "stop"), ('{"town": 1}', "stop"), ('Sure: {"city": "Paris"}', "stop")]
        reply = llm.chat(FRANCE, schema=CITY, max_tokens=50)
        assert (reply.json(), reply.finish_reason) == ({"city": "Paris"}, "stop")
        assert asked[0][0] > llm.count_tokens(FRANCE) + len(json.dumps(CITY)) // 10
        assert [sampling.temperature > 0 for _, sampling in asked] == [False, True, True]
        assert len({sampling.seed for _, sampling in asked}) == 3

        answers = [("no", "stop")] * 3
        with pytest.raises(serving.SchemaError, match="not JSON"):
            llm.chat(FRANCE, schema=CITY)
        answers = [('{"city": "Pa', "length")] * 3
        assert llm.chat(FRANCE, schema=CITY).finish_reason == "length"
        assert not answers

        # And with the model itself: what it says is JSON as asked for, or is refused.
        monkeypatch.setattr(llm, "_generate", real)
        try:
            reply = llm.chat(FRANCE, schema=CITY, max_tokens=30)
        except serving.SchemaError:
            return
        assert reply.finish_reason == "length" or isinstance(reply.json()["city"], str)


@pytest.mark.llm
def test_a_model_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"')
    with pytest.raises(serving.ServingError, match=str(tmp_path)):
        serving.load(tmp_path, engine="transformers", device="cpu")
    with pytest.raises(serving.ServingError, match="8192"):
        serving.load(engine="transformers", device="cpu", max_model_len=10_000)
