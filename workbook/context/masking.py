"""Which tools may be called now, without touching their definitions.

A definition that is taken out of the context changes its beginning, and everything after it is computed again. So all
definitions stay, and the *reply* is held to those that may be called: by text that is written for the model before it
goes on (a prefill), by a JSON schema (structured outputs), or by a logits processor (`workbook.context.processor`).

Three modes, after the ones that serving APIs have:

- `auto`: the model answers, or calls any tool that is allowed;
- `required`: it calls one of them;
- `specified`: it calls one of a group, the tools whose names have one beginning (`browser_`).

A prefill costs nothing and works everywhere, but holds the reply to a beginning only: it cannot express a set without
a common one, nor keep the model from inventing a name that begins so. The other two are exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

CALL_START = '{"tool": "'
CALL_MIDDLE = '", "arguments":'
CALL_OPEN = " {"
ANSWER_START = '{"answer": "'
MAX_ANSWER = 200
"""Longest answer, in characters, that the schema admits."""


class Mode(StrEnum):
    """What a reply has to be."""

    AUTO = "auto"
    REQUIRED = "required"
    SPECIFIED = "specified"


class MaskError(ValueError):
    """No tool may be called, or this cannot be asked for in this way; the message says what can."""


@dataclass(frozen=True)
class Mask:
    """What the next reply may be.

    Attributes:
        mode: whether it may, or must, be a call.
        allowed: the names that may be called, sorted.
        tools: all names, sorted.
        prefix: the group's common beginning, where one was specified.
    """

    mode: Mode
    allowed: tuple[str, ...]
    tools: tuple[str, ...]
    prefix: str = ""

    @property
    def actions(self) -> frozenset[str | None]:
        """All that the reply may be: the names that it may call, and None where it may answer."""
        return frozenset([*self.allowed, *([None] if self.mode is Mode.AUTO else [])])

    def prefill(self) -> str:
        """Returns what is written for the model at the beginning of its reply.

        Raises:
            MaskError: No beginning says it: the allowed names are not all those that begin in one way, or the reply
                may be an answer and not all tools are allowed.
        """
        if self.mode is Mode.AUTO:
            if self.allowed != self.tools:
                raise MaskError("a reply that may be an answer has no beginning: use a schema or the processor")
            return ""
        if len(self.allowed) == 1:
            return f"{CALL_START}{self.allowed[0]}{CALL_MIDDLE}"
        common = self.prefix or _common(self.allowed)
        others = [name for name in self.tools if name.startswith(common) and name not in self.allowed]
        if others:
            raise MaskError(
                f"{', '.join(self.allowed)} have only {common!r} in common, and {others[0]!r} begins so too: use a "
                "schema or the processor"
            )
        return CALL_START + common

    def schema(self, definitions: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """Returns a JSON schema that a reply has to keep (`serving`'s `schema=…`).

        Args:
            definitions: the tools with their `parameters`; one that is not among them takes any object.
        """
        parameters = {}
        for tool in definitions:
            inner = tool.get("function", tool)
            parameters[inner["name"]] = inner.get("parameters") or {"type": "object"}
        calls = [
            _object({"tool": {"const": name}, "arguments": parameters.get(name, {"type": "object"})})
            for name in self.allowed
        ]
        answers = [_object({"answer": {"type": "string", "maxLength": MAX_ANSWER}})]
        return {"anyOf": calls + (answers if self.mode is Mode.AUTO else [])}

    def alternatives(self) -> list[str]:
        """Returns the texts with one of which a reply has to begin (`workbook.context.automaton`)."""
        calls = [f"{CALL_START}{name}{CALL_MIDDLE}{CALL_OPEN}" for name in self.allowed]
        return calls + ([ANSWER_START] if self.mode is Mode.AUTO else [])


def mask(tools: Sequence[str], mode: Mode | str = Mode.AUTO, prefixes: Sequence[str] | None = None) -> Mask:
    """Returns what a reply may be.

    Args:
        tools: the names of all tools.
        mode: "auto", "required" or "specified".
        prefixes: beginnings of the names that may be called; None allows all. "specified" takes exactly one.

    Raises:
        MaskError: There is no such mode, a prefix fits no tool, no tool is left, or a group has not one prefix.
    """
    try:
        mode = Mode(mode)
    except ValueError:
        raise MaskError(f"no mode is called {mode!r}: choose one of {', '.join(Mode)}") from None
    names = tuple(sorted(set(tools)))
    if isinstance(prefixes, str):
        raise MaskError(f"give a list of prefixes, not the text {prefixes!r}")
    if mode is Mode.SPECIFIED and (prefixes is None or len(prefixes) != 1 or not prefixes[0]):
        raise MaskError("a group is specified by one prefix that its names have in common")
    if prefixes is not None:
        for prefix in prefixes:
            if not any(name.startswith(prefix) for name in names):
                raise MaskError(f"no tool begins with {prefix!r}: there are {', '.join(names) or 'none'}")
    allowed = tuple(n for n in names if prefixes is None or any(n.startswith(prefix) for prefix in prefixes))
    if not allowed:
        raise MaskError("no tool may be called: a state that allows none cannot be left by a call")
    return Mask(mode, allowed, names, prefixes[0] if mode is Mode.SPECIFIED and prefixes else "")


@dataclass(frozen=True)
class State:
    """What is allowed in one state of an agent, and where each call leads.

    Attributes:
        mode: "auto", "required" or "specified".
        prefixes: the tools that may be called, by the beginnings of their names; None allows all.
        then: the state after a call, by the beginning of the tool's name; the longest that fits decides. A call that
            fits none leaves the state as it is.
    """

    mode: Mode | str = Mode.AUTO
    prefixes: Sequence[str] | None = None
    then: Mapping[str, str] = field(default_factory=dict)


class ToolStates:
    """A state machine over an agent's tools.

    Args:
        tools: the names of all tools.
        states: the states by name.
        start: the first one.

    Raises:
        MaskError: A state allows nothing, names a tool or a state that does not exist, or the first is missing.
    """

    def __init__(self, tools: Sequence[str], states: Mapping[str, State], start: str) -> None:
        self._then = {name: dict(state.then) for name, state in states.items()}
        self._masks: dict[str, Mask] = {}
        for name, state in states.items():
            try:
                self._masks[name] = mask(tools, state.mode, state.prefixes)
            except MaskError as error:
                raise MaskError(f"state {name!r}: {error}") from None
            for prefix, target in state.then.items():
                if target not in states:
                    raise MaskError(f"state {name!r} leads to {target!r}, which is no state")
                if not any(tool.startswith(prefix) for tool in self._masks[name].allowed):
                    raise MaskError(f"state {name!r} leads on from {prefix!r}, and no tool that it allows begins so")
        if start not in states:
            raise MaskError(f"the first state, {start!r}, is missing")
        self.state = start

    @property
    def mask(self) -> Mask:
        """What is allowed in the present state."""
        return self._masks[self.state]

    def call(self, tool: str) -> str:
        """Takes note of a call and returns the state after it.

        Raises:
            MaskError: The tool may not be called in this state, which stays.
        """
        if tool not in self.mask.allowed:
            raise MaskError(f"{tool!r} may not be called in state {self.state!r}: {', '.join(self.mask.allowed)} may")
        then = self._then[self.state]
        fitting = [prefix for prefix in then if tool.startswith(prefix)]
        if fitting:
            self.state = then[max(fitting, key=len)]
        return self.state

    def answer(self) -> None:
        """Takes note of an answer.

        Raises:
            MaskError: The state demands a call.
        """
        if None not in self.mask.actions:
            raise MaskError(f"state {self.state!r} demands a call: {', '.join(self.mask.allowed)}")


def _common(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    size = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:size]


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
