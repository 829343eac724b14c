"""JSON whose bytes depend on nothing but the value: what is equal is cached as equal.

Keys are sorted by code point, separators carry no spaces, and text stands as itself in UTF-8, so that the same value
has the same bytes in each process, whatever the order in which a dict was filled or the seed of Python's hashes. What
has no such bytes is refused: NaN and infinities (not JSON), sets (no order), keys that are not text (`1` and `"1"`
would be one key), halves of surrogate pairs (not UTF-8).

Text is **not** Unicode-normalised. A file name or an observation has to come back byte for byte, and NFC would change
it; two forms of one word are two texts, and `workbook.context.diagnosis` names that cause when it breaks a prefix.
`1`, `1.0` and `True` are equal in Python and are three values here, as they are in JSON.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

_TOO_DEEP = "the value is nested too deeply, or contains itself"


class NotCanonicalError(ValueError):
    """A value has no JSON of which the bytes are always the same; the message says where and why."""


def canonical(value: Any, *, indent: int | None = None) -> str:
    """Returns the value as JSON: sorted keys, no spaces, no escapes but those that JSON demands.

    Args:
        value: None, bool, int, float, str, and lists, tuples and mappings of those.
        indent: Puts each member on a line of its own, this far in; None writes everything on one line.

    Raises:
        NotCanonicalError: The value, or something in it, has no such form.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    try:
        return json.dumps(plain(value), separators=separators, ensure_ascii=False, allow_nan=False, indent=indent)
    except NotCanonicalError:
        raise
    except RecursionError:
        raise NotCanonicalError(_TOO_DEEP) from None
    except ValueError as error:  # a whole number of more digits than Python writes
        raise NotCanonicalError(f"the value holds a number that cannot be written: {error}") from None


def plain(value: Any, path: str = "the value") -> Any:
    """Returns the value made of plain dicts and lists, keys sorted, nothing of it shared with `value`.

    Raises:
        NotCanonicalError: Something in it has no JSON, or none that is always the same.
    """
    try:
        return _plain(value, path)
    except RecursionError:
        raise NotCanonicalError(_TOO_DEEP) from None


def _plain(value: Any, path: str) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return utf8(value, path)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotCanonicalError(f"{path} is {value}, which JSON does not have: write null or a text")
        return float(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise NotCanonicalError(f"{path} has the key {key!r}: keys must be text")
            utf8(key, f"a key of {path}")
        return {str.__str__(key): _plain(value[key], f"{path}[{key!r}]") for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        raise NotCanonicalError(f"{path} is a set, whose order differs between processes: give a sorted list")
    raise NotCanonicalError(f"{path} is of the type {type(value).__name__}, which JSON does not have")


def utf8(text: str, path: str = "the text") -> str:
    """Returns `text` as a plain str.

    Raises:
        NotCanonicalError: It holds half of a surrogate pair, which UTF-8 cannot write.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise NotCanonicalError(f"{path} holds half of a surrogate pair at character {error.start}") from None
    return str.__str__(text)  # what a subclass says of itself, as an Enum does, is another text
