"""The context of an agent: append-only, the same bytes each time, and what would break it is named."""

import copy
import json
import tempfile
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.context.test_canonical import TEXT, VALUES
from workbook.context.agent_context import AgentContext, Rendered, Task
from workbook.context.canonical import NotCanonicalError, canonical
from workbook.context.causes import Cause
from workbook.context.diagnosis import PrefixBroken, diagnose
from workbook.context.masking import MaskError, Mode, mask
from workbook.context.memory import DiskFullError, Memory
from workbook.context.observations import PLAIN, VARIED, Wording, draw, reference
from workbook.context.overhead import measure
from workbook.context.parts import shared
from workbook.context.retrieval import Retrieval

TOOLS = [
    {"name": name, "description": f"does {name}", "parameters": {"type": "object", "properties": {}}}
    for name in ("file_read", "browser_open", "file_write")
]
STEPS = st.one_of(
    st.tuples(st.just("user"), TEXT),
    st.tuples(st.just("assistant"), TEXT),
    st.tuples(st.just("observation"), VALUES),
    st.tuples(st.just("large"), TEXT.map(lambda text: {"a": text, "b": "x" * 600})),
    st.tuples(st.just("bytes"), st.binary()),
    st.tuples(st.just("error"), TEXT),
    st.tuples(st.just("recite"), st.lists(TEXT.filter(lambda text: bool(text.strip()) and "\n" not in text))),
    st.tuples(st.just("mask"), st.sampled_from(["file_", "browser_"])),
    st.tuples(st.just("breakpoint"), st.none()),
    st.tuples(st.just("message"), st.dictionaries(TEXT, VALUES, max_size=2).map(lambda m: {**m, "role": "user"})),
)


def take(context: AgentContext, kind: str, value: Any) -> None:
    if kind == "user":
        context.add_user(value)
    elif kind == "assistant":
        context.add_assistant(value)
    elif kind in ("observation", "large", "bytes"):
        context.add_observation(value, kind != "observation", tool="file_read", path="/a", fields=["a"])
    elif kind == "error":
        context.add_error(value, tool="file_read")
    elif kind == "recite":
        context.recite(value, note="It is 10:00." if len(value) % 2 else "")
    elif kind == "mask":
        context.mask_tools([value])
    elif kind == "breakpoint":
        context.add_breakpoint()
    else:
        context.add(value)


