"""Acceptance criteria of exercise 2.2: mask, don't remove."""

import json
import random
import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from autograder.acceptance import Failed, Proxy, Work, criterion, equal, expect, fails_with
from autograder.asker import AnswerRaised
from autograder.shrinking import for_all

HIDES = ("workbook.context",)
NEEDS = ("model",)

Action = str | None
Definition = dict[str, Any]
State = dict[str, Any]
Message = dict[str, str]

SYSTEM = "You are a careful assistant. Reply with a call of one tool or with an answer, as JSON."
TOOLS = 30
BLOCK = 32  # tokens: what vLLM caches together on a CPU
CALLED, NAMED = 18, 10  # tokens that a call takes up to its arguments, and a name
MAX_TAIL, MAX_ANSWER = 1_000, 200  # characters
GENERATE = "<|im_start|>assistant\n"

GROUPS = ("browser", "file", "files", "git", "mail", "shell", "sql", "web")
VERBS = ("find", "list", "list_all", "open", "read", "read_all", "ready", "file", "web", "send")
KINDS: tuple[Definition, ...] = ({"type": "string", "maxLength": 12}, {"enum": ["first", "last"]})
KEYS = ("path", "query", "text", "place")
KEYWORDS = {"anyOf", "type", "const", "enum", "not", "required", "properties"}
KEYWORDS |= {"additionalProperties", "maxLength"}
STATES = ("look", "plan", "act", "check", "say", "wait")
ALPHABET = ("a", "b", "_", "é")


@criterion(
    hint=(
        "Which names begin with one of the prefixes? And what else may a reply be?",
        "`str.startswith` takes a tuple of prefixes. Only `auto` lets the model answer.",
        "Sort the names, each once; in mode `auto` put None before them.",
    )
)
def the_set_is_right(work: Work, rng: random.Random) -> None:
    """`actions` gives what a reply may be: names by their prefixes, and in mode `auto` an answer."""

    def case(rng: random.Random) -> None:
        tools = names(rng, rng.randint(1, TOOLS))
        mode, prefixes = restriction(rng, tools)
        given = [*tools, *rng.choices(tools, k=rng.choice((0, 0, 2)))]
        wanted, got = allowed_by(tools, mode, prefixes), work.call("actions", given, mode, prefixes)
        equal(got, wanted, differing(got, wanted))

    for_all(work, rng, case, tries=60)


@criterion(
    hint=(
        "What would a model do of which nothing is allowed? Say so before it is asked.",
        "Each prefix must fit a tool, also beside others that do. `[]` is not None.",
        "A text is a sequence of letters: `isinstance(prefixes, str)` tells it from a list.",
    )
)
def an_empty_set_is_an_error(work: Work, rng: random.Random) -> None:
    """`actions` raises MaskError for a set that is empty, or a restriction that makes no sense."""
    tools = names(rng, TOOLS)
    name = rng.choice(tools)
    group = name.partition("_")[0] + "_"
    wrong: list[tuple[list[str], str, Any, str]] = [
        (tools, mode, prefixes, why)
        for mode in ("auto", "required")
        for prefixes, why in (
            ([], "The list is empty: no tool may be called."),
            ([group, name + "_x"], f"No tool begins with {name + '_x'!r}."),
            ([name[1:]], f"No tool begins with {name[1:]!r}: is this a misspelled prefix?"),
            (group, "A text is no list of prefixes: its letters are none."),
        )
    ]
    wrong += [([], mode, None, "There are no tools.") for mode in ("auto", "required")]
    wrong += [(tools, mode, None, "There is no such mode.") for mode in ("none", "Auto", "")]
    for none in (None, [], [""], [group, name]):
        wrong.append((tools, "specified", none, "One prefix specifies a group."))
    wrong.append((tools, "specified", ["?"], "No tool begins so."))
    rng.shuffle(wrong)
    for given, mode, prefixes, why in wrong:
        with fails_with("MaskError", why):
            work.call("actions", given, mode, prefixes)
        wanted = allowed_by(tools, "required", [group])
        equal(work.call("actions", tools, "required", [group]), wanted, "Nothing is wrong here.")


