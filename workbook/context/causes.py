"""Why two texts differ that should have been the same: heuristics over what the two have at the place.

`findings` walks both texts from difference to difference and names each. It reads JSON as JSON, wherever it stands in a
text, and tool definitions as tool definitions; everything else by the shape of the words that differ and by the label
or key that they stand under.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from workbook.context.parts import shared
from workbook.context.words import Kind, label_kind, word_at


class Cause(StrEnum):
    """What usually makes a beginning change."""

    TIME = "time stamp"
    ORDER = "dict order"
    ID = "id"
    EDITED = "edited history"
    TOOLS = "changed tools"
    COUNTER = "counter"
    FORMAT = "format"
    UNICODE = "unicode form"


@dataclass(frozen=True)
class Finding:
    """One difference: its cause, what happened in a few words, and what stood there and stands there now."""

    cause: Cause
    detail: str
    was: str
    now: str


_BY_KIND = {
    Kind.TIME: (Cause.TIME, "a time"),
    Kind.ID: (Cause.ID, "an id"),
    Kind.NUMBER: (Cause.COUNTER, "a number"),
}
_TOOL_KEYS = {"parameters", "description", "input_schema", "inputSchema"}
_MAX_OPENERS = 200
_MAX_ITEMS = 10_000
# In one text: what comes later would add nothing to what these say, and each takes time.
_MAX_FOUND = 200
_MAX_READ = 4 * _MAX_ITEMS
_Step = tuple[int, int, list[Finding]]
"""How far a difference reaches in either text, and what it is."""


class _Pairs(list[tuple[str, Any]]):
    """A JSON object in the order in which it was written."""


def findings(before: str, after: str, key: str = "") -> list[Finding]:
    """Returns the differences between two texts, first one first, the first 200 or so; nothing where they are equal.

    Args:
        before: the text as it was sent.
        after: what stands in its place now.
        key: the key under which both stand, where they are values of a JSON object.
    """
    found: list[Finding] = []
    effort = _Effort()
    while before != after and len(found) < _MAX_FOUND:
        at = shared(before, after)
        try:
            step = _json(before, after, at) or _removed_tools(before, after, at)
        except RecursionError:  # nested too deeply: compared as text
            step = None
        step = step or _unicode(before, after, at) or _order(before, after, at, effort)
        step = step or _white_space(before, after, at) or _word(before, after, at, key)
        if step is None:
            found.append(_edited(before[at:], after[at:]))
            break
        found += step[2]
        before, after = before[step[0] :], after[step[1] :]
    return found


def parse(text: str) -> Any:
    """Reads JSON, objects as pairs in the order in which they stand; None where it is none."""
    try:
        return json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return None


def _edited(before: str, after: str) -> Finding:
    try:
        old, new = _tools_among(before), _tools_among(after)
    except RecursionError:
        old, new = {}, {}
    if set(old) != set(new):
        return _tool_findings(old, new)[0]
    if not after:
        detail = f"the last {len(before):,} characters are gone"
    elif not before:
        detail = f"{len(after):,} characters were added at the end of a message that had been sent"
    else:
        detail = f"{len(before):,} characters were rewritten as {len(after):,}"
    return Finding(Cause.EDITED, detail, before, after)


# JSON, wherever it stands in a text


_DECODER = json.JSONDecoder(object_pairs_hook=_Pairs)


def _value_at(text: str, start: int) -> tuple[Any, int] | None:
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None


def _json(before: str, after: str, at: int) -> _Step | None:
    """Compares the outermost JSON value around the place, where there is one in both texts."""
    position = 0
    for _ in range(_MAX_OPENERS):
        opener = re.compile(r"[{\[]").search(before, position, at)
        if opener is None:
            return None
        start = opener.start()
        old = _value_at(before, start)
        position = start + 1
        if old is None:
            continue
        if old[1] <= at:
            position = old[1]
            continue
        new = _value_at(after, start)
        if new is None:
            continue
        if _tools(old[0]) or _tools(new[0]):
            return _changed_tools(before, after, start)
        text, now = before[start : old[1]], after[start : new[1]]
        return old[1], new[1], _values(old[0], new[0], "") or [_formatted(text, now)] if text != now else []
    return None


def _formatted(before: str, after: str) -> Finding:
    return Finding(Cause.FORMAT, "the same JSON with other spaces, escapes or number formats", before, after)


def _values(old: Any, new: Any, key: str) -> list[Finding]:
    """Compares two JSON values; what differs in format alone is not found."""
    if isinstance(old, _Pairs) and isinstance(new, _Pairs):
        return _objects(old, new)
    if isinstance(old, list) and isinstance(new, list) and not isinstance(old, _Pairs) and not isinstance(new, _Pairs):
        return _lists(old, new, key)
    if isinstance(old, str) and isinstance(new, str):
        return findings(old, new, key)
    if type(old) is type(new) and old == new:
        return []
    was, now = json.dumps(old), json.dumps(new)
    if isinstance(old, int | float) and isinstance(new, int | float) and bool not in (type(old), type(new)):
        return [] if old == new else findings(was, now, key)
    return [Finding(Cause.EDITED, f"the value of {key!r} is another", was, now)]


def _objects(old: _Pairs, new: _Pairs) -> list[Finding]:
    mine, theirs = [key for key, _ in old], [key for key, _ in new]
    values = dict(new)
    found: list[Finding] = []
    moved = False
    for place, (key, value) in enumerate(old):
        if not moved and theirs[place : place + 1] != [key]:
            moved = True
            found.append(_keys(mine, theirs))
        if key in values:
            found += _values(value, values[key], key)
    if not moved and len(theirs) > len(mine):
        found.append(_keys(mine, theirs))
    return found


def _keys(mine: list[str], theirs: list[str]) -> Finding:
    if sorted(mine) == sorted(theirs):
        return Finding(Cause.ORDER, "the same keys in another order", ", ".join(mine), ", ".join(theirs))
    gone = ", ".join(key for key in mine if key not in theirs) or "none"
    new = ", ".join(key for key in theirs if key not in mine) or "none"
    return Finding(Cause.EDITED, f"keys that went: {gone}; that came: {new}", ", ".join(mine), ", ".join(theirs))


def _lists(old: list[Any], new: list[Any], key: str) -> list[Finding]:
    if _tools(old) and _tools(new):
        return _tool_findings(_tools(old), _tools(new))
    mine, theirs = [json.dumps(item) for item in old], [json.dumps(item) for item in new]
    if mine != theirs and Counter(mine) == Counter(theirs):
        return [Finding(Cause.ORDER, "the same elements in another order", ", ".join(mine), ", ".join(theirs))]
    found = [finding for a, b in zip(old, new, strict=False) for finding in _values(a, b, key)]
    if len(old) != len(new):
        detail = f"the list {key!r} had {len(old)} elements and has {len(new)}"
        found.append(Finding(Cause.EDITED, detail, ", ".join(mine), ", ".join(theirs)))
    return found


# Tool definitions


def _tools(value: Any) -> dict[str, Any]:
    """Returns the tool definitions that a JSON value consists of, by name; none where it is something else."""
    if isinstance(value, _Pairs):
        fields = dict(value)
        inner = fields.get("function")
        if isinstance(inner, _Pairs):
            fields = dict(inner)
        name = fields.get("name")
        return {name: value} if isinstance(name, str) and (_TOOL_KEYS & set(fields)) else {}
    if isinstance(value, list) and value:
        each = [_tools(item) for item in value]
        return {name: tool for tools in each for name, tool in tools.items()} if all(each) else {}
    return {}


def _tools_from(text: str, start: int) -> tuple[dict[str, Any], int]:
    """Returns the definitions that stand in a row from `start`, and where they end."""
    tools: dict[str, Any] = {}
    end = position = start
    while True:
        position = _past_space(text, position)
        value = _value_at(text, position) if text[position : position + 1] in ("{", "[") else None
        more = _tools(value[0]) if value else {}
        if value is None or not more:
            return tools, end
        tools |= more
        end = position = value[1]


def _tools_among(text: str) -> dict[str, Any]:
    """Returns the definitions among the lines of a text."""
    lines = [line for line in text.split("\n")[:_MAX_ITEMS] if line.startswith(("{", "["))]
    return {name: tool for line in lines for name, tool in _tools(parse(line)).items()}


def _changed_tools(before: str, after: str, start: int) -> _Step:
    old, end = _tools_from(before, start)
    new, new_end = _tools_from(after, start)
    found = _tool_findings(old, new)
    if not found and before[start:end] != after[start:new_end]:
        found = [_formatted(before[start:end], after[start:new_end])]
    return end, new_end, found


def _tool_findings(old: dict[str, Any], new: dict[str, Any]) -> list[Finding]:
    was, now = ", ".join(old), ", ".join(new)
    if set(old) != set(new):
        gone, came = ", ".join(sorted(set(old) - set(new))), ", ".join(sorted(set(new) - set(old)))
        detail = f"definitions that went: {gone or 'none'}; that came: {came or 'none'}"
        return [Finding(Cause.TOOLS, detail, was, now)]
    if list(old) != list(new):
        return [Finding(Cause.TOOLS, "the same definitions in another order", was, now)]
    found = []
    for name in old:
        for finding in _values(old[name], new[name], ""):
            cause = Cause.TOOLS if finding.cause is Cause.EDITED else finding.cause
            found.append(Finding(cause, f"the definition of {name!r}: {finding.detail}", finding.was, finding.now))
    return found


def _removed_tools(before: str, after: str, at: int) -> _Step | None:
    """Where one text goes on with definitions and the other has none: the last ones went, or came."""
    for start in {before.rfind("\n", 0, at) + 1: 0, before.rfind(",", 0, at) + 1: 0, at: 0}:
        end, new_end, found = _changed_tools(before, after, start)
        if found and found[0].cause is Cause.TOOLS:
            # The line end after the definitions that went is no difference of its own.
            return _past_space(before, end), _past_space(after, new_end), found
    return None


def _past_space(text: str, at: int) -> int:
    match = re.compile(r"[\s,]*").match(text, at)
    assert match is not None
    return match.end()


# Text


@dataclass
class _Effort:
    """How many words and lines may still be read in search of an order that has changed."""

    left: int = _MAX_READ


def _unicode(before: str, after: str, at: int) -> _Step | None:
    """One text in two Unicode forms."""
    start = at - 1 if at and not before[at - 1].isspace() else at
    old, new = re.compile(r"\S*").match(before, start), re.compile(r"\S*").match(after, start)
    assert old is not None
    assert new is not None
    if old[0] != new[0] and unicodedata.normalize("NFC", old[0]) == unicodedata.normalize("NFC", new[0]):
        finding = Finding(Cause.UNICODE, "the same text in another Unicode form (NFC, NFD)", old[0], new[0])
        return old.end(), new.end(), [finding]
    return None


def _order(before: str, after: str, at: int, effort: _Effort) -> _Step | None:
    """The same lines, or the same words, in another order: a set, a dict's `repr`, a folder's listing."""
    line = before.rfind("\n", 0, at) + 1
    # What has moved lies before the place from which on both are equal to their ends: the rest need not be read.
    same = shared(before[at:][::-1], after[at:][::-1])
    ends = len(before) - same, len(after) - same
    lines, items = re.compile(r"[^\n]+").finditer, re.compile(r"[^\s,;{}()\[\]<>|]+").finditer
    return _permuted(lines, before, after, line, ends, "lines", effort) or _permuted(
        items, before, after, _item_start(before, at), ends, "items", effort
    )


def _item_start(text: str, at: int) -> int:
    while at and text[at - 1] not in ",;{}()[]<>|" and not text[at - 1].isspace():
        at -= 1
    return at


def _permuted(
    cut: Callable[..., Any],
    before: str,
    after: str,
    start: int,
    ends: tuple[int, int],
    what: str,
    effort: _Effort,
) -> _Step | None:
    balance: Counter[str] = Counter()
    old: list[str] = []
    new: list[str] = []
    for _, a, b in zip(range(min(_MAX_ITEMS, effort.left)), cut(before, start), cut(after, start), strict=False):
        effort.left -= 1
        if a.start() >= ends[0] and b.start() >= ends[1]:
            return None
        for word, change in ((a[0], 1), (b[0], -1)):
            balance[word] += change
            if not balance[word]:
                del balance[word]
        old.append(a[0])
        new.append(b[0])
        if not balance:
            if len(old) < 2:
                return None
            finding = Finding(Cause.ORDER, f"the same {what} in another order", ", ".join(old), ", ".join(new))
            return a.end(), b.end(), [finding]
    return None


def _white_space(before: str, after: str, at: int) -> _Step | None:
    space = re.compile(r"\s*")
    old, new = space.match(before, at), space.match(after, at)
    assert old is not None
    assert new is not None
    same = before[old.end() : old.end() + 8] == after[new.end() : new.end() + 8]
    if old[0] == new[0] or not same:
        return None
    return old.end(), new.end(), [Finding(Cause.FORMAT, "other white space", repr(old[0]), repr(new[0]))]


def _word(before: str, after: str, at: int, key: str) -> _Step | None:
    """By the shape of the words that differ, or by the label under which they stand."""
    old, new = word_at(before, at), word_at(after, at)
    label = label_kind(before, at) or label_kind(f"{key}:", len(key) + 1)
    kind = None
    if old and new and old.text != new.text:
        kinds = {old.kind, new.kind}
        kind = old.kind if len(kinds) == 1 else next((k for k in (Kind.ID, Kind.TIME) if k in kinds), None)
    if label is not None and (kind in (None, Kind.NUMBER) or (old and old.text.isdigit())):
        old, new = word_at(before, at, any_shape=True), word_at(after, at, any_shape=True)
        kind = label
    if kind is None or old is None or new is None:
        return None
    needed = 4 if kind is Kind.NUMBER else 1
    if before[old.end : old.end + needed] != after[new.end : new.end + needed]:
        return None
    cause, noun = _BY_KIND[kind]
    return old.end, new.end, [Finding(cause, f"{noun} that differs each time", old.text, new.text)]


def distinct(found: Sequence[Finding]) -> tuple[Cause, ...]:
    """Returns the causes found, each once, in the order in which they appear."""
    return tuple(dict.fromkeys(finding.cause for finding in found))