@settings(deadline=None)
@given(st.lists(STEPS, max_size=12), st.integers(0, 5), st.booleans())
def test_each_rendering_begins_with_the_one_before(steps: list[tuple[str, Any]], seed: int, varied: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:

        def new() -> AgentContext:
            memory = Memory(Path(folder))
            return AgentContext("You help.", TOOLS, memory=memory, wordings=VARIED if varied else PLAIN, seed=seed)

        context, replayed = new(), new()
        renderings: list[Rendered] = [context.render()]
        for kind, value in steps:
            take(context, kind, value)
            renderings.append(context.render())
        for before, after in pairwise(renderings):
            assert after.prefix.startswith(before.prefix)
            assert diagnose(before.prefix, after.data) is None
            assert (before.digest == after.digest) == (before.prefix == after.prefix)
        for kind, value in steps:
            take(replayed, kind, value)
        last = renderings[-1]
        assert replayed.render() == last
        # What is rendered says all that the messages say, one line each.
        assert [json.loads(line) for line in last.data.split(b"\n")[:-1]] == context.messages()
        assert last.data == b"".join(context.line(number) for number in range(len(context))) + last.tail
        assert context.size == len(last.data)
        for point in context.breakpoints(99):
            assert sum(len(context.line(number)) for number in range(point.messages)) == point.size


def test_steps_cost_what_is_new_however_long_the_context_is() -> None:
    few, many = (measure(size, steps=20) for size in (10, 1000))
    assert max(many.rendered) <= max(few.rendered) + 8  # digits of the numbers
    context = AgentContext("You help.")
    for number in range(100):
        before = context.rendered_bytes
        context.add_user(f"message {number}")
        assert context.rendered_bytes - before == len(context.line(-1))
        for _ in range(3):
            context.render()
            context.messages()
        assert context.rendered_bytes - before == len(context.line(-1))


def test_tools_stand_sorted_in_the_system_message_or_beside_it() -> None:
    names = ["browser_open", "file_read", "file_write"]
    context = AgentContext("You help.", TOOLS)
    lines = context.messages()[0]["content"].split("\n")
    assert lines[:3] == ["You help.", "", "Tools:"]
    assert [json.loads(line)["name"] for line in lines[3:]] == names
    assert context.render() == AgentContext("You help.", TOOLS[::-1]).render()
    beside = AgentContext("You help.", TOOLS, tools_in_system=False)
    assert beside.messages() == [{"role": "system", "content": "You help."}]
    assert [tool["name"] for tool in beside.api_tools()] == names
    openai = [{"type": "function", "function": tool} for tool in TOOLS]
    assert [tool["function"]["name"] for tool in AgentContext("", openai).api_tools()] == names


@pytest.mark.parametrize(
    ("tools", "why"),
    [([{"description": "x"}], "has none"), ([TOOLS[0], TOOLS[0]], "two tools"), ([{"name": ""}], "has none")],
)
def test_tools_without_a_name_of_their_own_are_refused(tools: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        AgentContext("", tools)


def test_changing_what_was_given_or_taken_changes_nothing() -> None:
    tools = copy.deepcopy(TOOLS)
    context = AgentContext("You help.", tools)
    message = {"role": "assistant", "content": "", "tool_calls": [{"function": {"arguments": {"b": 1, "a": 2}}}]}
    context.add(message)
    before = context.render()
    tools[0]["name"] = "other"
    message["tool_calls"] = []
    messages = context.messages()
    messages.pop()
    for change in (
        lambda: context.messages()[1].update(content="x"),
        lambda: context.messages()[1].__setitem__("content", "x"),
        context.messages()[1]["tool_calls"].clear,
        lambda: context.messages()[1]["tool_calls"][0]["function"].pop("arguments"),
        lambda: context.messages()[1]["tool_calls"].append(1),
    ):
        with pytest.raises(TypeError, match="append a correction"):
            change()
    context.api_tools()[0]["name"] = "x"
    assert context.render() == before
    own = copy.deepcopy(context.messages())
    own[1]["tool_calls"][0]["function"] = {}
    assert type(own[1]) is dict
    shallow = copy.copy(context.messages()[1])
    shallow["content"] = "mine"
    assert context.render() == before


# The tail


def test_the_todo_list_stands_at_the_end_and_is_never_part_of_the_prefix() -> None:
    context = AgentContext("You help.")
    context.recite([Task("read", done=True), "write"], note="It is 10:00.")
    first = context.render()
    assert context.messages()[-1] == {
        "role": "user",
        "content": "Todo:\n- [x] read\n- [ ] write\nIt is 10:00.",
    }
    context.add_user("go on")
    context.recite([Task("read", done=True), Task("write", done=True)], note="It is 10:01.")
    second = context.render()
    assert second.data.startswith(first.prefix)
    assert not second.data.startswith(first.data)
    assert second.data.count(b"Todo:") == 1
    assert context.todo == (Task("read", True), Task("write", True))
    context.recite([])
    assert context.tail is None
    assert context.render().tail == b""
    with pytest.raises(ValueError, match="one line"):
        context.recite(["two\nlines"])


# Observations


def test_a_large_observation_moves_and_comes_back_byte_for_byte(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    context = AgentContext("You help.", TOOLS, memory=memory)
    page = {"title": "Prices", "rows": [{"id": number, "price": number * 7} for number in range(500)]}
    context.add_observation(
        page, True, tool="browser_open", url="https://a.example/p", fields=["title", "rows.3.price"]
    )
    text = "A first line\n" + "and many more\n" * 200
    context.add_observation(text, compressible=True, tool="file_read", path="/notes", query="more")
    context.add_observation(b"\x00\xff" * 9, tool="file_read", path="/image")
    context.add_observation(text, tool="file_read")
    kept = [json.loads(message["content"]) for message in context.messages()[1:]]
    moved = kept[0]["moved"]
    assert moved["fields"] == {"title": "Prices", "rows.3.price": 21}
    assert moved["url"] == "https://a.example/p"
    assert json.loads(memory.read(moved["ref"])) == page
    assert kept[1]["moved"]["path"] == "/notes"
    assert kept[1]["moved"]["query"] == "more"
    assert kept[1]["moved"]["head"] == "A first line"
    assert Retrieval(memory).whole(kept[1]["moved"]["ref"]) == text.encode()
    assert memory.read(kept[2]["moved"]["ref"]) == b"\x00\xff" * 9
    assert kept[3]["result"] == text
    assert all(len(context.line(number)) < 400 for number in (1, 2, 3))


def test_what_is_small_stays_and_so_does_what_its_reference_would_not_shorten(tmp_path: Path) -> None:
    context = AgentContext("", memory=Memory(tmp_path), offload_above=10)
    context.add_observation("short", compressible=True)
    context.add_observation("a bit longer than ten bytes", compressible=True)
    assert [json.loads(m["content"])["result"] for m in context.messages()[1:]] == [
        "short",
        "a bit longer than ten bytes",
    ]


def test_without_a_memory_nothing_moves_in_silence() -> None:
    context = AgentContext("")
    before = context.render()
    for value in ("x" * 1000, b"\xff"):
        with pytest.raises(ValueError, match="without one"):
            context.add_observation(value, compressible=True)
    assert context.render() == before


def test_a_full_disk_leaves_the_context_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = AgentContext("", memory=Memory(tmp_path))

    def full(descriptor: int, data: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    before = context.render()
    with pytest.raises(DiskFullError, match="compressible=False"):
        context.add_observation("x" * 1000, compressible=True)
    assert context.render() == before
    context.add_observation("x" * 1000, compressible=False)
    assert "x" * 1000 in context.messages()[-1]["content"]


def test_fields_are_short_and_a_missing_one_is_null(tmp_path: Path) -> None:
    value = {"long": "y" * 5000, "list": [1, {"a": 2}]}
    stored = Memory(tmp_path).put(value)
    kept = reference(stored, value, {}, ["long", "list.1.a", "list.7", "list.x", "none.at.all", "list"])
    fields = kept["fields"]
    assert fields["long"].endswith("… (5,000 characters)")
    assert len(fields["long"]) < 250
    assert (fields["list.1.a"], fields["list.7"], fields["list.x"], fields["none.at.all"]) == (2, None, None, None)
    assert fields["list"] == [1, {"a": 2}]


def test_an_error_stays_in_full(tmp_path: Path) -> None:
    context = AgentContext("", memory=Memory(tmp_path), offload_above=10)
    number = context.add_error(FileNotFoundError("no such file: " + "x" * 5000), tool="file_read")
    context.add_user("try again")
    assert context.errors == (number,)
    kept = json.loads(context.messages()[number]["content"])
    assert kept == {"tool": "file_read", "error": "FileNotFoundError: no such file: " + "x" * 5000}
    assert context.memory is not None
    assert context.memory.names() == []


def test_what_has_no_canonical_form_is_not_appended() -> None:
    context = AgentContext("")
    before = context.render()
    for value in (float("nan"), {1: 2}, "\ud800"):
        with pytest.raises(NotCanonicalError):
            context.add_observation(value)
    with pytest.raises(NotCanonicalError):
        context.add({"role": "user", "content": {1, 2}})
    with pytest.raises(TypeError, match="role"):
        context.add({"content": "x"})
    with pytest.raises(NotCanonicalError):
        context.recite(["\udfff"])
    assert context.render() == before


@settings(deadline=None)
@given(VALUES, st.sampled_from(VARIED), st.sampled_from(["result", "error"]))
def test_each_wording_says_all(value: Any, wording: Any, kind: str) -> None:
    text = wording.write("file_read", kind, value)
    assert "file_read" in text
    assert kind in text
    if isinstance(value, str):
        assert (value in text) or canonical(value)[1:-1] in text
    elif isinstance(value, dict):
        for key, item in value.items():
            assert canonical(item) in text
            assert key in text or canonical(key)[1:-1] in text
    else:
        assert canonical(value) in text


def test_variety_is_drawn_by_seed_and_message_and_never_touches_what_was_rendered() -> None:
    def forms(seed: int) -> list[str]:
        return [draw(VARIED, seed, number).name for number in range(200)]

    assert forms(1) == forms(1)
    assert forms(1) != forms(2)
    assert set(forms(1)) == {wording.name for wording in VARIED}
    assert max(forms(1).count(wording.name) for wording in VARIED) < 80


# What would break the prefix


def test_sync_appends_what_is_new_and_refuses_what_is_not() -> None:
    context = AgentContext("You help.")
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "You help."},
        {"role": "user", "content": "It is 10:00. Hi"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "f", "arguments": {"b": 1, "a": 2}}}],
        },
    ]
    assert context.sync(messages[:2]) == 1
    assert context.sync(messages) == 1
    assert context.sync(messages) == 0
    reordered = copy.deepcopy(messages)
    reordered[2]["tool_calls"][0]["function"]["arguments"] = {"a": 2, "b": 1}  # the same: it is rendered sorted
    assert context.sync(reordered) == 0
    before = context.render()
    for change, message, cause in (
        ([*messages[:1], {"role": "user", "content": "It is 10:07. Hi"}, messages[2]], 1, Cause.TIME),
        ([messages[0], messages[2]], 1, Cause.EDITED),
        (messages[:2], 2, Cause.EDITED),
        ([{"role": "system", "content": "You help. run_id=7"}, *messages[1:]], 0, Cause.EDITED),
    ):
        with pytest.raises(PrefixBroken, match=f"message {message}") as caught:
            context.sync(change)
        assert caught.value.found.cause is cause
        after = b"".join(canonical(one).encode() + b"\n" for one in change)
        assert caught.value.found.offset == shared(before.data, after)
        assert context.render() == before
    number = copy.deepcopy(messages)
    number[2]["tool_calls"][0]["function"]["arguments"]["b"] = 1.0  # equal in Python, other bytes
    with pytest.raises(PrefixBroken):
        context.sync(number)


