"""A context as token ids, step by step: each message goes through the chat template and the tokenizer once.

That is possible where a template renders a message without looking at later ones. Not all do: some drop what the model
thought in earlier turns, and with them an appended message changes what stood before it. Such a template breaks the
prefix by itself, and is refused.
"""

from itertools import pairwise
from typing import Any

from workbook.context.agent_context import AgentContext

_PROBE = [
    {"role": "system", "content": "You help."},
    {"role": "user", "content": "Two words"},
    {"role": "assistant", "content": '<think>\nHm.\n</think>\n\n{"tool": "a", "arguments": {}}'},
    {"role": "tool", "content": '{"result":1}'},
    {"role": "assistant", "content": "Done"},
    {"role": "user", "content": " and on\n"},
]


class TemplateError(ValueError):
    """A chat template renders a message differently once others follow; contexts that use it are not append-only."""


class TokenView:
    """The token ids of a context, kept up to date at the cost of what is new.

    Args:
        context: whose messages; this view keeps its own place in it.
        tokenizer: a transformers tokenizer with a chat template.

    Raises:
        TemplateError: The template cannot be applied message by message. `ids`, `stable` and `lengths` raise it too,
            where a message follows one after which the template writes it differently: a second tool result in a row.
    """

    def __init__(self, context: AgentContext, tokenizer: Any) -> None:
        self._context = context
        self._tokenizer = tokenizer
        self._anchor = self._text(_PROBE[:1])
        self._generation = self._check()
        self._neighbours = {(one["role"], other["role"]) for one, other in pairwise(_PROBE)}
        self._last: dict[str, Any] | None = None
        self._ids: list[int] = []
        self._ends: list[int] = []

    def ids(self, prefill: str = "") -> list[int]:
        """Returns the prompt: the messages, the tail, and where the reply begins.

        Args:
            prefill: text with which the reply begins (`Mask.prefill`).
        """
        self._catch_up()
        ending = self._generation + prefill
        if self._context.tail:
            assert self._last is not None  # the system message
            self._follows(self._last, self._context.tail)
            ending = self._delta(self._context.tail) + ending
        return self._ids + self._encode(ending)

    @property
    def stable(self) -> int:
        """How many of the ids are the beginning of each later prompt."""
        self._catch_up()
        return len(self._ids)

    @property
    def lengths(self) -> list[int]:
        """How many tokens each message takes."""
        self._catch_up()
        return [end - start for start, end in zip([0, *self._ends], self._ends, strict=False)]

    def _catch_up(self) -> None:
        for message in self._context.new_messages(len(self._ends)):
            text = self._delta(message) if self._ends else self._text([message])
            if self._last is not None and len(self._ends) > 1:  # what may follow the system message was checked
                self._follows(self._last, message)
            self._ids += self._encode(text)
            self._ends.append(len(self._ids))
            self._last = message

    def _follows(self, one: dict[str, Any], other: dict[str, Any]) -> None:
        """Checks that two messages in a row are what each is by itself, once for each two roles."""
        roles = str(one["role"]), str(other["role"])
        if roles in self._neighbours:
            return
        try:
            same = self._text([_PROBE[0], one, other]) == self._anchor + self._delta(one) + self._delta(other)
        except Exception as error:  # a template raises whatever it likes
            raise TemplateError(
                f"the chat template takes no {roles[1]} message after a {roles[0]} one: {error}"
            ) from error
        if not same:
            raise TemplateError(
                f"the chat template renders a {roles[1]} message after a {roles[0]} one differently: say both in one"
            )
        self._neighbours.add(roles)

    def _delta(self, message: dict[str, Any]) -> str:
        return self._text([_PROBE[0], message])[len(self._anchor) :]

    def _text(self, messages: list[dict[str, Any]], generation: bool = False) -> str:
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation)
        return str(text)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _check(self) -> str:
        """Holds the pieces against the whole, and returns what precedes a reply."""
        try:
            whole, with_generation = self._text(_PROBE), self._text(_PROBE, generation=True)
            pieces = [self._anchor, *(self._delta(message) for message in _PROBE[1:])]
        except Exception as error:  # a template raises whatever it likes
            raise TemplateError(f"the chat template cannot render the messages of an agent: {error}") from error
        for index, _ in enumerate(pieces):
            if not whole.startswith("".join(pieces[: index + 1])):
                raise TemplateError(
                    f"the chat template renders a message of the {_PROBE[index]['role']} differently once others "
                    "follow: each step would change what earlier ones have cached"
                )
        if "".join(pieces) != whole or not with_generation.startswith(whole):
            raise TemplateError("the chat template writes something after the last message that moves with each step")
        ids = [token for piece in pieces for token in self._encode(piece)]
        if ids != self._encode(whole):
            raise TemplateError("the tokenizer joins the end of a message with the beginning of the next one")
        return with_generation[len(whole) :]
