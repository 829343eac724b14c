"""The first byte that broke a prefix, its message, and why: each cause, alone and with others."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbook.context.causes import Cause, findings
from workbook.context.diagnosis import PrefixBroken, check, diagnose, diagnose_all
from workbook.context.parts import Rendering, parts, shared

Messages = list[dict[str, Any]]


def tool(name: str, description: str = "does it") -> dict[str, Any]:
    return {"description": description, "name": name, "parameters": {"type": "object"}}


def said(system: str, *rest: str) -> Messages:
    roles = ["user", "assistant"]
    return [{"role": "system", "content": system}] + [
        {"role": roles[i % 2], "content": text} for i, text in enumerate(rest)
    ]


def chatml(messages: Messages) -> str:
    return "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)


def lines(messages: Messages) -> bytes:
    return "".join(json.dumps(m, sort_keys=True) + "\n" for m in messages).encode()


FORMS: dict[str, Callable[[Messages], Rendering]] = {
    "messages": lambda messages: messages,
    "chatml": chatml,
    "chatml bytes": lambda messages: chatml(messages).encode(),
    "json lines": lines,
    "body": lambda messages: {"model": "m", "messages": messages},
    "body as JSON": lambda messages: json.dumps({"model": "m", "messages": messages}),
}

TOOLS = "\n".join(json.dumps(tool(name)) for name in ("browser_open", "file_read", "file_write"))

PAIRS = {
    # time stamps
    "ISO": ("It is 2026-01-05T10:00:00Z. Help.", "It is 2026-01-05T10:00:07Z. Help.", Cause.TIME),
    "date": ("Today is 2026-01-05.\nHelp.", "Today is 2026-02-05.\nHelp.", Cause.TIME),
    "clock": ("Clock 10:59 PM, help", "Clock 11:00 PM, help", Cause.TIME),
    "epoch": ("t=1767600000.25 Help", "t=1767600001.5 Help", Cause.TIME),
    "epoch ms": ('{"a":1767600000123}', '{"a":1767600000999}', Cause.TIME),
    "words": ("It is Monday, January 5, 2026. Go", "It is Tuesday, January 6, 2026. Go", Cause.TIME),
    "duration": ("The tool took 1.53 s to run", "The tool took 12.6 s to run", Cause.TIME),
    "ago": ("Edited 3 minutes ago, by me", "Edited 14 minutes ago, by me", Cause.TIME),
    "by key": ('{"timestamp": "yesterday", "a": 1}', '{"timestamp": "today", "a": 1}', Cause.TIME),
    # dict order
    "keys": ('See {"a": 1, "b": 2}!', 'See {"b": 2, "a": 1}!', Cause.ORDER),
    "nested keys": ('{"x": {"a": 1, "b": [2]}}', '{"x": {"b": [2], "a": 1}}', Cause.ORDER),
    "repr": ("State: {'a': 1, 'bc': 2}.", "State: {'bc': 2, 'a': 1}.", Cause.ORDER),
    "set": ("Tags: {'x', 'yy', 'zzz'}", "Tags: {'zzz', 'x', 'yy'}", Cause.ORDER),
    "listing": ("Files:\nb.txt\na.txt\nc.txt\nend", "Files:\na.txt\nc.txt\nb.txt\nend", Cause.ORDER),
    "array": ('{"files": ["b", "a"]}', '{"files": ["a", "b"]}', Cause.ORDER),
    # ids
    "uuid": (
        "Session 6f1c1d2e-0000-4000-8000-000000000001.",
        "Session 9a7c1d2e-0000-4000-8000-00000000abcd.",
        Cause.ID,
    ),
    "hex": ("trace 9f86d081884c7d65 end", "trace 12345678901234567 end", Cause.ID),
    "address": ("<Tool object at 0x7f3a5c0> x", "<Tool object at 0x7f3b111> x", Cause.ID),
    "prefixed": ("call_a1B2c3 said", "call_Zz9912 said", Cause.ID),
    "labelled": ("user: alice, be nice", "user: bob, be nice", Cause.ID),
    "camel": ('{"sessionId": 17, "x": 1}', '{"sessionId": 23, "x": 1}', Cause.ID),
    "digits under a label": ("session_id=1767600000 x", "session_id=1767601111 x", Cause.ID),
    # edited history
    "rewritten": ("The cat sat on the mat.", "The dog lay in the hall.", Cause.EDITED),
    "shortened": ("A long observation, with much in it", "A long obs", Cause.EDITED),
    "a word that went": ("b a or x, a b b", "a or x, a b b", Cause.EDITED),
    "cleared": ("Found 42 files in /tmp", "[cleared]", Cause.EDITED),
    "numbers by chance": ("17 cats sat here", "23 dogs lay there", Cause.EDITED),
    "key went": ('{"a": 1, "b": 2}', '{"a": 1}', Cause.EDITED),
    # tools
    "removed": (f"Tools:\n{TOOLS}\nGo.", "Tools:\n" + "\n".join(TOOLS.split("\n")[::2]) + "\nGo.", Cause.TOOLS),
    "last removed": (f"Tools:\n{TOOLS}\nGo.", "Tools:\n" + "\n".join(TOOLS.split("\n")[:2]) + "\nGo.", Cause.TOOLS),
    "last removed, at the end": (TOOLS, "\n".join(TOOLS.split("\n")[:2]), Cause.TOOLS),
    "added": ("Tools:\n" + "\n".join(TOOLS.split("\n")[1:]) + "\nGo.", f"Tools:\n{TOOLS}\nGo.", Cause.TOOLS),
    "reordered": (TOOLS, "\n".join(TOOLS.split("\n")[::-1]), Cause.TOOLS),
    "reworded": (json.dumps([tool("a")]), json.dumps([tool("a", "does that, better")]), Cause.TOOLS),
    "OpenAI's": (
        json.dumps([{"type": "function", "function": tool(name)} for name in "ab"]),
        json.dumps([{"type": "function", "function": tool(name)} for name in "a"]),
        Cause.TOOLS,
    ),
    "keys of a tool": (
        json.dumps([tool("a")]),
        json.dumps([dict(reversed(tool("a").items()))]),
        Cause.ORDER,
    ),
    "time in a tool": (json.dumps([tool("a", "at 10:00 h")]), json.dumps([tool("a", "at 10:01 h")]), Cause.TIME),
    # others
    "counter": ("Step 9 of 50: go on", "Step 10 of 50: go on", Cause.COUNTER),
    "counter in JSON": ('{"left": 17, "x": 1}', '{"left": 16, "x": 1}', Cause.COUNTER),
    "separators": ('{"a": 1, "b": 2}', '{"a":1,"b":2}', Cause.FORMAT),
    "escapes": ('{"a": "é"}', '{"a": "\\u00e9"}', Cause.FORMAT),
    "number format": ('{"a": 1.0}', '{"a": 1.00}', Cause.FORMAT),
    "line ends": ("one\ntwo", "one\r\ntwo", Cause.FORMAT),
    "trailing space": ("one two", "one two \n", Cause.FORMAT),
    "NFC and NFD": ("Go to the café now", "Go to the cafe\u0301 now", Cause.UNICODE),
    "NFD, first letter": ("Go: \u00e9t\u00e9 now", "Go: e\u0301te\u0301 now", Cause.UNICODE),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PAIRS)
def test_each_cause_in_each_form(name: str, form: str) -> None:
    was, now, cause = PAIRS[name]
    before = FORMS[form](said("You help.", "hello", was))
    after = FORMS[form](said("You help.", "hello", now, "more"))
    found = diagnose(before, after)
    assert found is not None
    assert (found.cause, found.message, found.role) == (cause, 2, "assistant"), found
    assert found.was != found.now
    if form != "body as JSON":
        assert found.offset == shared(*(b"".join(part.raw for part in parts(x)) for x in (before, after)))
    with pytest.raises(PrefixBroken, match=f"{cause}") as caught:
        check(before, after)
    assert caught.value.found == found


@pytest.mark.parametrize("form", FORMS)
def test_what_is_appended_breaks_nothing(form: str) -> None:
    messages = said("You help.", "hello", "It is 10:00", "and", '{"a": 1}')
    for size in range(1, len(messages) + 1):
        assert diagnose(FORMS[form](messages[:size]), FORMS[form](messages)) is None
        assert diagnose_all(FORMS[form](messages[:size]), FORMS[form](messages)) == []
        check(FORMS[form](messages[:size]), FORMS[form](messages))


def test_text_that_grows_breaks_nothing() -> None:
    assert diagnose("Once upon", "Once upon a time") is None
    assert diagnose(b"", b"a") is None
    assert diagnose("", "") is None
    assert diagnose("Once upon a time", "Once upon") is not None


def test_the_offset_counts_bytes_and_not_characters() -> None:
    found = diagnose("ééé é", "ééé è")  # the two share their first byte
    assert found is not None
    assert found.offset == 8
    assert diagnose(b"\xff\xfe1", b"\xff\xfe2") is not None


HISTORY = said("You help.", "one", "two", "three", "four", "five")
MOVES = {
    "window": (HISTORY[:1] + HISTORY[3:], 1, "2 messages that had been sent are gone"),
    "inserted": (HISTORY[:2] + said("x", "new")[1:] + HISTORY[2:], 2, "1 messages came before"),
    "swapped": ([*HISTORY[:2], HISTORY[3], HISTORY[2], *HISTORY[4:]], 2, "another order"),
    "cut at the end": (HISTORY[:4], 4, "2 messages of the earlier one are gone"),
    "role": ([*HISTORY[:3], {"role": "tool", "content": "three"}, *HISTORY[4:]], 3, "the role user became tool"),
    "replaced": ([*HISTORY[:3], {"role": "user", "content": "[cleared]"}, *HISTORY[4:]], 3, "rewritten"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MOVES)
def test_edited_history(name: str, form: str) -> None:
    after, message, detail = MOVES[name]
    found = diagnose_all(FORMS[form](HISTORY), FORMS[form](after))
    assert [(one.cause, one.message) for one in found] == [(Cause.EDITED, message)]
    assert detail in found[0].detail


@pytest.mark.parametrize("form", FORMS)
def test_a_window_over_results_that_differ_in_a_number_is_no_counter(form: str) -> None:
    steps = [f'{{"result": {number}, "at": "10:0{number}"}}' for number in range(8)]
    before, after = said("You help.", *steps[:6]), said("You help.", *steps[2:8])
    found = diagnose_all(FORMS[form](before), FORMS[form](after))
    assert [(one.cause, one.message, one.detail) for one in found] == [
        (Cause.EDITED, 1, "2 messages that had been sent are gone")
    ]
    changed = said("You help.", steps[0].replace("10:00", "10:09"), *steps[1:6])
    again = diagnose(FORMS[form](before), FORMS[form](changed))
    assert again is not None
    assert again.cause is Cause.TIME


def test_tools_given_beside_the_messages() -> None:
    tools = [tool("a"), tool("b")]
    body = {"messages": HISTORY, "tools": tools}
    assert diagnose(body, body | {"messages": [*HISTORY, HISTORY[0]]}) is None
    for changed, detail in (
        (tools[:1], "went: b"),
        (tools[::-1], "another order"),
        ([*tools, tool("c")], "came: c"),
        ([], "all tool definitions went"),
        ([tool("a"), {"name": "z", "odd": 1}], ""),
    ):
        found = diagnose(body, body | {"tools": changed})
        assert found is not None
        assert (found.cause, found.message, found.role) == (Cause.TOOLS, None, "tools")
        assert detail in found.detail
        assert "tool definitions" in str(found)
    came = diagnose({"messages": HISTORY}, body)
    assert came is not None
    assert came.cause is Cause.TOOLS


def test_several_causes_in_one_message_come_in_the_order_of_their_bytes() -> None:
    system = "It is {}. Session {}.\nState: {}\n{}\nStep {}."
    first = (
        "2026-01-05 10:00",
        "sess-a1b2c3d4",
        '{"a": 1, "b": 2}',
        TOOLS,
        1,
    )
    second = ("2026-01-05 10:01", "sess-ffff0000", '{"b": 2, "a": 1}', "\n".join(TOOLS.split("\n")[:2]), 2)
    causes = [Cause.TIME, Cause.ID, Cause.ORDER, Cause.TOOLS, Cause.COUNTER]
    for mask in range(1, 32):
        chosen = [new if mask >> i & 1 else old for i, (old, new) in enumerate(zip(first, second, strict=True))]
        expected = [cause for i, cause in enumerate(causes) if mask >> i & 1]
        found = diagnose(said(system.format(*first), "hi"), said(system.format(*chosen), "hi"))
        assert found is not None
        assert [found.cause, *found.also] == expected, f"{mask:05b}: {found}"


def test_causes_in_one_json_object_come_in_order_too() -> None:
    old = {"now": "10:00", "state": {"a": 1, "b": "x"}, "run_id": 7, "left": 3}
    new = {"now": "10:01", "state": {"b": "x", "a": 1}, "run_id": 8, "left": 2}
    found = diagnose(json.dumps(old), json.dumps(new))
    assert found is not None
    assert (found.cause, found.also) == (Cause.TIME, (Cause.ORDER, Cause.ID, Cause.COUNTER))


def test_all_breaks_one_for_each_message() -> None:
    before = said("It is 10:00.", "run_id=5", "old", "old2", '{"a": 1, "b": 2}')
    after = [said("It is 10:07.", "run_id=6")[0], *said("x", "run_id=6")[1:], *before[4:3:-1]]
    after.append({"role": "user", "content": '{"b": 2, "a": 1}'})
    found = diagnose_all(before, after)
    assert [(one.message, one.cause) for one in found][:2] == [(0, Cause.TIME), (1, Cause.ID)]
    assert found[2].cause is Cause.EDITED
    offsets = [one.offset for one in found]
    assert offsets == sorted(offsets)


def test_an_excerpt_is_short_and_shows_the_difference() -> None:
    found = diagnose("x" * 500 + " cat " + "y" * 500, "x" * 500 + " dog " + "z" * 500)
    assert found is not None
    assert len(found.was) <= 80
    assert "cat" in found.was
    assert "dog" in found.now


@settings(deadline=None)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=4), st.lists(st.text(max_size=20), max_size=4), st.data())
def test_it_finds_exactly_the_first_byte(old: list[str], new: list[str], data: st.DataObject) -> None:
    keep = data.draw(st.integers(0, len(old)))
    before, after = [({"role": "user", "content": text}) for text in old], old[:keep] + new
    rendered = [{"role": "user", "content": text} for text in after]
    a, b = (b"".join(part.raw for part in parts(messages)) for messages in (before, rendered))
    for first, second in ((before, rendered), (chatml(before), chatml(rendered))):
        found = diagnose(first, second)
        if isinstance(first, str):
            a, b = first.encode(), str(second).encode()
        assert (found is None) == b.startswith(a)
        if found is not None:
            assert found.offset == shared(a, b)
            assert diagnose_all(first, second)[0] == found


@settings(deadline=None)
@given(st.text(), st.text())
def test_any_two_texts_can_be_compared(before: str, after: str) -> None:
    a, b = before.encode(errors="surrogatepass"), after.encode(errors="surrogatepass")
    assert (diagnose(before, after) is None) == b.startswith(a)
    assert (diagnose(a, b) is None) == b.startswith(a)


def test_hostile_text_takes_no_time() -> None:
    rng = random.Random(1)
    hard = ["[" * 100_000, "{" * 100_000, '{"a":' * 50_000, "(" * 1000 + "a1" * 50_000, " \n" * 100_000, "9:" * 50_000]
    for text in hard:
        place = rng.randrange(len(text) // 2, len(text))
        found = diagnose(text, text[:place] + "?" + text[place + 1 :])
        assert found is not None
        assert found.offset == place


def test_of_many_differences_some_are_enough() -> None:
    one, other = ("\n".join(f"line {number} value {number + add}" for number in range(20_000)) for add in (0, 1))
    assert len(findings(one, other)) < 300
    # A long word is read once, and not once for each of its characters.
    blob = "A" * 200_000
    (found,) = findings(f"{blob} n 1 z", f"{blob} n 2 z")
    assert (found.was, found.now) == ("1", "2")


@pytest.mark.parametrize("depth", [400, 900])
def test_json_that_is_nested_too_deeply_is_text(depth: int) -> None:
    for form in ("{}", '{{"messages":[{{"role":"user","content":{}}}]}}'):
        one, other = (form.format("[" * depth + number + "]" * depth) for number in "12")
        found = diagnose(one, other)
        assert found is not None
        assert (found.was, found.now) == ("1", "2")


@pytest.mark.parametrize("text", ['{"messages":["a"]}', '{"messages":[null]}', "<|im_start|>", "<|im_start|>user"])
def test_what_only_begins_like_a_rendering_is_text(text: str) -> None:
    (part,) = parts(text)
    assert (part.role, part.text) == ("text", text)


def test_true_in_the_place_of_one_is_no_other_format() -> None:
    found = diagnose('{"a":1}', '{"a":true}')
    assert found is not None
    assert found.cause is Cause.EDITED
