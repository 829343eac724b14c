"""One contract, and three engines that keep it: vLLM, a vLLM server, transformers. One start of each."""

import threading
from collections.abc import Iterator
from typing import Any

import jsonschema
import psutil
import pytest

from tests.system import unavailable
from workbook import models, serving
from workbook.context.vllm_masking import KEY, PROCESSOR
from workbook.serving.interface import LLM
from workbook.serving.vllm_server import VLLMServer

pytestmark = pytest.mark.llm

FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
GERMANY = [{"role": "user", "content": "What is the capital of Germany?"}]
COUNT = [{"role": "user", "content": "Count from 1 to 10."}]
LONG = [{"role": "system", "content": "You are terse, exact and polite. " * 25}, *FRANCE]
MAX_MODEL_LEN = 1024

SCHEMAS: dict[str, dict[str, Any]] = {
    "enum": {"enum": ["Paris", "London", "Rome"]},
    "flat object": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "large": {"type": "boolean"}},
        "required": ["city", "large"],
        "additionalProperties": False,
    },
    "nested object": {
        "type": "object",
        "properties": {
            "city": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": 20},
                    "continent": {"enum": ["Europe", "Asia"]},
                    "districts": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
                },
                "required": ["name", "continent", "districts"],
                "additionalProperties": False,
            }
        },
        "required": ["city"],
        "additionalProperties": False,
    },
}


def ended(engine: LLM) -> None:
    """Closes an engine and sees that no process of it is left."""
    children = psutil.Process().children(recursive=True)
    ours = [child for child in children if "vllm" in " ".join(child.cmdline()).lower()]
    assert (len(ours) >= 2) == (engine.engine == "vllm server"), ours
    engine.close()
    assert not [child for child in ours if child.is_running()]


def opened(engine: str) -> LLM:
    if engine != "transformers" and serving.vllm_built_for() != "cpu":
        unavailable("vLLM for CPUs is not installed: requirements/cpu.txt has it, for Linux on x86-64")
    if engine == "vllm server":
        return serving.serve(device="cpu", max_model_len=MAX_MODEL_LEN, logits_processors=[PROCESSOR])
    return serving.load(engine=engine, device="cpu", max_model_len=MAX_MODEL_LEN)


@pytest.fixture(scope="module", params=["transformers", "vllm", "vllm server"])
def llm(request: pytest.FixtureRequest) -> Iterator[LLM]:
    engine = opened(request.param)
    yield engine
    ended(engine)


def test_it_knows_a_fact_and_says_what_that_took(llm: LLM) -> None:
    reply = llm.chat(FRANCE)
    assert "Paris" in reply.text
    assert "<|" not in reply.text
    assert reply.finish_reason == "stop"
    assert reply.prompt_tokens == llm.count_tokens(FRANCE)
    # The end-of-text token is generated and not shown.
    assert reply.completion_tokens == llm.count_tokens(reply.text) + 1
    assert reply.seconds > 0
    assert llm.name == models.smollm2().name


def test_a_greedy_reply_is_the_same_each_time(llm: LLM) -> None:
    question = [{"role": "user", "content": "Name a colour, and say why you like it."}]
    assert len({llm.chat(question, max_tokens=16).text for _ in range(2)}) == 1


def test_a_seed_repeats_a_sample_and_another_seed_does_not(llm: LLM) -> None:
    question = [{"role": "user", "content": "Tell me a story."}]
    one, same, other = (llm.chat(question, max_tokens=10, temperature=1.5, seed=seed).text for seed in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.parametrize("kind", SCHEMAS)
def test_json_keeps_to_its_schema(llm: LLM, kind: str) -> None:
    reply = llm.chat(FRANCE, schema=SCHEMAS[kind], max_tokens=120)
    assert reply.finish_reason == "stop"
    jsonschema.validate(reply.json(), SCHEMAS[kind])


def test_json_is_constrained_even_where_the_model_is_hot(llm: LLM) -> None:
    for seed in range(3):
        reply = llm.chat(FRANCE, schema=SCHEMAS["enum"], temperature=2.0, seed=seed, max_tokens=20)
        assert reply.json() in SCHEMAS["enum"]["enum"]


def test_a_reply_cut_by_max_tokens_says_so(llm: LLM) -> None:
    reply = llm.chat(FRANCE, max_tokens=3)
    assert (reply.finish_reason, reply.completion_tokens) == ("length", 3)
    cut = llm.chat(FRANCE, schema=SCHEMAS["nested object"], max_tokens=5)
    assert cut.finish_reason == "length"
    with pytest.raises(serving.SchemaError, match="max_tokens"):
        cut.json()


def test_a_batch_equals_its_conversations_one_by_one(llm: LLM) -> None:
    # The first is the last to be done.
    batch = [COUNT, FRANCE, GERMANY, LONG]
    together = llm.chat_batch(batch, max_tokens=16)
    alone = [llm.chat(messages, max_tokens=16) for messages in batch]
    assert together[0].completion_tokens > together[1].completion_tokens
    assert [reply.text for reply in together] == [reply.text for reply in alone]
    assert [reply.prompt_tokens for reply in together] == [llm.count_tokens(messages) for messages in batch]
    assert "Berlin" in together[2].text


def test_tokens_are_counted_as_the_tokenizer_does(llm: LLM) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models.smollm2())
    for text in ("", "Hello", "naïve café, 日本語, 🙂", "  two\n\nlines "):
        assert llm.count_tokens(text) == len(tokenizer.encode(text, add_special_tokens=False))
    rendered = tokenizer.apply_chat_template(LONG, add_generation_prompt=True, tokenize=False)
    assert llm.count_tokens(LONG) == len(tokenizer.encode(rendered, add_special_tokens=False))


