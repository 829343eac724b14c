"""Acceptance criteria of exercise 2.4: find the leak."""

import json
import random
from collections.abc import Callable
from typing import Any

from autograder.acceptance import Failed, Work, criterion, equal, expect, same
from autograder.shrinking import for_all

HIDES = ("workbook.context",)

Message = dict[str, str]
Turn = dict[str, Any]

SYSTEM = "You are a careful assistant. Use the tools, and say what you do not know."
BLOCK = 32  # bytes; a byte is a token here
HIT_RATE = 0.8
WORDS = (
    "the",
    "agent",
    "reads",
    "a",
    "file",
    "and",
    "writes",
    "what",
    "it",
    "found",
    "in",
    "order",
)
LETTERS = ("é", "è", "ê", "ü", "ö", "ä", "漢", "😀", "😁", "a")
ROLES = ("system", "user", "assistant", "tool")


@criterion(
    hint=(
        "From where are bytes counted, and where does the next message begin?",
        "Count through the whole rendering: the messages before it, their roles and markers too.",
        "Encode both; find the first index where they differ; then add up lengths of messages.",
    )
)
def the_byte_is_found(work: Work, rng: random.Random) -> None:
    """`first_break` gives the first byte that differs, and the message that it lies in."""

    def case(rng: random.Random) -> None:
        before = drawn(rng, WORDS)
        found(work, before, [*changed(rng, before, WORDS), *drawn(rng, WORDS)])

    for_all(work, rng, case, tries=40)


@criterion(
    hint=(
        "How many bytes is an é? And in which of them does it differ from an è?",
        "Compare bytes, not characters: two characters may have their first bytes in common.",
    )
)
def bytes_are_not_characters(work: Work, rng: random.Random) -> None:
    """Text may be anything that UTF-8 can write: what counts is bytes."""

    def case(rng: random.Random) -> None:
        before = drawn(rng, LETTERS)
        found(work, before, [*changed(rng, before, LETTERS), *drawn(rng, LETTERS)])

    for_all(work, rng, case, tries=80)


@criterion(
    hint=(
        "What is there to compare where one of the two ends?",
        "A rendering that is shorter breaks at its end; one that goes on does not break.",
        "The cache sees bytes, no messages: two ways to cut the same bytes are no break.",
    )
)
def ends_are_breaks_too(work: Work, rng: random.Random) -> None:
    """Renderings that end early, that are empty, or that have the same bytes in other messages."""

    def case(rng: random.Random) -> None:
        before, more = drawn(rng, WORDS), drawn(rng, WORDS)
        place = rng.randrange(len(before))
        message = before[place]
        cut = {**message, "content": message["content"][: rng.randint(0, len(message["content"]))]}
        other = {**message, "role": rng.choice(ROLES)}
        joined = glued(before[place:])
        after = rng.choice(
            (
                [],
                before,
                before[:place],
                [*before, *more],
                [*before[:place], cut],
                [*before[:place], other, *before[place + 1 :]],
                [*before[:place], joined],
                [*before[:place], joined, *more],
                [*before[:place], {**joined, "content": joined["content"] + "!"}],
            )
        )
        first, second = rng.choice(((before, after), (after, before)))
        found(work, first, second)

    for_all(work, rng, case, tries=80)


@criterion(
    hint=(
        "Which bytes did the model see a step ago, and which of them are not there now?",
        "What was said a step ago was true then, and it stays. Say the new time after it.",
        "Each turn has a time of its own: put it into that turn's message.",
    )
)
def time_is_told_in_its_turn(work: Work, rng: random.Random) -> None:
    """`clock`: all texts, the time of now, and a prefix that grows."""
    for _ in range(2):
        turns = clock_turns(rng, 6)
        judged(work, rng, "clock", turns, told_time)


