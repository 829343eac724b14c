"""The token ids of a context, message by message, are those of the whole."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbook import models
from workbook.context.agent_context import AgentContext
from workbook.context.token_view import TemplateError, TokenView

TOOLS = [{"name": name, "description": name, "parameters": {"type": "object"}} for name in ("file_read", "file_write")]
HEAD = "{% for m in messages %}<|im_start|>{{ m.role }}\n"
TAIL = "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


@cache
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(models.smollm2())


class Counting:
    """A tokenizer that counts the characters that it was given."""

    def __init__(self) -> None:
        self.characters = 0

    def apply_chat_template(self, messages: Any, **options: Any) -> Any:
        return tokenizer().apply_chat_template(messages, **options)

    def encode(self, text: str, **options: Any) -> Any:
        self.characters += len(text)
        return tokenizer().encode(text, **options)


def whole(context: AgentContext) -> list[int]:
    return list(tokenizer().apply_chat_template(context.messages(), add_generation_prompt=True, return_dict=False))


STEPS = st.lists(st.tuples(st.sampled_from(["user", "assistant", "tool", "todo"]), st.text("ab \n{}é", max_size=12)))


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_piece_by_piece_is_what_the_whole_is(steps: list[tuple[str, str]]) -> None:
    context = AgentContext("You help.", TOOLS)
    view = TokenView(context, tokenizer())
    before = view.ids()[: view.stable]
    for role, text in steps:
        if role == "todo":
            context.recite([f"x{text!r}"])
        else:
            context.add({"role": role, "content": text})
        ids = view.ids()
        assert ids == whole(context)
        assert ids[: len(before)] == before
        before = ids[: view.stable]
    assert sum(view.lengths) == view.stable
    assert len(view.lengths) == len(context)


def test_a_prefill_follows_where_the_reply_begins() -> None:
    context = AgentContext("You help.")
    view = TokenView(context, tokenizer())
    ids = view.ids('{"tool": "')
    assert tokenizer().decode(ids).endswith('<|im_start|>assistant\n{"tool": "')
    assert ids[: len(view.ids())] == view.ids()


def test_each_message_is_tokenized_once() -> None:
    context = AgentContext("You help.")
    counting = Counting()
    view = TokenView(context, counting)
    costs = []
    for _ in range(60):
        context.add_user("a message of some words")
        before = counting.characters
        view.ids()
        costs.append(counting.characters - before)
    assert max(costs[1:]) == min(costs[1:])


@pytest.mark.parametrize(
    ("template", "why"),
    [
        # What reasoning models' templates do: what was thought goes when the next user message comes.
        (HEAD + "{{ m.content.split('</think>')[-1] if not loop.last else m.content }}" + TAIL, "differently once"),
        (HEAD + "{{ m.content }}{{ loop.index }}" + TAIL, "differently once"),
        (HEAD + "{{ m.content }} of {{ messages|length }}" + TAIL, "differently once"),
        (HEAD + "{{ m.content }}" + TAIL + "<end>", "differently once"),
        (HEAD + "{{ m.content }}" + TAIL + "{% if messages|length > 2 %}<end>{% endif %}", "after the last message"),
        (
            HEAD + "{{ raise_exception('no tools') if m.role == 'tool' else m.content }}" + TAIL,
            r"cannot render.*no tools",
        ),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "joins the end"),
    ],
)
def test_a_template_that_looks_ahead_is_refused(template: str, why: str) -> None:
    own = tokenizer()

    class Other:
        def apply_chat_template(self, messages: Any, **options: Any) -> Any:
            return own.apply_chat_template(messages, chat_template=template, **options)

        def encode(self, text: str, **options: Any) -> Any:
            return own.encode(text, **options)

    with pytest.raises(TemplateError, match=why):
        TokenView(AgentContext("You help."), Other())
