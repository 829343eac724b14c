"""What every engine does, whatever runs behind it: chat, constrained JSON, token counts.

An engine is opened by `serving.load` or `serving.serve`, and closed by its `with` block, by `close()` or, at the
latest, when the process ends. Its methods may be called from any thread, and inside a running event loop they block.
"""

import abc
import atexit
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

Message = Mapping[str, str]
FinishReason = Literal["stop", "length"]

ROLES = ("system", "user", "assistant", "tool")


class ServingError(RuntimeError):
    """An engine cannot do what was asked; the message says what to do about it."""


class UnavailableError(ServingError):
    """This machine or this environment lacks what the engine needs."""


class ClosedError(ServingError):
    """The engine was closed before."""


class PromptTooLongError(ServingError, ValueError):
    """A prompt leaves no room for a reply.

    Attributes:
        tokens: Length of the prompt, chat template included.
        limit: The engine's `max_model_len`: prompt and reply together.
    """

    def __init__(self, tokens: int, limit: int) -> None:
        self.tokens, self.limit = tokens, limit
        super().__init__(
            f"the prompt has {tokens} tokens, and max_model_len={limit} must hold it and at least one token of the "
            "reply: shorten the prompt, or open the engine with a larger max_model_len"
        )


class PortInUseError(ServingError):
    """Another process listens on the port that was asked for."""


class ServerDiedError(ServingError):
    """The server's process ended by itself; the message has the end of its log."""


class SchemaError(ServingError):
    """A finished reply is not what its JSON schema asks for, or a reply that was cut was read as JSON."""


@dataclass(frozen=True)
class Reply:
    """What the model said, and what that took.

    Attributes:
        text: The reply, special tokens left out.
        prompt_tokens: Length of the prompt, chat template included.
        cached_tokens: How many of these came from the prefix cache; None where the engine has none.
        completion_tokens: Tokens generated, the end-of-text token included.
        finish_reason: "stop" where the model ended by itself, "length" where `max_tokens` or `max_model_len` cut it.
        seconds: From the call until this reply was complete, on this machine, under its present load.
    """

    text: str
    prompt_tokens: int
    cached_tokens: int | None
    completion_tokens: int
    finish_reason: FinishReason
    seconds: float

    def json(self) -> Any:
        """Returns the reply's text parsed as JSON.

        Raises:
            SchemaError: The reply was cut, or it is not JSON.
        """
        if self.finish_reason == "length":
            raise SchemaError(
                f"the reply was cut after {self.completion_tokens} tokens, so it is not complete JSON: raise "
                f"max_tokens. It ends with {self.text[-60:]!r}"
            )
        try:
            return json.loads(self.text)
        except json.JSONDecodeError as error:
            raise SchemaError(f"the reply is not JSON ({error}): {_shorten(self.text)!r}") from error


@dataclass(frozen=True)
class Sampling:
    """How to continue a prompt: the checked arguments of `chat`."""

    schema: Mapping[str, Any] | None
    max_tokens: int
    temperature: float
    seed: int | None

    def __post_init__(self) -> None:
        if not _is_integer(self.max_tokens) or self.max_tokens < 1:
            raise ValueError(f"max_tokens must be a whole number, 1 or more, not {self.max_tokens!r}")
        if not isinstance(self.temperature, int | float) or not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature must be a number, 0 (greedy) or more, not {self.temperature!r}")
        if self.seed is not None and (not _is_integer(self.seed) or not 0 <= self.seed < 2**63):
            raise ValueError(f"seed must be a whole number from 0 to 2**63 - 1, or None, not {self.seed!r}")
        if self.schema is None:
            return
        if not isinstance(self.schema, Mapping):
            raise TypeError(f"schema must be a JSON schema as a dict, not {type(self.schema).__name__}")
        from jsonschema import SchemaError as InvalidSchemaError
        from jsonschema.validators import validator_for

        try:
            json.dumps(self.schema)
            validator_for(self.schema).check_schema(dict(self.schema))
        except (TypeError, ValueError) as error:
            raise ValueError(f"schema cannot be written as JSON: {error}") from error
        except InvalidSchemaError as error:
            raise ValueError(f"schema is not a valid JSON schema: {error.message}") from error

    def mismatch(self, text: str) -> str | None:
        """Says how `text` breaks the schema; None where it does not, or where there is no schema."""
        if self.schema is None:
            return None
        from jsonschema.validators import validator_for

        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            return f"not JSON ({error})"
        flaw = next(validator_for(self.schema)(self.schema).iter_errors(value), None)
        return None if flaw is None else f"{flaw.message} at {flaw.json_path}"