@criterion(
    hint=(
        "Which entry of `then` is meant where several fit?",
        "The longest prefix that fits decides, whatever the order. None fits: the state stays.",
        "Look at the action first: what is not in the set is refused, and nothing changes.",
    )
)
def states_lead_on(work: Work, rng: random.Random) -> None:
    """`ToolStates`: over 30 tools, the set in each state, where actions lead, what is refused."""

    def case(rng: random.Random) -> None:
        tools = names(rng, rng.choice((6, TOOLS, TOOLS)))
        states = drawn_states(rng, tools)
        state = rng.choice(list(states))
        machine = work.new("ToolStates", tools, states, state)
        for _ in range(rng.randint(1, 12)):
            right = allowed_by(tools, states[state]["mode"], states[state]["prefixes"])
            in_state(work, machine, state, right)
            led = [name for name in tools if leads(states, state, name) != state]
            action = rng.choice(
                [rng.choice(right), rng.choice(led or tools), rng.choice(tools), None]
            )
            if action in right:
                state = leads(states, state, action)
                hint = "Which entry of `then` is the longest that fits?"
                equal(machine.step(action), state, hint)
            else:
                with fails_with("MaskError", f"{action!r} is not allowed in {states[state]}."):
                    machine.step(action)
                hint = f"{action!r} was refused: that changes nothing."
                equal(work.get(machine, "state"), state, hint)
        in_state(work, machine, state)

    for_all(work, rng, case, tries=40)


@criterion(
    hint=(
        "When does an agent notice that a state is wrong if only its steps look?",
        "Look at every state when the machine is made: its set, and each entry of its `then`.",
        "An entry needs a state that exists, and a tool that is allowed there and begins so.",
    )
)
def a_broken_machine_is_refused(work: Work, rng: random.Random) -> None:
    """`ToolStates(…)` itself raises MaskError, also for states that are far from the first one."""
    for _ in range(3):
        tools = names(rng, TOOLS)
        states = drawn_states(rng, tools)
        start, broken = rng.sample(list(states), 2)
        other = next(name for name in tools if name.partition("_")[0] != tools[0].partition("_")[0])
        group = tools[0].partition("_")[0] + "_"
        one_group = {"mode": "required", "prefixes": [group]}
        changes: list[tuple[State, str]] = [
            ({"mode": "required", "prefixes": [], "then": {}}, "It allows nothing."),
            ({"mode": "auto", "prefixes": [other + "?"], "then": {}}, "Its prefix fits no tool."),
            ({"mode": "never", "prefixes": None, "then": {}}, "It has a mode that is none."),
            ({**one_group, "then": {group: "nowhere"}}, "It leads to a state that is none."),
            ({**one_group, "then": {"": start, other: start}}, f"It never allows {other!r}."),
        ]
        rng.shuffle(changes)
        for change, why in changes:
            hint = f"State {broken!r} is {change}. {why}"
            with fails_with("MaskError", hint):
                work.new("ToolStates", tools, {**states, broken: change}, start)
            work.drop(work.new("ToolStates", tools, states, start))
        with fails_with("MaskError", "The first state does not exist."):
            work.new("ToolStates", tools, states, "nowhere")


@criterion(
    hint=(
        "Which replies can still come after a text was written for the model? All of them allowed?",
        "The longest text that all allowed openings have in common is the only one to look at.",
        "`common_start` of the openings; then look at the openings of all other actions.",
    )
)
def a_prefill_is_exact_or_refused(work: Work, rng: random.Random) -> None:
    """`prefill` gives the longest text that says the set exactly, or raises MaskError."""

    def case(rng: random.Random) -> None:
        tools = names(rng, rng.randint(1, TOOLS))
        if rng.random() < 0.5:
            allowed = allowed_by(tools, *restriction(rng, tools))
        else:
            some: list[Action] = [*sorted(rng.sample(tools, rng.randint(0, min(3, len(tools)))))]
            allowed = [*rng.choice(([], [], [None])), *some]
        prefilled(work, tools, allowed)

    for_all(work, rng, case, tries=80)


