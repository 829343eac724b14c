"""What a word is, by its shape or by its label: a time, an id, a number."""

import re
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a word may be that changes by itself."""

    TIME = "time"
    ID = "id"
    NUMBER = "number"


@dataclass(frozen=True)
class Word:
    """A run of characters with a meaning: what it is (None where only its label says), its text, where it ends."""

    kind: Kind | None
    text: str
    end: int


_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?"
_DAY = r"(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s?[AaPp]\.?[Mm]\b)?"
_ZONE = r"(?:\s?(?:Z\b|UTC|GMT|[+-]\d{2}:?\d{2}\b))?"
_SHAPES: list[tuple[Kind, re.Pattern[str]]] = [
    (Kind.TIME, re.compile(rf"\b\d{{4}}[-/]\d{{2}}[-/]\d{{2}}(?:[T ,]\s?{_CLOCK}{_ZONE})?")),
    (Kind.TIME, re.compile(rf"\b{_CLOCK}{_ZONE}")),
    (Kind.TIME, re.compile(rf"\b\d{{1,2}}[./]\d{{1,2}}[./]\d{{2,4}}(?:,?\s{_CLOCK})?")),
    (
        Kind.TIME,
        re.compile(rf"\b(?:{_DAY},?\s+)?(?:\d{{1,2}}\.?\s+)?{_MONTH}(?:\s+\d{{1,4}}\b)?(?:,?\s+(?:\d{{4}}|{_CLOCK}))*"),
    ),
    (Kind.TIME, re.compile(rf"\b{_DAY}\b")),
    (Kind.TIME, re.compile(r"\b1\d{9}(?:\.\d+|\d{3}|\d{6}|\d{9})?\b")),  # seconds, ms, µs, ns since 1970
    (Kind.TIME, re.compile(r"\b\d{8}[T_-]?\d{6}Z?\b")),
    (Kind.TIME, re.compile(r"\b\d+(?:\.\d+)?\s?(?:[mµn]?s|secs?|seconds?|min|minutes?|h|hours?|days?)\b(?:\sago)?")),
    (Kind.ID, re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b")),
    (Kind.ID, re.compile(r"\b0x[0-9a-fA-F]+\b")),
    (Kind.ID, re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b", re.IGNORECASE)),
    (Kind.ID, re.compile(r"\b[A-Za-z]{2,}[-_](?=[A-Za-z0-9]*\d)[A-Za-z0-9]{4,}\b")),
    (Kind.ID, re.compile(r"\b(?=\w*\d)(?=\w*[A-Za-z])[A-Za-z0-9]{16,}\b")),
    (Kind.NUMBER, re.compile(r"[-+]?\b\d+(?:[.,]\d+)*%?")),
]
_TIME_LABEL = re.compile(r"\b(?:time|date|today|now|timestamp|clock|day|hour|at|as of|utc|created|updated|elapsed)\b")
_ID_LABEL = re.compile(
    r"\b(?:id|ids|uid|uuid|guid|session|request|trace|span|user|username|run|conversation|thread|nonce|seed|host|"
    r"hostname|worker|pid|token|etag)\b"
)
_LABEL = re.compile(r"([A-Za-z][\w .-]{0,40}?)[\"']?\s*(?::|=|\bis\b)\s*[\"'`]?([^\s\"'`,;]*)\Z")
_RUN = re.compile(r"[^\s\"'`,;{}()\[\]<>]+")
_REACH = 80
"""Characters to either side of a difference that may belong to the word in which it lies."""


def word_at(text: str, at: int, *, any_shape: bool = False) -> Word | None:
    """Returns the longest word with a known shape that holds, or ends at, character `at`.

    Args:
        text: where it stands.
        at: a place in it.
        any_shape: takes any run of characters without spaces, quotes and brackets.
    """
    start = max(text.rfind("\n", 0, at) + 1, at - _REACH)
    best: Word | None = None
    shapes: list[tuple[Kind | None, re.Pattern[str]]] = [(None, _RUN)] if any_shape else [*_SHAPES]
    for kind, shape in shapes:
        for match in shape.finditer(text, start, at + _REACH):
            if match.start() > at:
                break
            if match.end() >= at and (best is None or len(match[0]) > len(best.text)):
                best = Word(kind, match[0], match.end())
    return best


def label_kind(text: str, at: int) -> Kind | None:
    """Says what the label before character `at` promises, as in `session_id=…`, `Today is …`, `"createdAt": …`."""
    line = text[max(text.rfind("\n", 0, at) + 1, at - _REACH) : at]
    match = _LABEL.search(line)
    if match is None:
        return None
    label = re.sub(r"(?<=[a-z])(?=[A-Z])|[_.-]", " ", match[1]).lower()
    last = " ".join(label.split()[-2:])
    if _TIME_LABEL.search(last):
        return Kind.TIME
    return Kind.ID if _ID_LABEL.search(last) else None