@criterion(
    hint=(
        "Print the same record twice, filled in another order.",
        "Sort keys, at every depth. The order of a list is what it says, and stays.",
        "`json.dumps(record, sort_keys=True)`.",
    )
)
def records_have_one_form(work: Work, rng: random.Random) -> None:
    """`records`: each record as JSON, with the same bytes whatever order its keys came in."""
    for _ in range(3):
        turns = [{"record": record(rng, 3)} for _ in range(6)]
        judged(work, rng, "records", turns, told_records)


@criterion(
    hint=(
        "Who needs to know which id a call had, and for how long?",
        "An id must be the same in every rendering, and differ from all others of the run.",
        "The number of the turn and the place of the call in it make such an id.",
    )
)
def ids_stay_and_pair(work: Work, rng: random.Random) -> None:
    """`calls`: each result names its call, by ids that are unique in the run and never change."""
    for _ in range(3):
        judged(work, rng, "calls", call_turns(rng, 6), told_calls)


@criterion(
    hint=(
        "Where in the context does the model look first for what is true now?",
        "A correction is a message like any other: append it, with the name of what it corrects.",
    )
)
def corrections_are_appended(work: Work, rng: random.Random) -> None:
    """`notes`: of each note the last text that names it is the newest; nothing is edited."""
    for _ in range(3):
        judged(work, rng, "notes", note_turns(rng, 8), told_notes)


@criterion(
    hint=(
        "Which part of a request comes first, and what happens behind it if it changes?",
        "Define all tools, always, in one order. Say in each turn which ones may be called.",
        "`sorted(tools)`, definitions with sorted keys, and the allowed names in the turn's message.",
    )
)
def tools_stay_defined(work: Work, rng: random.Random) -> None:
    """`toolbox`: what may be called now is defined, and named in the last message; nothing moves."""
    for _ in range(3):
        tools = definitions(rng)
        told = told_tools(tools)
        judged(work, rng, "toolbox", tool_turns(rng, tools, 6), told, tools)


@criterion(
    hint=(
        "Look at how long the last prompt of each agent is, and why.",
        "What was said once is in the context, and needs no saying again.",
    )
)
def the_cache_is_hit(work: Work, rng: random.Random) -> None:
    """Over long runs of each agent, over 80 % of prompts are cached, and nothing is said twice."""
    steps = rng.randint(22, 26)
    tools = definitions(rng)
    runs: dict[str, list[Turn]] = {
        "clock": clock_turns(rng, steps),
        "records": [{"record": record(rng, 2)} for _ in range(steps)],
        "calls": call_turns(rng, steps),
        "notes": note_turns(rng, steps),
        "toolbox": tool_turns(rng, tools, steps),
    }
    for agent, turns in runs.items():
        first = [tools] if agent == "toolbox" else []
        prompts = []
        for step in range(1, steps + 1):
            arguments = [shuffled(rng, item) for item in (*first, turns[:step])]
            prompts.append(rendered(messages(work.call(agent, *arguments))))
        facts = len(json.dumps([SYSTEM, *first, turns]).encode())
        most = 2 * facts + 100 * sum(1 + len(turn.get("results", [])) for turn in turns)
        longest = max(map(len, prompts))
        said = f"`{agent}` sends {longest:,} bytes, and knows {facts:,}"
        expect(longest <= most, said, "Is something said again and again?")
        rate = hit_rate(prompts)
        expect(rate > HIT_RATE, f"`{agent}`: {rate:.1%} of all prompts are cached")


def found(work: Work, before: list[Message], after: list[Message]) -> None:
    """Expects the first byte that differs, and its message."""
    wanted = first_break(before, after)
    equal(work.call("first_break", before, after), wanted, "Counted in bytes, from the start?")


def first_break(before: list[Message], after: list[Message]) -> tuple[int, int] | None:
    """The truth."""
    old, new = rendered(before), rendered(after)
    if new.startswith(old):
        return None
    byte = 0
    while byte < len(new) and old[byte] == new[byte]:
        byte += 1
    end = 0
    for message, one in enumerate(before):
        end += len(rendered([one]))
        if end > byte:
            return byte, message
    raise AssertionError