@pytest.mark.parametrize("inside", [True, False])
def test_restate_names_what_changed(inside: bool) -> None:
    system = "You help. It is 2026-01-05 10:00. Session ab12cd34ef56."
    context = AgentContext(system, TOOLS, tools_in_system=inside)
    context.restate()
    context.restate(system, TOOLS[::-1])
    before = context.render()
    changes: list[tuple[str | None, list[dict[str, Any]] | None, Cause]] = [
        (system.replace("10:00", "10:01"), None, Cause.TIME),
        (system.replace("ab12", "ff99"), None, Cause.ID),
        (None, TOOLS[:2], Cause.TOOLS),
        (None, [*TOOLS, {"name": "zzz", "description": "new"}], Cause.TOOLS),
        (None, [], Cause.TOOLS),
    ]
    for words, tools, cause in changes:
        with pytest.raises(PrefixBroken) as caught:
            context.restate(words, tools)
        assert caught.value.found.cause is cause
        if inside:
            other = AgentContext(system if words is None else words, TOOLS if tools is None else tools)
            assert caught.value.found.offset == shared(before.data, other.render().data)
        assert context.render() == before


def test_masking_touches_no_byte() -> None:
    context = AgentContext("You help.", TOOLS)
    before = context.render()
    assert context.mask == mask([str(tool["name"]) for tool in TOOLS], Mode.AUTO)
    assert context.mask_tools(["file_"]).allowed == ("file_read", "file_write")
    assert context.mask.mode is Mode.REQUIRED
    assert context.mask_tools(["browser_"], "specified").allowed == ("browser_open",)
    for prefixes in ([], ["shell_"], ["file_", "nothing"]):
        with pytest.raises(MaskError):
            context.mask_tools(prefixes)
    with pytest.raises(MaskError, match="no tool may be called"):
        AgentContext("You help.").mask_tools()
    assert context.render() == before


