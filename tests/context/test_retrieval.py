"""The retrieval tool: ranges, lines and searches, bounded, and the pieces joined are the whole."""

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.context.test_canonical import TEXT
from workbook.context.memory import Memory, split_lines
from workbook.context.retrieval import RETRIEVE, Retrieval

POEM = "".join(f"line {number}: {'é' * number}\n" for number in range(1, 31))


@pytest.fixture
def tool(tmp_path: Path) -> Retrieval:
    return Retrieval(Memory(tmp_path), limit=200)


def ask(tool: Retrieval, **arguments: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(tool.run(arguments))
    return answer


@settings(deadline=None)
@given(st.binary(max_size=300) | TEXT, st.integers(16, 40))
def test_the_pieces_joined_are_what_was_stored(value: bytes | str, limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tool = Retrieval(Memory(Path(folder)), limit)
        data = value.encode() if isinstance(value, str) else value
        name = tool.memory.put(value).name
        assert tool.whole(name) == data
        joined, at = b"", 0
        while at < len(data) or not at:
            piece = ask(tool, ref=name, start=at)
            if isinstance(value, str):
                assert "text" in piece
            joined += piece["text"].encode() if "text" in piece else base64.b64decode(piece["base64"])
            assert piece["bytes"][1] - piece["bytes"][0] <= limit
            assert piece["of"] == len(data)
            if not data:
                break
            at = piece["bytes"][1]
        assert joined == data


@settings(deadline=None)
@given(TEXT, st.integers(16, 60))
def test_lines_joined_are_what_was_stored(text: str, limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tool = Retrieval(Memory(Path(folder)), limit)
        name = tool.memory.put(text).name
        lines = split_lines(text.encode())
        assert b"".join(lines) == text.encode()
        number = 1
        while number <= len(lines):
            piece = ask(tool, ref=name, first_line=number)
            first, last = piece["lines"]
            assert (first, piece["of_lines"]) == (number, len(lines))
            assert piece["bytes"][1] - piece["bytes"][0] <= limit
            if last < first:  # longer than the limit: the rest is read by bytes
                assert lines[number - 1].startswith(piece["text"].encode())
                last = first
            else:
                assert piece["text"].encode() == b"".join(lines[first - 1 : last])
            number = last + 1


def test_ranges_lines_and_searches(tool: Retrieval) -> None:
    name = tool.memory.put(POEM).name
    assert ask(tool, ref=name, start=0, end=6)["text"] == "line 1"
    assert ask(tool, ref=name, end=10**9)["bytes"] == [0, 200]
    two = ask(tool, ref=name, first_line=2, last_line=3)
    assert (two["lines"], two["text"]) == ([2, 3], "line 2: éé\nline 3: ééé\n")
    found = ask(tool, ref=name, contains="line 12:")
    assert (found["found"], found["of_lines"]) == (1, 30)
    match = found["matches"][0]
    assert (match["line"], match["text"]) == (12, "line 12: " + "é" * 12)
    again = ask(tool, ref=name, start=match["at"], end=match["at"] + len(match["text"].encode()))
    assert again["text"] == match["text"]
    many = ask(tool, ref=name, contains="line")
    assert many["found"] == 30
    assert 0 < len(many["matches"]) < 30
    assert ask(tool, ref=name, contains="nowhere") == {"found": 0, "matches": [], "of_lines": 30}
    assert ask(tool, ref=tool.memory.put("").name) == {"bytes": [0, 0], "of": 0, "text": ""}
    assert ask(tool, ref=tool.memory.put("").name, first_line=1)["text"] == ""


def test_a_match_in_a_long_line_comes_with_what_is_around_it(tool: Retrieval) -> None:
    text = "é" * 5000 + " the needle " + "ü" * 5000
    name = tool.memory.put(text).name
    match = ask(tool, ref=name, contains="needle")["matches"][0]
    assert "the needle" in match["text"]
    assert len(match["text"].encode()) <= 50
    assert "\ufffd" not in match["text"]
    start = match["at"]
    assert text.encode()[start : start + len(match["text"].encode())].decode() == match["text"]


def test_a_member_of_json_is_found_by_its_line(tool: Retrieval) -> None:
    name = tool.memory.put({"items": [{"id": number, "nonce": f"n{number}"} for number in range(100)]}).name
    assert ask(tool, ref=name, contains='"n77"')["matches"][0]["text"].strip() == '"nonce": "n77"'


WRONG = [
    ({}, "ref must be a text"),
    ({"ref": 7}, "ref must be a text"),
    ({"ref": "0" * 16}, "nothing is stored"),
    ({"ref": "../x"}, "no reference"),
    ({"start": 3, "end": 2}, "no range"),
    ({"start": -1}, "no range"),
    ({"start": 10**9}, "no range"),
    ({"start": True}, "whole number"),
    ({"start": "3"}, "whole number"),
    ({"first_line": 0}, "no range"),
    ({"first_line": 99}, "no range"),
    ({"first_line": 5, "last_line": 4}, "no range"),
    ({"contains": ""}, "empty"),
    ({"contains": 5}, "must be a text"),
    ({"start": 1, "contains": "x"}, "give either"),
    ({"start": 1, "first_line": 1}, "give either"),
    ({"page": 1}, "has no page"),
]


@pytest.mark.parametrize(("arguments", "why"), WRONG)
def test_a_wrong_call_is_answered_with_what_is_wrong(tool: Retrieval, arguments: dict[str, Any], why: str) -> None:
    name = tool.memory.put(POEM).name
    complete = arguments if "ref" in arguments or not arguments else {"ref": name, **arguments}
    assert why in ask(tool, **complete)["error"]


def test_a_damaged_observation_is_answered_with_that(tool: Retrieval) -> None:
    name = tool.memory.put(POEM).name
    (tool.memory.folder / name).write_text("other")
    assert "is damaged" in ask(tool, ref=name)["error"]


def test_the_definition_admits_what_the_tool_takes() -> None:
    schema = RETRIEVE["parameters"]
    for good in ({"ref": "a"}, {"ref": "a", "start": 0, "end": 9}, {"ref": "a", "contains": "x"}):
        jsonschema.validate(good, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"ref": "a", "page": 1}, schema)
    with pytest.raises(ValueError, match="16 bytes or more"):
        Retrieval(Memory(Path(tempfile.mkdtemp())), limit=3)


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(16, 40))
@example(b"a\n\x80\x80b", 16)  # what follows the first line is no rest of a character
def test_lines_of_bytes_joined_are_what_was_stored(data: bytes, limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tool = Retrieval(Memory(Path(folder)), limit)
        name = tool.memory.put(data).name
        for number, line in enumerate(split_lines(data), 1):
            piece = tool.lines_of(name, number, number)
            shown = piece["text"].encode() if "text" in piece else base64.b64decode(piece["base64"])
            assert shown == (line if piece["lines"] == [number, number] else line[: len(shown)])


@pytest.mark.parametrize("arguments", [[], None, "ref", {"ref": "0" * 16, "\ud800": 1}])
def test_no_call_however_wrong_raises(tool: Retrieval, arguments: Any) -> None:
    assert set(json.loads(tool.run(arguments))) == {"error"}
