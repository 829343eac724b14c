"""A rendering of a context, cut into its messages: the form in which two of them are compared.

What agents send has many forms. These are read: a request body (`{"messages": …, "tools": …}`, as an object or as
JSON), a list of messages (likewise), JSON lines with a message each (what `AgentContext` renders), ChatML text, and any
other text, which is then one message.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Message = Mapping[str, Any]
Rendering = str | bytes | Sequence[Message] | Mapping[str, Any]

_CHATML = re.compile(r"<\|im_start\|>([^\n]*)\n(.*?)(?:<\|im_end\|>\n?|(?=<\|im_start\|>)|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Part:
    """One message of a rendering, or its tool definitions.

    Attributes:
        index: the message's place, counted from 0; None for tool definitions, which stand before all messages.
        role: "system", "user", …; "tools" for definitions, "text" where the rendering names no roles.
        text: what is said: the content where there is nothing else, the message's JSON otherwise.
        raw: its bytes; those of all parts, joined, are the rendering.
    """

    index: int | None
    role: str
    text: str
    raw: bytes


def parts(rendering: Rendering) -> list[Part]:
    """Cuts a rendering into its messages.

    Objects are written as JSON in the order in which their keys stand (role and content first, since a chat template
    reads those by name): the order of a dict is one of the things that break a prefix. Tool definitions come first, as
    in every chat template. So do they where a request body is given as JSON, and offsets then count these bytes and
    not the body's, in which the bracket that closes the list moves with each message.
    """
    if isinstance(rendering, Mapping):
        return _body(rendering)
    if not isinstance(rendering, str | bytes):
        return [_message(index, message) for index, message in enumerate(rendering)]
    text = rendering if isinstance(rendering, str) else rendering.decode(errors="replace")
    raw = rendering.encode(errors="surrogatepass") if isinstance(rendering, str) else rendering
    if text.startswith("{"):
        body = _parsed(text)
        messages = body.get("messages") if isinstance(body, dict) else None
        if isinstance(messages, list) and all(isinstance(one, dict) for one in messages):
            return _body(body)
        lines = _json_lines(raw)
        if lines:
            return lines
    if text.startswith("["):
        messages = _parsed(text)
        if messages and all(isinstance(one, dict) and "role" in one for one in messages):
            return parts(messages)
    if text.startswith("<|im_start|>"):
        return _chatml(text, raw)
    return [Part(0, "text", text, raw)] if raw else []


def shared(first: str | bytes, second: str | bytes) -> int:
    """Returns how many characters, or bytes, two texts have in common at their beginning."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _body(body: Mapping[str, Any]) -> list[Part]:
    tools = body.get("tools")
    found = []
    if tools:
        text = json.dumps(tools, ensure_ascii=False)
        found.append(Part(None, "tools", text, text.encode(errors="surrogatepass") + b"\n"))
    return found + [_message(index, message) for index, message in enumerate(body.get("messages", []))]


def _message(index: int, message: Message) -> Part:
    known = [key for key in ("role", "content") if key in message]
    ordered = {key: message[key] for key in [*known, *(key for key in message if key not in known)]}
    text = json.dumps(ordered, ensure_ascii=False)
    return _spoken(index, message, text, text.encode(errors="surrogatepass") + b"\n")


def _spoken(index: int, message: Message, text: str, raw: bytes) -> Part:
    content = message.get("content")
    alone = isinstance(content, str) and set(message) == {"role", "content"}
    return Part(index, str(message.get("role", "text")), str(content) if alone else text, raw)


def _json_lines(raw: bytes) -> list[Part]:
    """Returns a message for each line, or nothing where a line holds none."""
    found = []
    for index, line in enumerate(re.findall(rb"[^\n]*\n|[^\n]+\Z", raw)):
        message = _parsed(line.decode(errors="replace"))
        if not isinstance(message, dict) or "role" not in message:
            return []
        found.append(_spoken(index, message, line.decode(errors="replace"), line))
    return found


def _chatml(text: str, raw: bytes) -> list[Part]:
    matches = list(_CHATML.finditer(text))
    if not matches:  # cut in the line of the first role
        return [Part(0, "text", text, raw)]
    ends = [match.start() for match in matches[1:]] + [len(text)]
    pieces = [text[match.start() : end] for match, end in zip(matches, ends, strict=True)]
    encoded = [piece.encode(errors="surrogatepass") for piece in pieces]
    if b"".join(encoded) != raw:  # bytes that are not UTF-8
        return [Part(0, "text", text, raw)]
    return [Part(i, match[1], match[2], encoded[i]) for i, match in enumerate(matches)]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