@criterion(
    hint=(
        "Write down a reply with the name of one tool and the arguments of another.",
        "One schema an action, under `anyOf`: the name a `const`, and that tool's own parameters.",
        'Each is an object with all of its keys `"required"` and `"additionalProperties": False`.',
    )
)
def a_schema_admits_the_set(work: Work, rng: random.Random) -> None:
    """`schema` admits the actions of the set, each with its own arguments, and no other reply."""

    def case(rng: random.Random) -> None:
        tools = definitions(rng, names(rng, rng.randint(2, 12)))
        every = [tool["name"] for tool in tools]
        allowed = allowed_by(every, *restriction(rng, every))
        held = validator(held_schema(work, tools, allowed))
        for good, reply in replies(rng, tools, allowed):
            shown = re.sub("x{9,}", lambda text: f"<{len(text[0])} letters>", json.dumps(reply))
            said = f"the schema {'refuses' if good else 'admits'} {shown}, and allowed is {allowed}"
            hint = "Does each action have its own form, with all of its keys and no others?"
            expect(held.is_valid(reply) == good, said, hint)

    for_all(work, rng, case, tries=20)


@criterion(
    hint=(
        "May a token end in the middle of a name, or behind its end?",
        "Compare bytes: a token may come if what is written then is the beginning of a text, or "
        "begins with one.",
        "None as soon as one text is complete. Special and empty tokens never come.",
    )
)
def tokens_spell_the_names(work: Work, rng: random.Random) -> None:
    """`next_tokens`: names that share tokens, tokens that run on, ids that are written alike."""

    def case(rng: random.Random) -> None:
        texts = drawn_texts(rng)
        single = [bytes([byte]) for byte in "".join(ALPHABET).encode()]
        asked_everywhere(work, rng, drawn_vocabulary(rng, texts, single), texts)

    for_all(work, rng, case, tries=100)


@criterion(
    hint=(
        "After which of your tokens could nothing come next?",
        "A token is of use only if others lead on from it to the end of a text: look ahead.",
        "Recursion over what is written. No token at all is an error: MaskError, no empty list.",
    )
)
def no_way_ends_dead(work: Work, rng: random.Random) -> None:
    """`next_tokens` gives no token from which no others lead to the end; none at all is an error."""

    def case(rng: random.Random) -> None:
        texts = drawn_texts(rng)
        vocabulary = drawn_vocabulary(rng, texts, [])
        asked_everywhere(work, rng, vocabulary, texts)
        start = rng.choice(texts).encode()
        other = start[: rng.randint(0, len(start) - 1)] + b"?"
        known = next_by_trial(vocabulary, texts, other)
        if known == []:
            with fails_with("MaskError", f"{other!r} is the beginning of none of the texts."):
                work.call("next_tokens", vocabulary, texts, other)

    for_all(work, rng, case, tries=200)


@criterion(
    hint=(
        "Which tools does the model read about in a state that allows only some of them?",
        "All of them, in all states. Sort the definitions, and the keys in each.",
        "The messages follow as they stand; the last line opens the assistant's reply.",
    )
)
def all_tools_stay_defined(work: Work, rng: random.Random) -> None:
    """`render` defines all tools, in one form whatever order they come in, and then tells all."""
    for _ in range(4):
        every = names(rng, TOOLS)
        tools = definitions(rng, every)
        allowed = allowed_by(every, *restriction(rng, every))
        messages = talk(rng, rng.randint(1, 4))
        heads = []
        for _ in range(3):
            given = [shuffled(rng, tool) for tool in rng.sample(tools, len(tools))]
            heads.append(rendered(work, given, messages, allowed).head)
        at = len(common_start(heads))
        shown = " and ".join(sorted({repr(head[at - 30 : at + 30]) for head in heads}))
        said = f"the same tools, given in another order, give other bytes: {shown}"
        hint = "In which order do definitions come, and the keys in them?"
        expect(len(set(heads)) == 1, said, hint)