def test_marks_for_apis_that_want_them() -> None:
    context = AgentContext("You help.")
    for number in range(6):
        context.add_user(str(number))
        context.add_breakpoint()
        context.add_breakpoint()
    context.recite(["go on"])
    assert [point.messages for point in context.breakpoints()] == [1, 5, 6, 7]
    before = context.render()
    marked = context.messages(marks=True)
    places = [i for i, m in enumerate(marked) if isinstance(m["content"], list)]
    assert places == [0, 4, 5, 6]
    assert marked[4]["content"] == [{"type": "text", "text": "3", "cache_control": {"type": "ephemeral"}}]
    assert context.messages()[4] == {"role": "user", "content": "3"}
    assert context.render() == before


def test_it_says_what_it_is() -> None:
    assert repr(AgentContext("You help.", TOOLS)).startswith("<context of 1 messages")
    with pytest.raises(ValueError, match="wording"):
        AgentContext("", wordings=())
    with pytest.raises(IndexError):
        AgentContext("").line(1)


def test_parts_of_a_content_are_the_contexts_own_whatever_they_were() -> None:
    context = AgentContext("s")
    part = {"type": "text", "text": "a"}
    messages: Any = [{"role": "system", "content": "s"}, {"role": "user", "content": (MappingProxyType(part),)}]
    assert context.sync(messages) == 1
    context.add_user((part,))  # type: ignore[arg-type]
    assert context.sync([*messages, messages[1]]) == 0
    part["text"] = "b"
    assert context.messages()[1:] == [{"role": "user", "content": [{"type": "text", "text": "a"}]}] * 2
    assert json.loads(context.line(2)) == context.messages()[2]


