"""What a context is measured against: one that is kept without a thought for the cache.

It begins with the time, writes tool definitions in the order and with the order of keys in which a loop happened to
collect them, keeps all observations in full, and has no todo list. Each of these can be found in agents that run.
"""

import base64
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from workbook.context.trace import Message

Todo = Sequence[tuple[str, bool]]
"""The todo list: texts, and whether each is done."""


class Naive:
    """The declared baseline.

    Args:
        system: the system prompt.
        tools: the tool definitions.

    Attributes:
        system: as it was given.
        tools: likewise.
        messages: all after the system prompt.
    """

    def __init__(self, system: str, tools: Sequence[Mapping[str, Any]]) -> None:
        self.system, self.tools = system, tools
        self.messages: list[Message] = []
        self._requests = 0

    def add_user(self, text: str) -> None:
        """Appends what the user says."""
        self.messages.append({"role": "user", "content": text})

    def add_assistant(self, text: str) -> None:
        """Appends what the model wrote."""
        self.messages.append({"role": "assistant", "content": text})

    def add_observation(self, obs: Any, tool: str, **_source: Any) -> None:
        """Appends what a tool returned, in full."""
        self.messages.append({"role": "tool", "content": f"{tool}: {in_full(obs)}"})

    def add_error(self, text: str, tool: str) -> None:
        """Appends what went wrong."""
        self.add_observation(text, tool)

    def render(self, _todo: Todo, now: str) -> list[Message]:
        """Returns the messages of the next request."""
        rng = random.Random(self._requests)
        self._requests += 1
        tools = [_shuffled(tool, rng) for tool in rng.sample(list(self.tools), len(self.tools))]
        opening = "\n".join([f"It is {now}.", self.system, "Tools:", *map(json.dumps, tools)])
        return [{"role": "system", "content": opening}, *self.messages]

    def retrieve(self, ref: str, _contains: str) -> str:
        """Finds nothing: all that it has stands in the context.

        Raises:
            KeyError: Always.
        """
        raise KeyError(f"there is no reference {ref!r}: nothing was moved")


def in_full(obs: Any) -> str:
    """Returns an observation as text: bytes in base64, data as JSON in the order in which its keys stand."""
    if isinstance(obs, str):
        return obs
    return base64.b64encode(obs).decode() if isinstance(obs, bytes) else json.dumps(obs, ensure_ascii=False)


def _shuffled(value: Any, rng: random.Random) -> Any:
    """Returns the same value, with the keys of its dictionaries in another order."""
    if isinstance(value, Mapping):
        return {key: _shuffled(value[key], rng) for key in rng.sample(list(value), len(value))}
    return [_shuffled(item, rng) for item in value] if isinstance(value, list) else value