@criterion(
    hint=(
        "Which byte of the prompt is the first to depend on the state?",
        "What depends on it may stand behind all messages, or nowhere: masks need no words.",
    ),
    seconds=300,
)
def no_tool_is_computed_again(work: Work, rng: random.Random) -> None:
    """On vLLM, by its counters: no token of the tools is computed again, whatever the state."""
    every = names(rng, TOOLS)
    tools = definitions(rng, every)
    states = model_states(rng, every)
    walk = list(states)
    prompts = []
    messages = talk(rng, 1)
    for state in walk:
        allowed = allowed_by(every, states[state]["mode"], states[state]["prefixes"])
        prompts.append(rendered(work, tools, messages, allowed))
        messages = [*messages, *talk(rng, 1)]
    other = [shuffled(rng, tool) for tool in rng.sample(tools, len(tools))]
    prompts.append(rendered(work, other, talk(rng, 1), [None, *sorted(every)]))
    salt = uuid.uuid4().hex  # nothing is cached that others have asked, with these same inputs
    llm = work.llm()
    counted = replied(llm, prompts[0].head, max_tokens=1, salt=salt).prompt_tokens
    whole = counted // BLOCK * BLOCK
    for state, prompt in zip([*walk, "another run"], prompts, strict=True):
        cached = min(replied(llm, prompt.text, max_tokens=1, salt=salt).cached_tokens, counted)
        said = f"in {state!r} {cached:,} of the tools' {counted:,} tokens came from the cache"
        hint = f"All whole blocks of {BLOCK} could: {whole:,}. What in front of the messages moves?"
        expect(cached >= whole, f"{said}, and {counted - cached:,} were computed again", hint)


@criterion(
    hint=(
        "What does the engine make of your schema: which key does it have the model write first?",
        "The engine writes keys in the order of `properties`, and passes over what it cannot do.",
    ),
    seconds=300,
)
def the_model_keeps_to_the_set(work: Work, rng: random.Random) -> None:
    """SmolLM2 is told to call what it may not: in each state and way its reply is in the set."""
    every = names(rng, TOOLS)
    tools = definitions(rng, every)
    states = model_states(rng, every)
    state = next(iter(states))
    machine = work.new("ToolStates", every, states, state)
    messages: list[Message] = []
    asked: list[Question] = []
    for _ in states:
        allowed = allowed_by(every, states[state]["mode"], states[state]["prefixes"])
        in_state(work, machine, state, allowed)
        forbidden = [name for name in every if name not in allowed] or every
        tempted = f"Call the tool {rng.choice(forbidden)} now. Call no other tool."
        messages = [*messages, {"role": "user", "content": tempted}]
        prompt = rendered(work, tools, messages, allowed).text
        one = rng.choice([name for name in allowed if name is not None])
        narrowed: list[Action] = [one]
        for actions in (allowed, narrowed):
            asked += questions(work, state, prompt, tools, actions)
        messages = [*messages, {"role": "assistant", "content": opening(one) + " {}}"}]
        state = leads(states, state, one)
        equal(machine.step(one), state)
    llm = work.llm()
    replied(llm, asked[0].prompt, max_tokens=1)  # fills the cache for all others
    with ThreadPoolExecutor(4) as pool:
        came = pool.map(lambda question: question.put(llm), asked)
        for question, reply in zip(asked, came, strict=True):
            question.judge(every, reply)


@dataclass(frozen=True)
class Prompt:
    """A rendering: the system's message, and all of it."""

    head: str
    text: str


@dataclass(frozen=True)
class Question:
    """What the model is asked, under one set of actions, held in one way."""

    state: str
    way: str
    prompt: str
    allowed: list[Action]
    prefill: str = ""
    schema: Definition | None = None

    def put(self, llm: Any) -> str:
        """Asks the model; returns the beginning of its reply."""
        begin = [opening(action) for action in self.allowed] if self.way == "beginnings" else None
        tokens = NAMED if self.way == "prefill" else CALLED
        prompt = self.prompt + self.prefill
        reply = replied(llm, prompt, max_tokens=tokens, schema=self.schema, begin_with=begin)
        return self.prefill + str(reply.text)

    def judge(self, tools: list[str], reply: str) -> None:
        """Expects that a reply, cut as it is, is the beginning of one that is allowed."""
        said = re.sub(r"\s", "", reply)
        right = [re.sub(r"\s", "", opening(action)) for action in self.allowed]
        fits = any(said.startswith(text) or text.startswith(said) for text in right)
        if (
            self.way == "prefill"
        ):  # behind it a small model makes names up; those that exist are allowed
            others = [opening(action) for action in (None, *tools) if action not in self.allowed]
            fits = not any(said.startswith(re.sub(r"\s", "", text)) for text in others)
        shown = f"in state {self.state!r}, held by {self.way}, the model replied {reply!r}"
        expect(fits, f"{shown}, and allowed is {self.allowed}", "Held to the set, in that order?")


