"""What Hypothesis makes hostile input of: JSON of any kind, and valid data with something wrong in it."""

import json
import string
from copy import deepcopy
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

_CORPUS = Path(__file__).parent / "corpus"

TEXTS = st.text(st.characters(), max_size=20)
"""Halves of surrogate pairs among them, which JSON can write and UTF-8 cannot."""

INTEGERS = st.integers() | st.sampled_from([-1, 2**31, 2**63, 2**64, 10**4299, -(10**4299)])

SCALARS = st.none() | st.booleans() | INTEGERS | st.floats() | TEXTS


def jsons(names: st.SearchStrategy[str] = TEXTS, leaves: st.SearchStrategy[Any] = SCALARS) -> st.SearchStrategy[Any]:
    """JSON data whose objects have `names` among their keys."""
    keys = names | st.text(string.ascii_letters, max_size=3)
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
    )


@st.composite
def mutated(draw: st.DrawFn, original: Any, other: st.SearchStrategy[Any]) -> Any:
    """Data with one to three parts replaced by `other`, removed, renamed, wrapped, or there many times."""
    whole = [deepcopy(original)]  # so that the outermost value is a part too
    for _ in range(draw(st.integers(1, 3))):
        parts = list(_parts(whole))
        holder, key = parts[draw(st.integers(0, len(parts) - 1))]
        _mutate(draw, holder, key, other)
    return whole[0] if whole else None


def _parts(whole: Any) -> list[tuple[Any, Any]]:
    """Every part of some data, as its holder and its key there."""
    found, rest = [], [whole]
    while rest:
        holder = rest.pop()
        inner = list(holder.items() if isinstance(holder, dict) else enumerate(holder))
        found += [(holder, key) for key, _ in inner]
        rest += [value for _, value in inner if isinstance(value, dict | list)]
    return found or [([None], 0)]


def _mutate(draw: st.DrawFn, holder: Any, key: Any, other: st.SearchStrategy[Any]) -> None:
    kind = draw(st.sampled_from(["replace", "replace", "remove", "rename", "wrap", "deepen", "repeat"]))
    if kind == "replace":
        holder[key] = draw(other)
    elif kind == "remove":
        del holder[key]
    elif kind == "rename" and isinstance(holder, dict):
        name = draw(TEXTS | st.sampled_from(sorted(holder)))
        holder[name] = holder.pop(key)
    elif kind == "deepen":
        for _ in range(draw(st.sampled_from([1, 30, 33, 90]))):
            holder[key] = [holder[key]]
    elif kind == "repeat" and isinstance(holder, list):
        holder[key:key] = [holder[key]] * draw(st.sampled_from([1, 50, 2000]))
    else:
        holder[key] = {"a": holder[key]}


@st.composite
def damaged(draw: st.DrawFn, original: bytes) -> bytes:
    """Bytes with one to three stretches replaced, removed or put in."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        data[start : start + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(data)


def text_of(data: Any) -> bytes:
    """JSON text of data, halves of surrogate pairs escaped."""
    return json.dumps(data).encode()


def corpus(name: str) -> list[dict[str, Any]]:
    """The cases of one of the corpus's files; each says in `what` what is hostile in it."""
    cases: list[dict[str, Any]] = json.loads((_CORPUS / f"{name}.json").read_text())
    return cases
