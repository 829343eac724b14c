"""Canonical JSON: one value, one text, in each process; what has none is refused."""

import json
import os
import subprocess
import sys
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbook.context.canonical import NotCanonicalError, canonical, plain

ROOT = Path(__file__).parents[2]
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def shuffled(value: Any) -> Any:
    """The same value, each dict filled the other way round."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(list(value))}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@settings(deadline=None)
@given(VALUES)
def test_one_value_has_one_text_and_is_read_back(value: Any) -> None:
    for indent in (None, 1):
        text = canonical(value, indent=indent)
        assert canonical(shuffled(value), indent=indent) == text
        back = json.loads(text)
        assert back == value
        assert canonical(back, indent=indent) == text
    assert "\n" not in canonical(value)


def test_how_it_is_written() -> None:
    value = {"b": [1, 1.0, True, None], "a": "é\u2028\"'", "B": {}}
    assert canonical(value) == '{"B":{},"a":"é\u2028\\"\'","b":[1,1.0,true,null]}'
    assert canonical({"b": 1, "a": [2]}, indent=1) == '{\n "a": [\n  2\n ],\n "b": 1\n}'
    assert canonical("e\u0301") != canonical("\u00e9")  # not normalized


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    LARGE = 3


def test_subclasses_and_other_mappings_are_written_as_what_they_are() -> None:
    value = {"a": Colour.RED, "b": Size.LARGE, "c": (1, 2), "d": MappingProxyType({"z": 1, "y": 2})}
    assert canonical(value) == '{"a":"red","b":3,"c":[1,2],"d":{"y":2,"z":1}}'


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
REFUSED = [
    (float("nan"), "nan"),
    ({"a": [float("-inf")]}, r"the value\['a'\]\[0\] is -inf"),
    ({1: 2}, "has the key 1"),
    ({None: 2}, "keys must be text"),
    ({"a": {1, 2}}, "is a set"),
    (frozenset(), "is a set"),
    (b"bytes", "type bytes"),
    (object(), "type object"),
    ("\ud800", "surrogate"),
    ({"\udfff": 1}, "surrogate"),
    (CYCLE, "too deeply"),
]


@pytest.mark.parametrize(("value", "why"), REFUSED)
def test_what_has_no_such_text_is_refused(value: Any, why: str) -> None:
    with pytest.raises(NotCanonicalError, match=why):
        canonical(value)


def test_a_plain_copy_shares_nothing() -> None:
    value = {"b": [{"c": 1}], "a": 2}
    copy = plain(value)
    copy["b"][0]["c"] = 7
    assert value["b"] == [{"c": 1}]
    assert list(copy) == ["a", "b"]


SCRIPT = """
import sys
from workbook.context.agent_context import AgentContext, Task
from workbook.context.memory import Memory
from workbook.context.observations import VARIED
names = {"browser_open", "file_read", "file_write", "memory_retrieve"}  # a set: its order differs by process
tools = [{"name": name, "description": "d", "parameters": {key: 1 for key in {"x", "yy", "zzz"}}} for name in names]
context = AgentContext("You help.", tools, memory=Memory(sys.argv[1]), wordings=VARIED, seed=5)
for step in range(20):
    context.add_user(f"step {step}")
    found = {key: len(key) for key in {"alpha", "beta", "gamma", str(step)}}
    context.add_observation(found, tool="file_read", path="/a", fields=["alpha"])
    context.add_observation({**found, "text": "x" * 2000}, True, tool="browser_open", url="u", fields=["alpha", "text"])
    context.add_error(ValueError("no"), tool="file_write")
    context.recite([Task("one", True), "two"], f"step {step}")
sys.stdout.buffer.write(context.render().data)
"""


def test_a_context_has_the_same_bytes_in_each_process(tmp_path: Path) -> None:
    runs = []
    for seed in ("0", "1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / seed)]
        runs.append(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert runs[0]
    assert runs[0] == runs[1] == runs[2]


class Loud(str, Enum):  # noqa: UP042  as programs before StrEnum have them
    RED = "red"


class Small(IntEnum):
    ONE = 1


def test_what_a_subclass_says_of_itself_is_not_what_it_is() -> None:
    assert canonical({"a": Loud.RED, Loud.RED: Small.ONE}) == '{"a":"red","red":1}'
    assert type(plain(Loud.RED)) is str


def test_too_deep_and_too_long_are_refused_as_such() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, 10**5000):
        with pytest.raises(NotCanonicalError):
            canonical(value)
    with pytest.raises(NotCanonicalError, match="nested too deeply"):
        plain(deep)