def replied(llm: Any, prompt: str, **options: Any) -> Any:
    """The model's reply to a prompt that the work has made, under a schema of its own."""
    try:
        return llm.complete(prompt, **options)
    except ValueError as error:
        raise Failed(f"vLLM refuses what it is asked: {error}") from error


def questions(
    work: Work, state: str, prompt: str, tools: list[Definition], allowed: list[Action]
) -> Iterator[Question]:
    """The ways in which a set can be held, by what the work gives for each."""
    every = [tool["name"] for tool in tools]
    prefill = prefilled(work, every, allowed)
    if prefill:
        yield Question(state, "prefill", prompt, allowed, prefill=prefill)
    yield Question(state, "schema", prompt, allowed, schema=held_schema(work, tools, allowed))
    yield Question(state, "beginnings", prompt, allowed)


def opening(action: Action) -> str:
    """How a reply begins that is this action."""
    return '{"answer":' if action is None else f'{{"tool": "{action}", "arguments":'


def names(rng: random.Random, count: int) -> list[str]:
    """So many names of tools, in no order; some are the beginnings of others."""
    groups = rng.sample(GROUPS, 6)
    every = [f"{group}_{verb}" for group in groups for verb in rng.sample(VERBS, 5)]
    return rng.sample(every, count)


def restriction(rng: random.Random, tools: list[str]) -> tuple[str, list[str] | None]:
    """A mode, and beginnings of some of the names."""
    mode = rng.choice(("auto", "required", "specified"))
    some = rng.choices(tools, k=1 if mode == "specified" else rng.randint(1, 3))
    cuts = [
        name[: rng.choice((name.find("_") + 1, len(name), rng.randint(1, len(name))))]
        for name in some
    ]
    return mode, None if mode != "specified" and rng.random() < 0.25 else cuts


def allowed_by(tools: list[str], mode: str, prefixes: list[str] | None) -> list[Action]:
    """The truth about `actions`."""
    fitting = {name for name in tools for prefix in prefixes or [] if name[: len(prefix)] == prefix}
    right: list[Action] = [*sorted(tools if prefixes is None else fitting)]
    return [None, *right] if mode == "auto" else right


def drawn_states(rng: random.Random, tools: list[str]) -> dict[str, State]:
    """Some states, of which each allows something and leads on by prefixes that lie in each other."""
    chosen = rng.sample(STATES, rng.randint(2, 5))
    states = {}
    for state in chosen:
        mode, prefixes = restriction(rng, tools)
        right = [name for name in allowed_by(tools, mode, prefixes) if name]
        fit = [name[: rng.randint(0, len(name))] for name in rng.choices(right, k=4)]
        then = {prefix: rng.choice(chosen) for prefix in rng.sample(fit, rng.randint(0, 4))}
        states[state] = {"mode": mode, "prefixes": prefixes, "then": then}
    return states


def model_states(rng: random.Random, tools: list[str]) -> dict[str, State]:
    """Four states in a ring, in all modes; in two of them no prefill can say the set."""
    groups = rng.sample(sorted({name.partition("_")[0] + "_" for name in tools}), 4)
    made: list[State] = [
        {"mode": "specified", "prefixes": [groups[0]]},
        {"mode": "required", "prefixes": groups[1:3]},
        {"mode": "auto", "prefixes": [groups[3]]},
        {"mode": rng.choice(("auto", "required")), "prefixes": None},
    ]
    rng.shuffle(made)
    chosen = rng.sample(STATES, 4)
    ring = zip(chosen, made, [*chosen[1:], chosen[0]], strict=True)
    return {state: {**about, "then": {"": then}} for state, about, then in ring}


