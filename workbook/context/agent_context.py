"""The context of an agent, built so that each request begins with all of the one before.

    context = AgentContext("You look after files.", tools, memory=Memory(folder))
    context.add_user("Which file is the largest?")
    reply = llm.chat(context.messages())
    context.add_assistant(reply.text)
    context.add_observation(listing, compressible=True, tool="file_list", path="/data", fields=["count"])
    context.recite([Task("list the files", done=True), Task("compare their sizes")])

What has been rendered is never rendered again: messages are only appended, each is turned into bytes once, and what has
to be said anew at each step (the todo list, the time) is the **tail**, which stands after all messages, in the next
rendering too. So a rendering without its tail is the beginning of the next one, byte for byte, in each process. What
would change that raises `PrefixBroken`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from workbook.context.canonical import canonical, plain, utf8
from workbook.context.definitions import opening, sorted_tools
from workbook.context.diagnosis import PrefixBroken, diagnose
from workbook.context.frozen import freeze, thaw
from workbook.context.masking import Mask, Mode, mask
from workbook.context.memory import Memory
from workbook.context.observations import PLAIN, Wording, draw, reference, size_of

OFFLOAD_ABOVE = 512
"""Bytes above which a compressible observation goes to the memory."""

MAX_MARKS = 4
"""Cache breakpoints that one request may set where an API wants them set (Anthropic's allows four)."""


@dataclass(frozen=True)
class Task:
    """One line of the todo list."""

    text: str
    done: bool = False


@dataclass(frozen=True)
class Breakpoint:
    """A place up to which the context is worth caching.

    Attributes:
        messages: how many messages lie before it.
        size: how many bytes of the rendering lie before it.
        digest: SHA-256 of these bytes: requests with the same one share a cache entry.
    """

    messages: int
    size: int
    digest: str


@dataclass(frozen=True)
class Rendered:
    """The context as bytes: a line of canonical JSON for each message.

    Attributes:
        data: all of it.
        stable: how many bytes of it are the beginning of each later rendering; the tail comes after.
        digest: SHA-256 of the stable bytes.
    """

    data: bytes
    stable: int
    digest: str

    @property
    def prefix(self) -> bytes:
        """The bytes that each later rendering begins with."""
        return self.data[: self.stable]

    @property
    def tail(self) -> bytes:
        """The bytes that the next rendering has after its new messages, or no more."""
        return self.data[self.stable :]


class AgentContext:
    """Messages that are only ever appended, and a tail that is written anew.

    Args:
        system: the system prompt; what changes between requests does not belong here.
        tools: tool definitions (`name`, `description`, `parameters`). Sorted by name, they follow the system prompt in
            its message, a line of canonical JSON each, since the chat templates of small models leave `tools` out.
        memory: where large observations go; without one nothing can be compressible.
        offload_above: bytes above which a compressible observation goes there.
        wordings: the forms in which observations are written (`PLAIN`, `VARIED`).
        seed: draws among them, with the number of the message.
        tools_in_system: False where the API takes `api_tools()` beside the messages.

    Raises:
        NotCanonicalError: A definition has no canonical JSON.
        ValueError: Two tools have one name, a definition has none, or there are no wordings.
    """

    def __init__(
        self,
        system: str,
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        memory: Memory | None = None,
        offload_above: int = OFFLOAD_ABOVE,
        wordings: Sequence[Wording] = PLAIN,
        seed: int = 0,
        tools_in_system: bool = True,
    ) -> None:
        if not wordings:
            raise ValueError("give at least one wording")
        self.memory = memory
        self.offload_above = offload_above
        self._wordings, self._seed = tuple(wordings), seed
        self._system = system
        self._tools = sorted_tools(tools)
        self._tools_in_system = tools_in_system
        self._messages: list[dict[str, Any]] = []
        self._ends: list[int] = []
        self._data = bytearray()
        self._hash = hashlib.sha256()
        self._rendered = 0
        self._tail: dict[str, Any] | None = None
        self._tail_line = b""
        self._todo: tuple[Task, ...] = ()
        self._breakpoints: list[Breakpoint] = []
        self._errors: list[int] = []
        self._mask: Mask = mask(list(self._tools)) if self._tools else Mask(Mode.AUTO, (), ())
        self._append({"role": "system", "content": opening(system, self._tools if tools_in_system else {})})
        self.add_breakpoint()

    # Appending

    def add_user(self, text: str) -> int:
        """Appends what the user says; returns the message's number."""
        return self.add({"role": "user", "content": text})

    def add_assistant(self, text: str) -> int:
        """Appends what the model wrote, as it wrote it; returns the message's number."""
        return self.add({"role": "assistant", "content": text})

    def add(self, message: Mapping[str, Any]) -> int:
        """Appends any message of a chat API, with its keys sorted; returns its number."""
        return self._append(_checked(message))

    def add_observation(
        self,
        obs: Any,
        compressible: bool = False,
        *,
        tool: str = "tool",
        url: str | None = None,
        path: str | None = None,
        query: str | None = None,
        fields: Sequence[str] = (),
    ) -> int:
        """Appends what a tool returned; returns the message's number.

        Where it is compressible, and larger than `offload_above` and than its reference, it goes to the memory and its
        reference stands in the context, from the first rendering on: what is shortened later has been paid for, and
        shortening it breaks the prefix. Bytes always go there.

        Args:
            obs: text, bytes, or anything that has canonical JSON.
            compressible: whether a reference may stand for it.
            tool: the tool's name.
            url: where it can be had again.
            path: likewise.
            query: what was asked to get it.
            fields: what of it stays in sight (dotted paths, `items.0.id`).

        Raises:
            DiskFullError, MemoryFailure: The memory cannot take it. The context is as it was before.
            NotCanonicalError: It has no canonical JSON.
            ValueError: It has to go to the memory, and there is none.
        """
        source = {key: value for key, value in (("url", url), ("path", path), ("query", query)) if value is not None}
        wording = draw(self._wordings, self._seed, len(self._messages))
        full = None if isinstance(obs, bytes) else wording.write(tool, "result", obs)
        content = full
        if full is None or (compressible and size_of(obs) > self.offload_above):
            if self.memory is None:
                raise ValueError("this observation has to go to the memory, and the context was made without one")
            stored = self.memory.put(obs)
            content = wording.write(tool, "moved", reference(stored, obs, source, fields))
            if full is not None and len(full) <= len(content):
                content = full
        assert content is not None
        return self._append({"role": "tool", "content": content})

    def add_error(self, error: object, *, tool: str = "tool") -> int:
        """Appends what went wrong, in full, for good; returns the message's number.

        A model that does not see that something failed does it again. So an error never goes to the memory.

        Args:
            error: an exception, or what the tool said.
            tool: the tool's name.
        """
        text = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else str(error)
        wording = draw(self._wordings, self._seed, len(self._messages))
        number = self._append({"role": "tool", "content": wording.write(tool, "error", text)})
        self._errors.append(number)
        return number

    def sync(self, messages: Sequence[Mapping[str, Any]]) -> int:
        """Takes over a list of messages that somebody else keeps: appends those that are new, returns how many.

        Args:
            messages: the whole conversation, without the tail.

        Raises:
            PrefixBroken: What has been rendered is not the beginning of it; the byte is one of `render()`.
            NotCanonicalError, TypeError: One of the new ones is no message. None of them is appended.
        """
        mine = len(self._messages)
        if any(not _same(old, new) for old, new in zip(self._messages, messages, strict=False)) or len(messages) < mine:
            self._broken(bytes(self._data), b"".join(_line(_checked(message)) for message in messages))
        new = [_checked(message) for message in messages[mine:]]
        for message in new:
            self._append(message)
        return len(new)

    def restate(self, system: str | None = None, tools: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Checks that a system prompt and tools made anew, as many loops make them, are those of the context.

        Args:
            system: the system prompt; None is the one that it has.
            tools: the definitions, in any order; None are those that it has.

        Raises:
            PrefixBroken: They are others. The context stays as it was.
        """
        named = self._tools if tools is None else sorted_tools(tools)
        said = self._system if system is None else system
        if (said, named) == (self._system, self._tools):
            return
        if self._tools_in_system:  # as it stands in the rendering
            self._broken(self.line(0), _line({"role": "system", "content": opening(said, named)}))
        self._broken(_request(self._system, self._tools), _request(said, named))

    # The tail, and what is allowed now: neither touches what was rendered

    def recite(self, tasks: Sequence[Task | str], note: str = "") -> None:
        """Writes the tail anew: the todo list, and what else changes with each step (the time, a budget).

        Args:
            tasks: the list; none takes it out of the context.
            note: a line after it.

        Raises:
            ValueError: A task has more than one line, or none.
        """
        todo = tuple(Task(task) if isinstance(task, str) else task for task in tasks)
        for task in todo:
            if not task.text.strip() or "\n" in task.text:
                raise ValueError(f"a task is one line of text, not {task.text!r}")
        lines = ["Todo:", *(f"- [{'x' if task.done else ' '}] {task.text}" for task in todo)] if todo else []
        content = "\n".join([*lines, *([note] if note else [])])
        tail = freeze({"role": "user", "content": utf8(content)}) if content else None
        line = _line(tail) if tail else b""
        self._tail, self._tail_line, self._todo = tail, line, todo
        self._rendered += len(line)

    def mask_tools(self, allowed_prefixes: Sequence[str] | None = None, mode: Mode | str = Mode.REQUIRED) -> Mask:
        """Limits what the next reply may call. All definitions stay in the context, so the prefix stays cached.

        Args:
            allowed_prefixes: beginnings of the names that may be called; None allows all.
            mode: "auto" (may call or answer), "required" (must call), "specified" (must call one of a group).

        Returns:
            The mask, which `workbook.context.masking` turns into a prefill, a schema or alternatives for a processor.

        Raises:
            MaskError: No tool is left, or the mode and the prefixes do not go together.
        """
        self._mask = mask(list(self._tools), mode, allowed_prefixes)
        return self._mask

    def add_breakpoint(self) -> Breakpoint:
        """Marks the present end of the messages as worth caching. The system prompt's end is marked from the start."""
        point = Breakpoint(len(self._messages), len(self._data), self._hash.hexdigest())
        if point not in self._breakpoints[-1:]:
            self._breakpoints.append(point)
        return point

    # Reading

    def messages(self, *, marks: bool = False) -> list[dict[str, Any]]:
        """Returns the context for a chat API, tail included. The list is the caller's; its messages are read-only.

        Args:
            marks: writes `cache_control` into the last message before each of `breakpoints()`, for APIs that want it.
        """
        messages = list(self._messages)
        if marks:
            for point in self.breakpoints():
                messages[point.messages - 1] = _marked(messages[point.messages - 1])
        return messages + ([self._tail] if self._tail else [])

    def render(self) -> Rendered:
        """Returns the context as bytes. Only what is new since the last call is turned into bytes."""
        return Rendered(b"".join((self._data, self._tail_line)), len(self._data), self._hash.hexdigest())

    def line(self, number: int) -> bytes:
        """Returns the bytes of one message."""
        number = range(len(self._ends))[number]
        return bytes(self._data[self._ends[number - 1] if number else 0 : self._ends[number]])

    def new_messages(self, known: int) -> list[dict[str, Any]]:
        """Returns the messages after the first `known`, without the tail: what a renderer has not yet seen."""
        return self._messages[known:]

    def api_tools(self) -> list[dict[str, Any]]:
        """Returns the tool definitions, sorted by name, for an API that takes them beside the messages."""
        return _definitions(self._tools)

    def breakpoints(self, most: int = MAX_MARKS) -> list[Breakpoint]:
        """Returns the first breakpoint, which all sessions share, and the last ones, `most` in all."""
        points = self._breakpoints
        return points[:1] + points[max(len(points) - most + 1, 1) :]

    @property
    def tail(self) -> dict[str, Any] | None:
        """The message at the end that is written anew, if there is one."""
        return self._tail

    @property
    def todo(self) -> tuple[Task, ...]:
        """The todo list as it stands."""
        return self._todo

    @property
    def mask(self) -> Mask:
        """What the next reply may call."""
        return self._mask

    @property
    def errors(self) -> tuple[int, ...]:
        """The numbers of the messages that are errors."""
        return tuple(self._errors)

    @property
    def digest(self) -> str:
        """SHA-256 of the messages' bytes."""
        return self._hash.hexdigest()

    @property
    def size(self) -> int:
        """Bytes of the messages, tail included."""
        return len(self._data) + len(self._tail_line)

    @property
    def rendered_bytes(self) -> int:
        """How many bytes have been rendered so far, each message once, each tail once: what steps have cost."""
        return self._rendered

    def __len__(self) -> int:
        return len(self._messages)

    def __repr__(self) -> str:
        return f"<context of {len(self._messages)} messages, {self.size:,} bytes, {len(self._tools)} tools>"

    def _append(self, message: dict[str, Any]) -> int:
        line = _line(message)
        self._messages.append(freeze(message))
        self._data += line
        self._hash.update(line)
        self._ends.append(len(self._data))
        self._rendered += len(line)
        return len(self._messages) - 1

    def _broken(self, before: Any, after: Any) -> NoReturn:
        found = diagnose(before, after)
        assert found is not None
        raise PrefixBroken(found)


def _line(message: Mapping[str, Any]) -> bytes:
    return canonical(message).encode() + b"\n"


def _definitions(tools: Mapping[str, str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in tools.values()]


def _request(system: str, tools: Mapping[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": "system", "content": system}], "tools": _definitions(tools)}


def _checked(message: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a message that shares nothing with what was given."""
    if not isinstance(message.get("role"), str):
        raise TypeError(f'a message has a "role", and this one has the keys {", ".join(map(str, message))}')
    copy: dict[str, Any] = plain(message, "the message")
    return copy


def _same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Says whether a message is the one that was rendered; the types of numbers count, the order of keys does not."""
    if old == new and all(isinstance(value, str) for value in old.values()):
        return True
    return _line(old) == _line(new)


def _marked(message: Mapping[str, Any]) -> dict[str, Any]:
    copy: dict[str, Any] = thaw(message)
    if isinstance(copy.get("content"), str):
        copy["content"] = [{"type": "text", "text": copy["content"]}]
    if isinstance(copy.get("content"), list) and copy["content"] and isinstance(copy["content"][-1], dict):
        copy["content"][-1]["cache_control"] = {"type": "ephemeral"}
    return copy