class LLM(abc.ABC):
    """A language model that is loaded and can be asked.

    Attributes:
        name: The model's name: that of its folder.
        engine: What runs it: "vllm", "vllm server" or "transformers".
        device: "cpu" or "cuda".
        max_model_len: Tokens that a prompt and its reply may have together.
        limits: What this engine cannot do that vLLM can, one plain sentence each; empty where there is nothing.
    """

    engine: str
    limits: tuple[str, ...] = ()

    def __init__(self, model: Path, device: str, max_model_len: int) -> None:
        self.name = model.name
        self.device = device
        self.max_model_len = max_model_len
        self._closed = False
        atexit.register(self.close)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int = 256,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Reply:
        """Continues one conversation.

        Args:
            messages: `{"role": …, "content": …}` each, oldest first.
            schema: A JSON schema. The reply's text then is JSON that it admits, or was cut (`finish_reason`).
            max_tokens: At most this many tokens are generated; fewer where `max_model_len` leaves less room.
            temperature: 0 takes the likeliest token each time.
            seed: Makes sampling at a temperature above 0 repeatable.

        Raises:
            PromptTooLongError: The prompt alone fills `max_model_len`.
            SchemaError: A complete reply breaks the schema (possible only where decoding is not constrained, or for
                parts of JSON Schema that the engine's grammars ignore).
            ClosedError: The engine was closed.
            ServingError: The engine failed.
            ValueError, TypeError: An argument is wrong.
        """
        replies = self.chat_batch([messages], schema=schema, max_tokens=max_tokens, temperature=temperature, seed=seed)
        return replies[0]

    def chat_batch(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int = 256,
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> list[Reply]:
        """Continues several conversations at once, as `chat` does one; replies stand in the order of `conversations`.

        Where one of them is refused none is answered.
        """
        sampling = Sampling(schema, max_tokens, temperature, seed)
        checked = [check_messages(messages) for messages in conversations]
        self._check_open()
        if not checked:
            return []
        replies = self._complete(checked, sampling)
        for reply in replies:
            problem = sampling.mismatch(reply.text) if reply.finish_reason == "stop" else None
            if problem:
                raise SchemaError(f"the reply breaks its schema: {problem}. It is {_shorten(reply.text)!r}")
        return replies

    def count_tokens(self, prompt: str | Sequence[Message]) -> int:
        """Counts the tokens of a text, or of a conversation as the model would read it (chat template included)."""
        if not isinstance(prompt, str):
            prompt = check_messages(prompt)
        self._check_open()
        return self._count(prompt)

    def reset_prefix_cache(self) -> None:
        """Makes later prompts start from a cold prefix cache; does nothing where there is none."""
        self._check_open()
        self._reset_prefix_cache()

    def close(self) -> None:
        """Ends the engine and gives back what it held: memory, processes, files. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = ", closed" if self._closed else ""
        return f"<{self.name} on {self.engine} ({self.device}), max_model_len={self.max_model_len}{state}>"

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"this engine ({self.name} on {self.engine}) was closed: open a new one")

    @abc.abstractmethod
    def _complete(self, conversations: list[list[dict[str, str]]], sampling: Sampling) -> list[Reply]: ...

    @abc.abstractmethod
    def _count(self, prompt: str | list[dict[str, str]]) -> int: ...

    @abc.abstractmethod
    def _reset_prefix_cache(self) -> None: ...

    @abc.abstractmethod
    def _close(self) -> None: ...


def check_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Returns the conversation as a list of plain dicts.

    Raises:
        TypeError: It is not a list of dicts of strings.
        ValueError: It is empty, or a message lacks a key or has an unknown role.
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence):
        raise TypeError(
            f'a conversation is a list of messages such as {{"role": "user", "content": "…"}}, '
            f"not {type(messages).__name__}"
        )
    if not messages:
        raise ValueError("the conversation is empty: give at least one message")
    return list(_checked(messages))


def _checked(messages: Sequence[Message]) -> Iterator[dict[str, str]]:
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise TypeError(f"message {index} must be a dict, not {type(message).__name__}")
        for key in ("role", "content"):
            if key not in message:
                raise ValueError(f'message {index} has no "{key}"')
            if not isinstance(message[key], str):
                raise TypeError(f'message {index}: "{key}" must be a string, not {type(message[key]).__name__}')
        if message["role"] not in ROLES:
            raise ValueError(f"message {index} has the role {message['role']!r}: choose one of {', '.join(ROLES)}")
        yield dict(message)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shorten(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}…"