def leads(states: dict[str, State], state: str, action: Action) -> str:
    """The state after an action."""
    then = states[state]["then"]
    for size in range(len(action or ""), -1, -1):
        if action is not None and action[:size] in then:
            return str(then[action[:size]])
    return state


def in_state(work: Work, machine: Proxy, state: str, allowed: list[Action] | None = None) -> None:
    """Expects that the machine is in a state, and allows what that does."""
    equal(work.get(machine, "state"), state, "Is the state where the last step has left it?")
    if allowed is not None:
        equal(machine.actions(), allowed, f"What does the state {state!r} allow?")


def prefilled(work: Work, tools: list[str], allowed: list[Action]) -> str:
    """What the work writes for the model, which is right; empty where it rightly refuses to."""
    if why := unsaid(tools, allowed):
        with fails_with("MaskError", why):
            work.call("prefill", tools, allowed)
        return ""
    right = common(allowed)
    try:
        got = work.call("prefill", tools, allowed)
    except AnswerRaised as error:
        if "MaskError" not in error.names:
            raise
        raise Failed(f"raised {error}", f"{right!r} says it: no other action begins so.") from error
    equal(got, right, "Is it the longest text with which all allowed openings begin?")
    return right


def common(allowed: list[Action]) -> str:
    """The longest text with which the openings of all these actions begin."""
    return common_start([opening(action) for action in allowed])


def common_start(texts: list[str]) -> str:
    """The longest text with which all of these begin."""
    size = 0
    while size < min(map(len, texts)) and len({text[: size + 1] for text in texts}) == 1:
        size += 1
    return texts[0][:size]


def intruders(tools: list[str], allowed: list[Action]) -> list[Action]:
    """The actions that are not allowed and begin as all allowed ones do."""
    others = [action for action in (None, *tools) if action not in allowed]
    return [action for action in others if opening(action).startswith(common(allowed))]


def unsaid(tools: list[str], allowed: list[Action]) -> str:
    """Why no prefill says a set; empty where one does."""
    if not allowed:
        return "Nothing is allowed."
    others = intruders(tools, allowed)
    what = "an answer" if others == [None] else f"a call of {others[-1]!r}" if others else ""
    return f"{common(allowed)!r} is all that {allowed} have in common; {what} begins so." * bool(
        what
    )


def definitions(rng: random.Random, tools: list[str]) -> list[Definition]:
    """A definition for each name; no two in a row have equal parameters."""
    made = []
    for number, name in enumerate(tools):
        key, kind = KEYS[number % len(KEYS)], rng.choice(KINDS)
        parameters = {"type": "object", "properties": {key: kind}, "required": [key]}
        about = " ".join(reversed(name.split("_")))
        whole = {**parameters, "additionalProperties": False}
        made.append({"name": name, "description": about, "parameters": whole})
    return made


def held_schema(work: Work, tools: list[Definition], allowed: list[Action]) -> Definition:
    """The work's schema for a set, if it keeps to the keywords that the contract names."""
    got = work.call("schema", tools, allowed)
    expect(type(got) is dict, f"expected a schema, a dictionary, got {got!r:.100}")
    plain(got)
    size, most = len(json.dumps(got)), 4 * len(json.dumps(tools)) + 1_000
    expect(size <= most, f"the schema has {size:,} characters, of {most:,} at most")
    return dict(got)


def plain(schema: Any) -> None:
    """Expects that a schema has no keyword but those that the contract names."""
    if type(schema) is bool:
        return
    expect(type(schema) is dict, f"no schema: {schema!r:.100}")
    more = sorted(set(map(str, schema)) - KEYWORDS)
    expect(not more, f"the schema has the keywords {more}", f"The contract has {sorted(KEYWORDS)}.")
    longest = schema.get("maxLength", 0)
    expect(type(longest) is int and 0 <= longest <= MAX_ANSWER, f"maxLength is {longest!r:.100}")
    inner = [schema[key] for key in ("not", "additionalProperties") if key in schema]
    lists, maps = schema.get("anyOf", []), schema.get("properties", {})
    expect(type(lists) is list and type(maps) is dict, f"no schema: {schema!r:.100}")
    for one in [*inner, *lists, *maps.values()]:
        plain(one)


