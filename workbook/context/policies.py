"""Six ways to keep one context, so that one workload can be replayed under each.

| policy | what differs from the one above |
|---|---|
| naive | the baseline: the time first, definitions in any order, everything in full, no todo list |
| time_first | definitions and keys are sorted, the todo list stands at the end; the time still comes first |
| append_only | the time stands at the end, too: what was rendered is the beginning of the next rendering |
| window | only the last turns are shown |
| clearing | old observations are emptied at each step; the calls stay |
| offload | large observations go to a file when they are appended; a reference stays |
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbook.context.agent_context import AgentContext, Task
from workbook.context.baseline import Naive, Todo, in_full
from workbook.context.memory import Memory
from workbook.context.retrieval import RETRIEVE, Retrieval
from workbook.context.scoring import Policy
from workbook.context.trace import Message
from workbook.context.workload import Workload

WINDOW = 16
"""Messages that the window shows, besides the system prompt and the task: eight turns."""

KEPT = 4
"""Observations that clearing leaves in full."""

CLEARED = "[cleared]"
_HEAD = 2
"""The system prompt and the task."""


class AppendOnly:
    """Everything in full, nothing before the tail ever changes.

    Args:
        context: where the messages are.
    """

    def __init__(self, context: AgentContext) -> None:
        self._context = context

    def add_user(self, text: str) -> None:
        """Appends what the user says."""
        self._context.add_user(text)

    def add_assistant(self, text: str) -> None:
        """Appends what the model wrote."""
        self._context.add_assistant(text)

    def add_observation(self, obs: Any, tool: str, *, source: Mapping[str, str], fields: Sequence[str] = ()) -> None:
        """Appends what a tool returned."""
        if self._context.memory is None:
            self._context.add_observation(in_full(obs) if isinstance(obs, bytes) else obs, tool=tool)
        else:
            url, path, query = map(source.get, ("url", "path", "query"))
            # What was fetched to be read now would not be there if it went back to its file.
            moves = tool != RETRIEVE["name"]
            self._context.add_observation(obs, moves, tool=tool, url=url, path=path, query=query, fields=fields)

    def add_error(self, text: str, tool: str) -> None:
        """Appends what went wrong."""
        self._context.add_error(text, tool=tool)

    def render(self, todo: Todo, now: str) -> list[Message]:
        """Returns the messages of the next request."""
        self._context.recite([Task(text, done) for text, done in todo], f"It is {now}.")
        return self._shown(list(self._context.messages()))

    def retrieve(self, ref: str, contains: str) -> str:
        """Returns what `memory_retrieve` answers.

        Raises:
            KeyError: Nothing was moved.
        """
        if self._context.memory is None:
            raise KeyError(f"there is no reference {ref!r}: nothing was moved")
        return Retrieval(self._context.memory).run({"ref": ref, "contains": contains})

    def _shown(self, messages: list[Message]) -> list[Message]:
        return messages


class TimeFirst(AppendOnly):
    """As `AppendOnly`, but the system prompt begins with the time."""

    def render(self, todo: Todo, now: str) -> list[Message]:
        """Returns the messages of the next request."""
        self._context.recite([Task(text, done) for text, done in todo])
        system, *rest = self._context.messages()
        return [{**system, "content": f"It is {now}.\n{system['content']}"}, *rest]


class Window(AppendOnly):
    """The system prompt, the task, and the last `WINDOW` messages."""

    def _shown(self, messages: list[Message]) -> list[Message]:
        head, turns, tail = messages[:_HEAD], messages[_HEAD:-1], messages[-1:]
        return head + turns[-WINDOW:] + tail


class Clearing(AppendOnly):
    """All messages; of the observations only the last `KEPT` in full."""

    def __init__(self, context: AgentContext) -> None:
        super().__init__(context)
        self._cleared: Message = {"role": "tool", "content": CLEARED}

    def _shown(self, messages: list[Message]) -> list[Message]:
        places = [number for number, message in enumerate(messages) if message["role"] == "tool"][:-KEPT]
        for number in places:
            messages[number] = self._cleared
        return messages


def make(policy: str, workload: Workload, folder: Path) -> Policy:
    """Returns a context that is kept in one of the six ways, with nothing but its system prompt in it.

    Args:
        policy: its name in `POLICIES`.
        workload: whose system prompt and tools it gets.
        folder: where `offload` puts files.

    Raises:
        KeyError: There is no such policy.
    """
    return POLICIES[policy](workload, folder)


def _kept_by(kind: type[AppendOnly]) -> Callable[[Workload, Path], Policy]:
    return lambda workload, _folder: kind(AgentContext(workload.system, workload.tools))


POLICIES: dict[str, Callable[[Workload, Path], Policy]] = {
    "naive": lambda workload, _folder: Naive(workload.system, workload.tools),
    "time_first": _kept_by(TimeFirst),
    "append_only": _kept_by(AppendOnly),
    "window": _kept_by(Window),
    "clearing": _kept_by(Clearing),
    "offload": lambda workload, folder: AppendOnly(
        AgentContext(workload.system, workload.tools, memory=Memory(folder))
    ),
}