def rendered(messages: list[Message]) -> bytes:
    """The bytes that the cache sees."""
    texts = [f"<|{message['role']}|>\n{message['content']}<|end|>\n" for message in messages]
    return "".join(texts).encode()


def glued(messages: list[Message]) -> Message:
    """One message with the same bytes as these together."""
    text = rendered(messages).decode()
    role, _, rest = text.removeprefix("<|").partition("|>\n")
    return {"role": role, "content": rest.removesuffix("<|end|>\n")}


def hit_rate(prompts: list[bytes]) -> float:
    """Cached tokens of all tokens, in a cache that keeps whole blocks and computes the last token."""
    seen: set[bytes] = set()
    cached = 0
    for prompt in prompts:
        size = 0
        while size + BLOCK < len(prompt) and prompt[: size + BLOCK] in seen:
            size += BLOCK
        cached += size
        seen |= {prompt[:end] for end in range(BLOCK, len(prompt) + 1, BLOCK)}
    return cached / sum(map(len, prompts))


def drawn(rng: random.Random, words: tuple[str, ...]) -> list[Message]:
    """Some messages of such words."""
    return [
        {"role": rng.choice(ROLES), "content": " ".join(rng.choices(words, k=rng.randint(0, 6)))}
        for _ in range(rng.randint(1, 5))
    ]


def changed(rng: random.Random, before: list[Message], words: tuple[str, ...]) -> list[Message]:
    """The same messages, or with one that is changed, gone, new, or in another place."""
    place = rng.randrange(len(before))
    content = before[place]["content"].split(" ")
    word = rng.randrange(len(content))
    one = [*content[:word], rng.choice(words), *content[word + rng.randint(0, 1) :]]
    new = {**before[place], "content": " ".join(one)}
    others = [*before[:place], *before[place + 1 :]]
    at = rng.randint(0, len(others))
    return rng.choice(
        (
            [*before[:place], new, *before[place + 1 :]],
            [*before[:place], new, *before[place + 1 :]],
            [*before[:place], new, *before[place:]],
            [*others[:at], before[place], *others[at:]],
            others,
            before,
        )
    )


def judged(
    work: Work,
    rng: random.Random,
    agent: str,
    turns: list[Turn],
    told: Callable[[list[Message], list[Turn]], None],
    *first: Any,
) -> None:
    """Expects that an agent tells what it knows at each step, and that its prefix only grows.

    Steps are asked for in any order, and one of them twice: whoever serves the next step may be another process.
    """
    steps = list(range(1, len(turns) + 1))
    asked = [*rng.sample(steps, len(steps)), rng.choice(steps)]
    prompts: dict[int, list[Message]] = {}
    for step in asked:
        arguments = [shuffled(rng, item) for item in (*first, turns[:step])]
        got = messages(work.call(agent, *arguments))
        expect(
            got[0]["role"] == "system" and SYSTEM in got[0]["content"], "the system's text is gone"
        )
        told(got, turns[:step])
        again = prompts.setdefault(step, got)
        expect(rendered(again) == rendered(got), f"`{agent}` has rendered step {step} in two ways")
    for step in steps[:-1]:
        before, after = prompts[step], prompts[step + 1]
        broken = first_break(before, after)
        if broken is not None:
            byte, message = broken
            old, new = (excerpt(rendered(item), byte) for item in (before, after))
            where = f"from step {step} to {step + 1}, at byte {byte} in message {message}"
            raise Failed(f"`{agent}` breaks its prefix {where}: {old!r} became {new!r}")


def excerpt(text: bytes, byte: int) -> str:
    """Some bytes around one."""
    return text[max(0, byte - 20) : byte + 20].decode(errors="replace")


def messages(got: Any) -> list[Message]:
    """A rendering, if it has the form that the contract asks for."""
    expect(type(got) is list and len(got) > 0, f"expected messages, got {got!r:.100}")
    for message in got:
        right = type(message) is dict and sorted(message) == ["content", "role"]
        right = right and all(type(text) is str for text in message.values())
        expect(right, f"no message: {message!r:.100}")
    return list(got)