def validator(schema: Definition) -> Any:
    """What says whether a schema admits a reply."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise Failed(f"not a JSON schema: {error.message:.200}") from None
    return Draft202012Validator(schema)


def replies(
    rng: random.Random, tools: list[Definition], allowed: list[Action]
) -> Iterator[tuple[bool, Any]]:
    """Replies, and whether they may come."""
    texts = "x" * MAX_ANSWER, "x" * (MAX_ANSWER + 1)
    yield None in allowed, {"answer": texts[0]}
    yield False, {"answer": texts[1]}
    yield False, {"answer": 6}
    for tool in rng.sample(tools, min(4, len(tools))):
        right, name = tool["name"] in allowed, tool["name"]
        ((key, kind),) = tool["parameters"]["properties"].items()
        good = "last" if "enum" in kind else "notes"
        other = KEYS[(KEYS.index(key) + 1) % len(KEYS)]
        call = {"tool": name, "arguments": {key: good}}
        yield right, call
        yield False, {"tool": name}
        yield False, {"arguments": {key: good}}
        yield False, {**call, "answer": "yes"}
        for arguments in ({}, {other: good}, {key: good, other: good}, {key: 6}, [good]):
            yield False, {"tool": name, "arguments": arguments}
    yield False, {"tool": "shell_erase", "arguments": {}}
    yield False, {}


def drawn_texts(rng: random.Random) -> list[str]:
    """Some short texts, of which some begin alike and one may be the beginning of another."""
    start = "".join(rng.choices(ALPHABET, k=rng.randint(0, 3)))
    ends = ["".join(rng.choices(ALPHABET, k=rng.randint(1, 3))) for _ in range(rng.randint(1, 3))]
    return [start + end for end in ends]


def drawn_vocabulary(
    rng: random.Random, texts: list[str], always: list[bytes]
) -> list[bytes | None]:
    """Tokens by their ids: pieces of the texts and of what goes on behind them, and some others."""
    tokens: list[bytes | None] = [*always]
    for _ in range(rng.randint(2, 9)):
        whole = rng.choice(texts).encode() + "".join(rng.choices(ALPHABET, k=2)).encode()
        first = rng.randint(0, len(whole) - 1)
        tokens.append(whole[first : first + rng.randint(1, 4)])
    tokens += rng.choices([None, b"", b"a", b"?"], k=rng.randint(0, 2))
    tokens += rng.sample(tokens, rng.randint(0, 1))
    rng.shuffle(tokens)
    return tokens


def asked_everywhere(
    work: Work, rng: random.Random, vocabulary: list[bytes | None], texts: list[str]
) -> None:
    """Asks at the start, at places to which tokens lead, and at places within the texts."""
    known = spellings(vocabulary, texts)
    whole = rng.choice(texts).encode()
    places = [b"", whole[: rng.randint(0, len(whole))], whole + b"?"]
    places += rng.sample(sorted(known), min(3, len(known)))
    for written in places:
        wanted = next_by_trial(vocabulary, texts, written)
        if wanted == []:
            with fails_with("MaskError", f"After {written!r} no token leads to the end of a text."):
                work.call("next_tokens", vocabulary, texts, written)
        else:
            got = work.call("next_tokens", vocabulary, texts, written)
            equal(got, wanted, astray(vocabulary, got, wanted, written))


def astray(
    vocabulary: list[bytes | None], got: Any, wanted: list[int] | None, written: bytes
) -> str:
    """What is wrong with some ids."""
    if wanted is None:
        return f"In {written!r} one of the texts is complete: all tokens may come."
    if got is None:
        return f"After {written!r} no text is complete yet."
    shown = {number: f"{number} ({token!r})" for number, token in enumerate(vocabulary)}
    return f"After {written!r}: {differing(got, wanted, shown)}"


def differing(got: Any, wanted: list[Any], shown: dict[Any, str] | None = None) -> str:
    """What a list lacks and what it has too much of."""
    if type(got) is not list or not all(type(one) in (int, str, type(None)) for one in got):
        return "That is no such list."
    lost, more = ([one for one in a if one not in b] for a, b in ((wanted, got), (got, wanted)))
    listed = [", ".join((shown or {}).get(one, repr(one)) for one in many) for many in (lost, more)]
    said = [
        f"{what}: {many}."
        for what, many in zip(("Missing", "Too many"), listed, strict=True)
        if many
    ]
    return " ".join(said) or "They are the right ones, in another order or more than once."


def next_by_trial(
    vocabulary: list[bytes | None], texts: list[str], written: bytes
) -> list[int] | None:
    """The ids that may come next, by trying all ways to spell what is left; [] where there is none."""
    if any(written.startswith(text.encode()) for text in texts):
        return None
    rests = [t.encode()[len(written) :] for t in texts if t.encode().startswith(written)]
    first = {way[0] for rest in rests for way in spelled(set(filter(None, vocabulary)), rest)}
    return [number for number, token in enumerate(vocabulary) if token in first]


def spellings(vocabulary: list[bytes | None], texts: list[str]) -> set[bytes]:
    """All that can be written on the way to the end of one of the texts."""
    ways = [way for text in texts for way in spelled(set(filter(None, vocabulary)), text.encode())]
    return {b"".join(way[:size]) for way in ways for size in range(len(way) + 1)}


def spelled(tokens: set[bytes], rest: bytes) -> list[tuple[bytes, ...]]:
    """All ways to spell a text; the last token of one may run on behind its end."""
    done: list[tuple[bytes, ...]] = []
    begun: list[tuple[bytes, ...]] = [()]
    while begun:
        longer = [(*way, token) for way in begun for token in sorted(tokens)]
        done += [way for way in longer if b"".join(way).startswith(rest)]
        begun = [way for way in longer if rest.startswith(text := b"".join(way)) and text != rest]
    return done


def talk(rng: random.Random, turns: int) -> list[Message]:
    """Some messages."""
    made = []
    for _ in range(turns):
        nonce = f"{rng.getrandbits(20):05x}"
        made.append({"role": "user", "content": f"Look at {nonce}."})
        made.append({"role": "assistant", "content": opening(None) + f' "{nonce}"}}'})
        made.append({"role": rng.choice(("tool", "user")), "content": f"It is\n {nonce} é "})
    return made


def rendered(
    work: Work, tools: list[Definition], messages: list[Message], allowed: list[Action]
) -> Prompt:
    """The work's prompt, if it has the form that the contract asks for."""
    text = work.call("render", tools, messages, allowed)
    expect(type(text) is str, f"expected a text, got {text!r:.100}")
    told = "".join(f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in messages)
    head, end, rest = text.partition("<|im_end|>\n")
    begins = head.startswith(f"<|im_start|>system\n{SYSTEM}")
    expect(begins, f"the prompt begins with {text[:100]!r}", "The system's message comes first.")
    defined = [read(line) for line in head.split("\n")]
    lost = [tool["name"] for tool in tools if tool not in defined]
    hint = "A definition that is taken out changes all that comes after it. Mask, don't remove."
    said = f"of {len(tools)} tools {len(lost)} are not defined, {''.join(lost[:1])!r} for one"
    expect(not lost, f"{said}, where allowed is {allowed}", hint)
    most = 2 * len(json.dumps(tools)) + MAX_TAIL
    expect(len(head) <= most, f"the system's message has {len(head):,} characters")
    hint = "All messages, as they stand, in order."
    expect(rest.startswith(told), f"behind the system's message is {rest[:200]!r}", hint)
    tail = rest.removeprefix(told)
    expect(tail.endswith(GENERATE), f"the prompt ends with {tail[-60:]!r}, not with {GENERATE!r}")
    expect(len(tail) <= MAX_TAIL, f"behind the messages are {len(tail):,} characters")
    return Prompt(head + end, text)


def read(line: str) -> Any:
    """What a line says in JSON; None where it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def shuffled(rng: random.Random, value: Any) -> Any:
    """The same value, with the keys of its dictionaries in another order."""
    if isinstance(value, dict):
        return {key: shuffled(rng, value[key]) for key in rng.sample(list(value), len(value))}
    return value
