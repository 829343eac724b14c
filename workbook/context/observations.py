"""How an observation stands in the context: in full or as a reference, and in which words.

A reference says where the observation came from (URL, path, query), what it is called in the memory, and the fields
that whoever calls the tool declared to be worth keeping in sight. Nothing is lost, only moved.

The words may vary, since a model that sees fifty observations of one shape goes on in that shape. They vary by the
number of the message and a seed, and by nothing else: a replay writes the same bytes, and what was rendered stays.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbook.context.canonical import canonical, plain
from workbook.context.memory import Stored, encode

MAX_FIELD = 200
"""Most characters that one declared field takes in a reference."""

_HEAD = 120
"""Characters of a text's first line that stand in its reference, where no fields are declared."""


@dataclass(frozen=True)
class Wording:
    """One way of writing an observation.

    Attributes:
        name: what it is called.
        write: makes the message's content of the tool's name, what happened ("result" or "error") and the value.
    """

    name: str
    write: Callable[[str, str, Any], str]


def _as_json(tool: str, kind: str, value: Any) -> str:
    return canonical({"tool": tool, kind: value})


def _headed(head: str) -> Callable[[str, str, Any], str]:
    def write(tool: str, kind: str, value: Any) -> str:
        return f"{head.format(tool=tool, kind=kind)}\n{_body(value)}"

    return write


def _tagged(tool: str, kind: str, value: Any) -> str:
    return f"<{kind} tool={canonical(tool)}>\n{_body(value)}\n</{kind}>"


def _listed(tool: str, kind: str, value: Any) -> str:
    if not isinstance(value, Mapping):
        return f"{tool}, {kind}: {_body(value)}"
    lines = [f"- {key}: {canonical(item)}" for key, item in plain(value).items()]
    return "\n".join([f"{tool}, {kind}:", *lines])


def _body(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value)


PLAIN = (Wording("json", _as_json),)
"""One form for all observations."""

VARIED = (
    Wording("json", _as_json),
    Wording("headed", _headed("{tool} returned this {kind}:")),
    Wording("tagged", _tagged),
    Wording("listed", _listed),
    Wording("titled", _headed("[{kind} of {tool}]")),
)
"""Five forms that say the same."""


def draw(wordings: Sequence[Wording], seed: int, message: int) -> Wording:
    """Returns the wording of one message: the same one for the same seed and number, in each process."""
    digest = hashlib.sha256(f"{seed}:{message}".encode()).digest()
    return wordings[int.from_bytes(digest[:8]) % len(wordings)]


def reference(stored: Stored, value: Any, source: Mapping[str, str], fields: Sequence[str]) -> dict[str, Any]:
    """Returns what stands in the context in an observation's place.

    Args:
        stored: what the memory says of it.
        value: the observation.
        source: where it came from: any of `url`, `path`, `query`.
        fields: dotted paths into a JSON observation, as `user.name` or `items.0.id`. One that it lacks is null.
    """
    kept: dict[str, Any] = {"bytes": stored.size, "kind": stored.kind, "ref": stored.name, **source}
    if stored.kind != "bytes":
        kept["lines"] = stored.lines
    if fields:
        kept["fields"] = {path: _short(_field(value, path)) for path in fields}
    elif isinstance(value, str):
        first = value.lstrip().split("\n", 1)[0]
        kept["head"] = first if len(first) <= _HEAD else first[:_HEAD] + " …"
    return kept


def size_of(value: Any) -> int:
    """Returns how many bytes an observation takes in a context, its wording aside."""
    return len(encode(value)[0] if isinstance(value, str | bytes) else canonical(value).encode())


def _field(value: Any, path: str) -> Any:
    for name in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list | tuple) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def _short(value: Any) -> Any:
    text = value if isinstance(value, str) else canonical(value)
    if len(text) <= MAX_FIELD:
        return value
    return f"{text[:MAX_FIELD]} … ({len(text):,} characters)"