def shuffled(rng: random.Random, value: Any) -> Any:
    """The same value, with the keys of its dictionaries in another order."""
    if isinstance(value, dict):
        return {key: shuffled(rng, value[key]) for key in rng.sample(list(value), len(value))}
    return [shuffled(rng, item) for item in value] if isinstance(value, list) else value


def nonces(rng: random.Random, count: int) -> list[str]:
    """So many different texts."""
    return [f"{number:05x}" for number in rng.sample(range(1 << 16, 1 << 20), count)]


def sentence(rng: random.Random, nonce: str) -> str:
    """A text that no other one contains."""
    return " ".join([*rng.choices(WORDS, k=rng.randint(3, 8)), nonce])


def clock_turns(rng: random.Random, steps: int) -> list[Turn]:
    """Turns with a time each, some of them in one minute."""
    seconds, turns = rng.randrange(40_000), []
    for nonce in nonces(rng, steps):
        seconds += rng.choice((1, 7, 80, 900))
        hour, minute = divmod(seconds // 60, 60)
        time = f"2026-11-27T{hour:02}:{minute:02}:{seconds % 60:02}Z"
        turns.append({"time": time, "text": sentence(rng, nonce)})
    return turns


def told_time(got: list[Message], turns: list[Turn]) -> None:
    """All texts in order; the time that is named last is that of the last turn."""
    text, place = "\n".join(message["content"] for message in got), 0
    for turn in turns:
        place = text.find(turn["text"], place)
        expect(place >= 0, f"the text {turn['text']!r} is not told, or not in order")
    last = {turn["time"]: text.rfind(turn["time"]) for turn in turns}
    now = turns[-1]["time"]
    expect(last[now] >= 0, f"it is {now}, and the model is not told so", "It knows an old time.")
    expect(last[now] == max(last.values()), f"{now} is not the time that is named last")


def record(rng: random.Random, depth: int) -> Any:
    """A record with records and lists in it."""
    keys = rng.sample(
        ("name", "size", "owner", "größe", "mode", "parts", "next"), rng.randint(3, 5)
    )
    return {key: item(rng, depth - 1) for key in keys}


def item(rng: random.Random, depth: int) -> Any:
    """Something that a record may hold."""
    kind = rng.randrange(6 if depth > 0 else 3)
    if kind < 3:
        return (
            rng.randrange(1000),
            rng.choice(WORDS),
            rng.choice((None, True, 0.5, "3", "naïve")),
        )[kind]
    if kind == 3:
        return [item(rng, depth - 1) for _ in range(3)]
    return record(rng, depth)


def told_records(got: list[Message], turns: list[Turn]) -> None:
    """One message a record, with that record as JSON."""
    equal(len(got) - 1, len(turns), "One message a record, after the system's.")
    for message, turn in zip(got[1:], turns, strict=True):
        said = read(message)
        expect(same(said, turn["record"]), f"{message['content']!r:.200} is not {turn['record']}")


def call_turns(rng: random.Random, steps: int) -> list[Turn]:
    """Turns of some calls; the same call may come again, and results come in any order."""
    known = [[rng.choice(("read", "search")), nonce] for nonce in nonces(rng, 4)]
    turns = []
    for _ in range(steps):
        made = rng.choices(known, k=rng.randint(1, 3))
        order = rng.sample(range(len(made)), len(made))
        texts = nonces(rng, len(made))
        results = [[place, text] for place, text in zip(order, texts, strict=True)]
        turns.append({"calls": made, "results": results})
    return turns


def told_calls(got: list[Message], turns: list[Turn]) -> None:
    """For each turn its calls, then each result with the id of its call."""
    rest = iter(got[1:])
    ids: list[str] = []
    equal(len(got) - 1, sum(1 + len(turn["results"]) for turn in turns), "Is a message missing?")
    for turn in turns:
        calls = read(next(rest))
        expect(type(calls) is list, f"expected a list of calls, got {calls!r:.100}")
        for call in calls:
            right = type(call) is dict and sorted(call) == ["argument", "id", "tool"]
            expect(right and type(call["id"]) is str, f"no call with an id: {call!r:.100}")
        equal([[call["tool"], call["argument"]] for call in calls], turn["calls"])
        own = [call["id"] for call in calls]
        for place, text in turn["results"]:
            equal(read(next(rest)), {"id": own[place], "text": text}, "Whose result is it?")
        ids += own
    expect(len(set(ids)) == len(ids), f"an id stands for two calls: {sorted(ids)}")


def note_turns(rng: random.Random, steps: int) -> list[Turn]:
    """Notes, most of which correct an earlier one."""
    names = [f"note-{nonce}" for nonce in nonces(rng, max(3, steps // 2))]
    named = [*rng.sample(names, 2), *rng.choices(names, k=steps - 2)]
    own = nonces(rng, steps)
    return [
        {"name": name, "text": sentence(rng, nonce)} for name, nonce in zip(named, own, strict=True)
    ]


def told_notes(got: list[Message], turns: list[Turn]) -> None:
    """The last message that names a note has its newest text."""
    for name, text in {turn["name"]: turn["text"] for turn in turns}.items():
        naming = [message["content"] for message in got if name in message["content"]]
        expect(bool(naming), f"{name} is not told")
        said = (
            f"the last message that names {name} does not say {text!r}, which is what it says now"
        )
        expect(text in naming[-1], said, "Is the correction told, and which note it corrects?")


def definitions(rng: random.Random) -> dict[str, Any]:
    """Some tools."""
    made = {}
    for nonce in nonces(rng, 5):
        name = f"{rng.choice(('browser', 'shell', 'file'))}_{nonce}"
        of = {key: {"type": "string", "description": rng.choice(WORDS)} for key in ("path", "text")}
        about = sentence(rng, nonce)
        made[name] = {"name": name, "description": about, "parameters": of, "required": ["path"]}
    return made


def tool_turns(rng: random.Random, tools: dict[str, Any], steps: int) -> list[Turn]:
    """Turns in which some of the tools may be called."""
    return [
        {"allowed": rng.sample(list(tools), rng.randint(1, 4)), "text": sentence(rng, nonce)}
        for nonce in nonces(rng, steps)
    ]


def told_tools(tools: dict[str, Any]) -> Callable[[list[Message], list[Turn]], None]:
    """Definitions as JSON in the second message, and in the last one what may be called now."""

    def told(got: list[Message], turns: list[Turn]) -> None:
        expect(
            len(got) > 1 and got[1]["role"] == "tools", "the second message has the role `tools`"
        )
        defined = read(got[1])
        expect(type(defined) is list, f"expected a list of definitions, got {defined!r:.100}")
        wrong = [one for one in defined if not any(same(one, tool) for tool in tools.values())]
        expect(not wrong, f"this is no tool's definition: {wrong[:1]!r:.200}")
        text, place = "\n".join(message["content"] for message in got[2:]), 0
        for turn in turns:
            place = text.find(turn["text"], place)
            expect(place >= 0, f"the text {turn['text']!r} is not told, or not in order")
        for name in turns[-1]["allowed"]:
            expect(tools[name] in defined, f"{name} may be called, and is not defined")
        named = [name for name in tools if name in got[-1]["content"]]
        said = f"the last message names {sorted(named)}; what may be called: {sorted(turns[-1]['allowed'])}"
        expect(sorted(named) == sorted(turns[-1]["allowed"]), said, "What may it call now?")

    return told


def read(message: Message) -> Any:
    """What a message says in JSON."""
    try:
        return json.loads(message["content"])
    except (ValueError, RecursionError):
        raise Failed(f"not JSON: {message['content']!r:.200}") from None