def test_cached_tokens_are_counted_or_said_to_be_unknown(llm: LLM) -> None:
    llm.reset_prefix_cache()
    cold, warm = llm.chat(LONG, max_tokens=2), llm.chat(LONG, max_tokens=2)
    llm.reset_prefix_cache()
    reset = llm.chat(LONG, max_tokens=2)
    cached = [reply.cached_tokens for reply in (cold, warm, reset)]
    if llm.engine == "transformers":
        assert cached == [None, None, None]
        assert any("prefix cache" in limit for limit in llm.limits)
        return
    # Whole blocks of 32 tokens, the last token of the prompt always computed.
    assert cached == [0, (cold.prompt_tokens - 1) // 32 * 32, 0]
    assert llm.limits == ()


def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(llm: LLM) -> None:
    endless = [{"role": "user", "content": "word " * MAX_MODEL_LEN}]
    tokens = llm.count_tokens(endless)
    with pytest.raises(serving.PromptTooLongError, match=f"{tokens} tokens.*max_model_len={MAX_MODEL_LEN}") as refusal:
        llm.chat(endless)
    assert (refusal.value.tokens, refusal.value.limit) == (tokens, MAX_MODEL_LEN)
    with pytest.raises(serving.PromptTooLongError):
        llm.chat_batch([FRANCE, endless])
    assert "Paris" in llm.chat(FRANCE).text


def test_the_longest_prompt_leaves_room_for_one_token(llm: LLM) -> None:
    shorter = llm.count_tokens([{"role": "user", "content": "word"}])
    words = [{"role": "user", "content": "word" + " word" * (MAX_MODEL_LEN - 1 - shorter)}]
    assert llm.count_tokens(words) == MAX_MODEL_LEN - 1
    reply = llm.chat(words, max_tokens=10 * MAX_MODEL_LEN)
    assert reply.completion_tokens == 1
    full = [{"role": "user", "content": words[0]["content"] + " word"}]
    with pytest.raises(serving.PromptTooLongError):
        llm.chat(full, max_tokens=1)


def test_a_schema_that_cannot_be_a_grammar_is_refused(llm: LLM) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        llm.chat(FRANCE, schema={"$ref": "#/nowhere"}, max_tokens=20)
    assert "Paris" in llm.chat(FRANCE).text


def test_a_text_goes_on_as_it_stands_on_the_server(llm: LLM) -> None:
    if not isinstance(llm, VLLMServer):
        assert not hasattr(llm, "complete")
        return
    prompt = "<|im_start|>user\n" + "one two " * 60 + "Which city?<|im_end|>\n<|im_start|>assistant\n"
    first, second = (llm.complete(prompt, max_tokens=4, salt="mine") for _ in range(2))
    assert first.prompt_tokens == llm.count_tokens(prompt)
    assert (first.text, first.cached_tokens) == (second.text, 0)
    assert second.cached_tokens == first.prompt_tokens // 32 * 32
    assert llm.complete(prompt, max_tokens=1, salt="another's").cached_tokens == 0
    assert llm.complete(prompt, extra_args={KEY: ["Zürich!", "Zug!"]}).text.startswith(("Zürich!", "Zug!"))
    assert llm.complete(prompt, schema={"enum": ["Basel", "Bern"]}).json() in ("Basel", "Bern")
    with pytest.raises(ValueError, match="at least one"):
        llm.complete(prompt, extra_args={KEY: []})
    with pytest.raises(serving.PromptTooLongError, match=f"^the prompt has {MAX_MODEL_LEN} tokens"):
        llm.complete([1] * MAX_MODEL_LEN)


def test_threads_may_share_it(llm: LLM) -> None:
    texts: list[str] = []
    threads = [threading.Thread(target=lambda: texts.append(llm.chat(FRANCE).text)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(texts) == 3
    assert all("Paris" in text for text in texts)
