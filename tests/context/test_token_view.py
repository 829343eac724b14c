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


# As Qwen's template does: results of tools that follow each other stand in one message of the user.
MERGED = (
    "{% for m in messages %}{% if m.role == 'tool' %}"
    "{% if messages[loop.index0 - 1].role != 'tool' %}<|im_start|>user{% endif %}\n<r>{{ m.content }}</r>"
    "{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}<|im_end|>\n{% endif %}"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As Mistral's does.
STRICT = (
    "{% for m in messages %}{% if loop.index0 and m.role == 'user' and messages[loop.index0 - 1].role == 'user' %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "roles", "tail", "why"),
    [
        (MERGED, ["user", "assistant", "tool", "tool"], False, "renders a tool message after a tool one differently"),
        (MERGED, ["user", "assistant", "tool"], True, ""),
        (STRICT, ["user"], True, "no user message after a user one: roles must alternate"),
        (STRICT, ["user", "assistant"], True, ""),
    ],
)
def test_messages_that_a_template_does_not_take_in_a_row(template: str, roles: list[str], tail: bool, why: str) -> None:
    own = tokenizer()

    class Other:
        def apply_chat_template(self, messages: Any, **options: Any) -> Any:
            return own.apply_chat_template(messages, chat_template=template, **options)

        def encode(self, text: str, **options: Any) -> Any:
            return own.encode(text, **options)

    context = AgentContext("You help.")
    view = TokenView(context, Other())
    for role in roles:
        context.add({"role": role, "content": "x"})
    if tail:
        context.recite(["y"])
    if why:
        with pytest.raises(TemplateError, match=why):
            view.ids()
    else:
        whole = Other().apply_chat_template(context.messages(), tokenize=False, add_generation_prompt=True)
        assert view.ids() == own.encode(whole, add_special_tokens=False)