def test_a_list_of_which_one_is_no_message_appends_none() -> None:
    context = AgentContext("s")
    mine = context.messages()
    for wrong, error in (({"content": "no role"}, TypeError), ({"role": "user", "content": "\ud800"}, ValueError)):
        with pytest.raises(error):
            context.sync([*mine, {"role": "user", "content": "a"}, wrong])
        assert context.messages() == mine


def test_breakpoints_are_the_callers_to_change() -> None:
    context = AgentContext("s")
    context.breakpoints().clear()
    assert len(context.breakpoints()) == 1
    context.add({"role": "user", "content": ["a"]})
    context.add_breakpoint()
    assert "cache_control" in str(context.messages(marks=True)[0])


@pytest.mark.parametrize("default", [1.0, True])
def test_a_tool_that_is_equal_in_python_and_not_in_json_is_another(default: object) -> None:
    for inside in (True, False):
        context = AgentContext("s", [{"name": "a", "parameters": {"default": 1}}], tools_in_system=inside)
        with pytest.raises(PrefixBroken):
            context.restate(tools=[{"name": "a", "parameters": {"default": default}}])


@pytest.mark.parametrize("wording", VARIED, ids=lambda wording: wording.name)
@pytest.mark.parametrize("value", [{1: 2}, {1: 2, "a": 3}, {"a": {1: 2}}, {"a": float("nan")}])
def test_what_has_no_canonical_form_has_none_in_any_wording(wording: Wording, value: Any) -> None:
    context = AgentContext("s", wordings=[wording])
    with pytest.raises(NotCanonicalError):
        context.add_observation(value)
    assert len(context) == 1
