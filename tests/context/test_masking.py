"""Which tools may be called: in each mode, in each state, in each way to say it; never none."""

import itertools
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbook.context.masking import ANSWER_START, MaskError, Mode, State, ToolStates, mask

NAMES = ["browser_click", "browser_open", "file", "file_read", "file_write", "shell_run"]
IDENTIFIERS = st.text("ab_", min_size=1, max_size=5)


def test_the_three_modes() -> None:
    auto = mask(NAMES)
    assert auto.actions == {*NAMES, None}
    assert auto.prefill() == ""
    required = mask(NAMES, "required")
    assert required.actions == set(NAMES)
    assert required.prefill() == '{"tool": "'
    group = mask(NAMES, "specified", ["browser_"])
    assert group.actions == {"browser_click", "browser_open"}
    assert group.prefill() == '{"tool": "browser_'
    one = mask(NAMES, "specified", ["shell_"])
    assert one.prefill() == '{"tool": "shell_run", "arguments":'
    some = mask(NAMES, "auto", ["file_", "shell_"])
    assert some.actions == {"file_read", "file_write", "shell_run", None}


REFUSED: list[tuple[Any, Any, str]] = [
    ("required", [], "no tool may be called"),
    ("auto", [], "no tool may be called"),
    ("specified", [], "one prefix"),
    ("specified", None, "one prefix"),
    ("specified", [""], "one prefix"),
    ("specified", ["file_", "shell_"], "one prefix"),
    ("required", ["net_"], "no tool begins with 'net_'"),
    ("required", ["file_", "net_"], "no tool begins with 'net_'"),
    ("required", "file_", "give a list"),
    ("sometimes", None, "no mode is called"),
]


@pytest.mark.parametrize(("mode", "prefixes", "why"), REFUSED)
def test_what_cannot_be_meant_is_refused(mode: Any, prefixes: Any, why: str) -> None:
    with pytest.raises(MaskError, match=why):
        mask(NAMES, mode, prefixes)
    with pytest.raises(MaskError, match=f"state 'a': .*{why}"):
        ToolStates(NAMES, {"a": State(mode, prefixes)}, "a")


def test_no_tools_at_all_is_an_error() -> None:
    with pytest.raises(MaskError, match="no tool may be called"):
        mask([])


def test_what_a_prefill_cannot_say_it_does_not_say() -> None:
    for prefixes in (["file_", "shell_"], ["browser_open", "file_read"]):
        with pytest.raises(MaskError, match="use a schema"):
            mask(NAMES, "required", prefixes).prefill()
    with pytest.raises(MaskError, match="has no beginning"):
        mask(NAMES, "auto", ["file_"]).prefill()
    assert mask(NAMES, "required", ["file"]).prefill() == '{"tool": "file'


@settings(deadline=None)
@given(st.sets(IDENTIFIERS, min_size=1, max_size=8), st.data())
def test_a_prefill_admits_the_allowed_names_and_no_others(names: set[str], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(sorted(names)), min_size=1, max_size=3))
    prefixes = [name[: data.draw(st.integers(1, len(name)))] for name in chosen]
    for mode in (Mode.REQUIRED, Mode.SPECIFIED):
        one = mask(sorted(names), mode, prefixes if mode is Mode.REQUIRED else prefixes[:1])
        try:
            prefill = one.prefill()
        except MaskError:
            assert mode is Mode.REQUIRED
            continue
        admitted = {name for name in names if f'{{"tool": "{name}", "arguments": '.startswith(prefill)}
        assert admitted == one.actions == set(one.allowed)


@settings(deadline=None)
@given(st.sets(IDENTIFIERS, min_size=1, max_size=8), st.data())
def test_the_schema_admits_the_allowed_calls_and_no_others(names: set[str], data: st.DataObject) -> None:
    prefix = data.draw(st.sampled_from(sorted(names)))[:1]
    mode = data.draw(st.sampled_from(list(Mode)))
    one = mask(sorted(names), mode, [prefix])
    schema = one.schema([{"name": prefix, "parameters": {"type": "object", "required": ["x"]}}])
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for name in names:
        assert validator.is_valid({"tool": name, "arguments": {"x": 1}}) == (name in one.allowed)
        assert validator.is_valid({"tool": name, "arguments": {}}) == (name in one.allowed and name != prefix)
    assert not validator.is_valid({"tool": "zzz", "arguments": {"x": 1}})
    assert validator.is_valid({"answer": "a"}) == (mode is Mode.AUTO)


def test_alternatives_say_the_same() -> None:
    assert mask(NAMES, "required", ["shell_"]).alternatives() == ['{"tool": "shell_run", "arguments": {']
    auto = mask(NAMES, "auto", ["file_"]).alternatives()
    assert auto[-1] == ANSWER_START
    assert len(auto) == 3


STATES = {
    "plan": State("required", ["file_"], {"file_write": "act", "file_": "plan"}),
    "act": State("specified", ["browser_"], {"browser_open": "look"}),
    "look": State("auto", None, {"browser_": "act", "shell_run": "plan"}),
}


def test_states_lead_on_by_what_is_called() -> None:
    machine = ToolStates(NAMES, STATES, "plan")
    assert machine.mask.allowed == ("file_read", "file_write")
    with pytest.raises(MaskError, match="may not be called in state 'plan'"):
        machine.call("browser_open")
    with pytest.raises(MaskError, match="demands a call"):
        machine.answer()
    assert machine.call("file_read") == "plan"
    assert machine.call("file_write") == "act"  # the longest prefix decides
    assert machine.call("browser_click") == "act"  # leads nowhere else
    assert machine.call("browser_open") == "look"
    machine.answer()
    assert machine.mask.actions == {*NAMES, None}
    assert machine.call("file") == "look"
    assert machine.call("shell_run") == "plan"


@pytest.mark.parametrize(
    ("states", "start", "why"),
    [
        ({"a": State(then={"file_": "b"})}, "a", "is no state"),
        ({"a": State("required", ["file_"], {"shell_": "a"})}, "a", "no tool that it allows"),
        ({"a": State()}, "b", "the first state"),
    ],
)
def test_a_machine_that_cannot_be_is_refused(states: dict[str, State], start: str, why: str) -> None:
    with pytest.raises(MaskError, match=why):
        ToolStates(NAMES, states, start)


def test_masks_of_one_machine_share_all_their_tools() -> None:
    machine = ToolStates(NAMES, STATES, "plan")
    seen = set()
    for tool in ["file_write", "browser_open", "shell_run"]:
        seen.add(machine.mask.tools)
        machine.call(tool)
    assert seen == {tuple(sorted(NAMES))}
    assert len(list(itertools.chain(STATES))) == 3


@pytest.mark.parametrize("parameters", [None, {}])
def test_a_tool_without_parameters_takes_an_object(parameters: object) -> None:
    schema = mask(["a"], "required").schema([{"type": "function", "function": {"name": "a", "parameters": parameters}}])
    jsonschema.validate({"tool": "a", "arguments": {}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"tool": "a", "arguments": "x"}, schema)


def test_states_that_are_changed_afterwards_lead_where_they_led() -> None:
    then, prefixes = {"a": "second"}, ["a"]
    states = ToolStates(["a", "b"], {"first": State("required", prefixes, then), "second": State()}, "first")
    then["a"] = "nowhere"
    prefixes.append("b")
    assert states.mask.allowed == ("a",)
    assert states.call("a") == "second"
