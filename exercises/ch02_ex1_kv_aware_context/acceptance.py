"""Acceptance criteria of exercise 2.1: a context for the cache.

What a context is worth is counted from what it renders, by `workbook.context.scoring`; what the context says of itself
is asked by nobody.
"""

import hashlib
import json
import random
import uuid
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from autograder.acceptance import (
    Failed,
    NotRun,
    Proxy,
    Work,
    criterion,
    equal,
    expect,
    fails_with,
    same,
)
from autograder.shrinking import for_all
from workbook.context.baseline import Naive
from workbook.context.prefix_cache import PrefixCache
from workbook.context.scoring import RETRIEVE, Request, Score, play, score
from workbook.context.workload import Workload, draw

HIDES: tuple[str, ...] = ("workbook.context.agent_context", "workbook.context.memory")
HIDES += ("workbook.context.retrieval", "workbook.context.observations")
HIDES += ("workbook.context.policies", "workbook.context.canonical")
PRELOAD = ("numpy", "msgspec")
NEEDS = ("model",)

Message = dict[str, str]
Todo = list[tuple[str, bool]]

HIT_RATE, CONTEXT, COST = 0.8, 0.5, 0.6
DIGITS = 16  # of a ref, at least
MOVED = 4000  # bytes above which an observation is moved
PIECE = 2000  # bytes that `retrieve` gives at most
AROUND = 60  # characters after a text of which `retrieve` must show the fact; it shows 100
ROOM = 8192  # tokens of a prompt and its reply: the positions that SmolLM2 has
BLOCK = 32  # tokens in a block of vLLM's cache on CPUs
TEXTS = ("read", "naïve", "漢字", "😀", "a\nb", '"q"', "\\", "x: 1", "", " ")
NAMES = ("wren", "heron", "küste", "a.b", "plover", "0")


@criterion(
    hint=(
        "What has happened since the last rendering, and what of it stands in this one?",
        "Each `add_…` is one message, and stays in its place for good.",
        "Append to a list; `render` returns a copy of it and the tail.",
    )
)
def history_is_appended(work: Work, rng: random.Random) -> None:
    """Each rendering has the messages of the one before, and one more for each that was added."""

    def case(rng: random.Random) -> None:
        system, tools = words(rng), [{"name": "a", "x": 1}, {"name": "b"}]
        history = Judged(work, work.new("History", system, tools), f"{system}\nTools:\n")
        for _ in range(rng.randint(1, 16)):
            history.say(rng)
            if rng.random() < 0.7:
                history.render([], "12:00")
        history.render([], "12:01")
        history.render([], "12:02")

    for_all(work, rng, case, tries=12)


@criterion(
    hint=(
        "Two processes collect the same tools, one by one. In which order do they come?",
        "Sort the tools by name, and the keys at every depth.",
        "`canonical(tool) for tool in sorted(tools, key=lambda tool: tool['name'])`.",
    )
)
def bytes_are_deterministic(work: Work, rng: random.Random) -> None:
    """The opening depends on what the tools are, not on the order in which they and their keys come."""

    def case(rng: random.Random) -> None:
        system = words(rng)
        names = rng.sample(NAMES, rng.randint(1, len(NAMES)))
        tools: list[Any] = [{"name": name, "parameters": data(rng, 2)} for name in names]
        for _ in range(2):
            given = shuffled(rng, rng.sample(tools, len(tools)))
            history = Judged(work, work.new("History", system, given), opening(system, tools))
            history.render([], "12:00")

    for_all(work, rng, case, tries=20)


@criterion(
    hint=(
        "What does a model do that does not see that something failed?",
        "The same again. So an error is neither shortened, moved nor taken out.",
    )
)
def errors_stay(work: Work, rng: random.Random) -> None:
    """An error stands in the context in full, however long it is and however much follows."""

    def case(rng: random.Random) -> None:
        history = Judged(work, work.new("History", "S", []), "S\nTools:")
        for _ in range(rng.randint(1, 3)):
            text = words(rng) * rng.choice((1, 1, 40, 2000))
            history.add_error(text[:9000], rng.choice(NAMES))
            history.say(rng)
            history.render([], "12:00")

    for_all(work, rng, case, tries=10)


@criterion(
    hint=(
        "What is the last thing that the model reads before it answers?",
        "The list as it is now, with what is done; then the time. Not what they were a step ago.",
    )
)
def todo_stands_last(work: Work, rng: random.Random) -> None:
    """The last message has the todo list and the time of this rendering, and no other message has."""

    def case(rng: random.Random) -> None:
        history = Judged(work, work.new("History", "S", []), "S\nTools:", with_tail=True)
        for number in range(rng.randint(1, 4)):
            todo = [(one_line(rng), rng.random() < 0.5) for _ in range(rng.randint(0, 4))]
            history.render(todo, f"2026-11-27T12:{number:02}:00Z")
            history.say(rng)

    for_all(work, rng, case, tries=20)


@criterion(
    hint=(
        "Which name would another process give to the same observation?",
        "A name made of the content, the kind included: text and data can have the same characters.",
        "`hashlib.sha256(kind + content).hexdigest()[:16]`, with data as canonical JSON.",
    )
)
def names_come_from_contents(work: Work, rng: random.Random) -> None:
    """`put`: a ref is the SHA-256 of its file; equal observations share one, all others differ."""

    def case(rng: random.Random) -> None:
        files = Files()
        known: list[tuple[Any, str]] = []
        for obs in (*lookalikes(rng), observation(rng), observation(rng)):
            ref = files.put(work, obs)
            again = files.put(work, shuffled(rng, obs))
            equal(again, ref, "The same observation, with its keys in another order?")
            other = [seen for seen, name in known if name == ref and not same(seen, obs)]
            expect(not other, f"{short(obs)} and {short(other)} have the same ref, {ref}")
            known.append((obs, ref))

    for_all(work, rng, case, tries=20)


@criterion(
    hint=(
        "What does a process know that has the files, the ref, and nothing else?",
        "Print `repr` of what went in and of what came back. Line ends? Types? All of it?",
        "Text as UTF-8, bytes as they are, data as JSON, each with a mark of its kind.",
    )
)
def what_was_moved_comes_back(work: Work, rng: random.Random) -> None:
    """`restore`: the observation, byte for byte and type for type, for whoever has the files."""

    def case(rng: random.Random) -> None:
        files = Files()
        seen = [observation(rng) for _ in range(rng.randint(1, 4))]
        refs = [files.put(work, obs) for obs in seen]
        for obs, ref in rng.sample(list(zip(seen, refs, strict=True)), len(seen)):
            got = files.restore(work, ref)
            expect(same(got, obs), f"{short(obs)} came back as {short(got)}")

    for_all(work, rng, case, tries=30)
    for obs, size in incompressible(rng):
        files = Files()
        ref = files.put(work, obs)
        expect(same(files.restore(work, ref), obs), f"{short(obs)} came back as another one")
        holds = len(files.data[ref])
        expect(holds >= size, f"the file of {short(obs)} has {holds} bytes", "Where is the rest?")
        with fails_with("KeyError", "There is no such file here: `read` gives None."):
            Files().restore(work, ref)


@criterion(
    hint=(
        "How much of a file of 9,000 bytes is needed to answer one question?",
        "Only this file's lines, only those that hold the text; of a long line what is around it.",
        "Cut twice: each line around the place of the text, and all of it to 2,000 bytes.",
    )
)
def retrieval_finds_a_little(work: Work, rng: random.Random) -> None:
    """`retrieve`: of that observation the lines that hold the text, 2,000 bytes at most."""

    def case(rng: random.Random) -> None:
        files = Files()
        places = rng.randint(1, 40)
        nonces = [f"{rng.getrandbits(40):010x}{n:02}" for n in range(places)]
        pad = rng.choice(("", "é", "😀", "x")) * rng.choice((0, 10, 3000))
        joint = rng.choice(("\n", "\n", "\r\n", " ; "))
        lines = [f"{pad}key {n:03}: {nonce}{pad}" for n, nonce in enumerate(nonces)]
        ref, other = files.put(work, joint.join(lines)), files.put(work, "key 777: nothing")
        asked = rng.randrange(places)
        found = files.retrieve(work, ref, f"key {asked:03}")
        gives = f"key {asked:03} is {nonces[asked]}, and `retrieve` gives {found!r:.200}"
        expect(nonces[asked] in found, gives, "Is what stands around the text shown?")
        far = [n for n in range(places) if joint != " ; " and n != asked and nonces[n] in found]
        more = f"asked for key {asked:03}, and got {len(far)} other lines: {found!r:.200}"
        expect(not far, more, "Only lines that hold the text.")
        wrong = files.retrieve(work, other, f"key {asked:03}")
        told = f"{other} does not hold key {asked:03}, and `retrieve` of it gives {wrong!r:.200}"
        expect(nonces[asked] not in wrong, told, "Is it looked for in that observation alone?")
        files.retrieve(work, ref, "key")

    for_all(work, rng, case, tries=20)
    rows = {"rows": [{"note": f"size {n}: {n * 7919:06}"} for n in range(300)]}
    files = Files()
    ref = files.put(work, rows)
    found = files.retrieve(work, ref, "size 123:")
    told = f"the row of size 123 holds 974037, and `retrieve` gives {found!r:.200}"
    expect("974037" in found, told, "Has data lines in your files, or one line?")
    expect("size 12:" not in found, f"asked for one row of data, and got {found!r:.200}")
    with fails_with("KeyError", "There is no such file here: `read` gives None."):
        Files().retrieve(work, ref, "size 123:")


@criterion(
    hint=(
        "What must stand beside a ref, so that the model knows whether it wants it?",
        "Where it came from, and the fields that the tool has declared. Bytes have no full form.",
        "`{'ref': store.put(obs), **source, 'fields': {path: field(obs, path) for path in fields}}`.",
    )
)
def references_say_where_and_what(work: Work, rng: random.Random) -> None:
    """`add_observation`: in full, or moved with its source and fields, the same bytes each time."""

    def case(rng: random.Random) -> None:
        context = in_context(work, "S", [])
        for _ in range(rng.randint(1, 4)):
            obs = observation(rng, large=rng.random() < 0.5)
            paths = rng.sample(("a", "b.0", "rows.1.id", "none.x"), rng.randint(0, 3))
            kind = rng.choice(("url", "path", "query"))
            source = {kind: one_line(rng)} if rng.random() < 0.8 else {}
            context.add_observation(obs, rng.choice(NAMES), source=source, fields=paths)
            context.add_observation((words(rng) * rng.choice((1, 100)))[:1500], RETRIEVE, source={})
            context.render([], "12:00")
        told = context.contents
        again = in_context(work, "S", [])
        for obs, tool, source, paths in context.observed:
            again.add_observation(shuffled(rng, obs), tool, source=source, fields=paths)
        again.render([], "12:00")
        equal(again.contents, told, "Are keys sorted? Does a ref depend on what came before?")

    for_all(work, rng, case, tries=15)


@criterion(
    hint=(
        "Look the fact up by hand: which ref stands beside its source, and what does it give?",
        "`retrieve` is asked for the text before the value, as it stands in the observation.",
        "Is text beyond ASCII in your files as it was, or as `\\u00e9`?",
    )
)
def facts_stay_answerable(work: Work, rng: random.Random) -> None:
    """Each fact that is asked for stands in the context, or in what two retrievals give."""
    for _ in range(2):
        workload = draw(rng, turns=28, questions=7, size=1500)
        while not awkward(workload):
            workload = draw(rng, turns=28, questions=7, size=1500)
        expect_answers(work, played(work, workload))


@criterion(
    hint=(
        "Print the longest messages of your context. Which of them could be a reference?",
        "What does a reference take that stands in the context at each step from then on?",
    ),
    seconds=120,
)
def the_bill_shrinks(work: Work, rng: random.Random) -> None:
    """Hit rate > 80 %, mean context at least 50 % shorter, cost at least 40 % lower, all facts told."""
    for _ in range(2):
        seed = rng.getrandbits(64)
        workload = drawn(seed)
        requests = played(work, workload)
        naive, yours = naively(seed), score(requests)
        numbers = f"naive: {naive}; yours: {yours}"
        work.measured += [f"naive: {naive}", f"yours: {yours}"]
        work.exchanges = []
        show_longest(work, requests)
        expect_answers(work, requests, numbers)
        expect(
            yours.hit_rate > HIT_RATE, f"hit rate {yours.hit_rate:.1%}, not above 80 %. {numbers}"
        )
        shorter = 1 - yours.mean_context / naive.mean_context
        expect(
            yours.mean_context <= CONTEXT * naive.mean_context,
            f"the mean context is {shorter:.0%} shorter, not 50 %. {numbers}",
            "How large is what you leave in the context, on average?",
        )
        lower = 1 - yours.dollars / naive.dollars
        expect(
            yours.dollars <= COST * naive.dollars, f"cost {lower:.0%} lower, not 40 %. {numbers}"
        )


@criterion(
    hint=(
        "How many tokens does the last prompt have, and which messages are the long ones?",
        "A model has a last position. Move what is longer than its own reference by some margin.",
    ),
    seconds=300,
)
def real_vllm_agrees(work: Work, rng: random.Random) -> None:
    """On vLLM, each prompt fits SmolLM2's 8,192 tokens, and more than 80 % of all tokens are cached."""
    workload = draw(rng, turns=14, questions=2, size=2000)
    while not crowded(workload):
        workload = draw(rng, turns=14, questions=2, size=2000)
    requests = played(work, workload)
    expect_answers(work, requests)
    # By the model of the cache first: what fails there need not keep a real one busy.
    modelled = score(requests, block_size=BLOCK)
    longest = max(step.input_tokens for step in modelled.steps)
    numbers = f"{len(requests)} prompts, blocks of {BLOCK} tokens, cold start included"
    work.exchanges = []
    show_longest(work, requests)
    expect(longest < ROOM, f"the longest prompt has about {longest:,} tokens; {numbers}")
    expect(
        modelled.hit_rate > HIT_RATE, f"hit rate {modelled.hit_rate:.1%} by the model; {numbers}"
    )
    judged_by_vllm(work, requests, numbers)


def judged_by_vllm(work: Work, requests: Sequence[Request], numbers: str) -> None:
    """Sends each prompt to vLLM, and holds what it counts against the model's count for the same tokens."""
    from workbook.serving import PromptTooLongError

    llm = work.llm()
    encode = tokenizer()
    cache, salt = PrefixCache(BLOCK), uuid.uuid4().hex  # nobody's prompts are shared
    prompt_tokens = cached = expected = 0
    for request in requests:
        ids = [token for message in request.messages for token in encode(message)]
        try:
            reply = llm.complete(ids, max_tokens=1, salt=salt)
        except PromptTooLongError as error:
            raise Failed(
                f"vLLM refuses a prompt of {len(ids):,} tokens: {error}; {numbers}"
            ) from None
        prompt_tokens += len(ids)
        cached += reply.cached_tokens or 0
        expected += cache.run(ids).cached_tokens
    rate = cached / prompt_tokens
    counted = f"vLLM: {cached:,} of {prompt_tokens:,} tokens cached, {rate:.1%}; model: {expected:,}; {numbers}"
    work.measured.append(counted)
    if rate <= HIT_RATE < expected / prompt_tokens:
        raise NotRun(f"others have pushed these prompts out of the cache. {counted}")
    expect(rate > HIT_RATE, counted)


@lru_cache(maxsize=1)
def tokenizer() -> Any:
    """Returns what makes SmolLM2's token ids of a message, in ChatML."""
    from tokenizers import Tokenizer

    from workbook.models import smollm2

    vocabulary = Tokenizer.from_file(str(smollm2() / "tokenizer.json"))

    def encode(message: Mapping[str, Any]) -> list[int]:
        text = f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n"
        return list(vocabulary.encode(text, add_special_tokens=False).ids)

    return encode


# Workloads, and what is asked of those who play them


def awkward(workload: Workload) -> bool:
    """Says whether a fact in data is asked for in other letters than ASCII's, and one content has two names."""
    asked = [fact for fact in workload.facts if fact.asked_after is not None]
    kinds = [
        type(workload.turns[fact.turn].observation) for fact in asked if not fact.key.isascii()
    ]
    texts: dict[Any, set[str]] = {}
    for turn in workload.turns:
        if type(turn.observation) is str and "path" in turn.source and turn.observation:
            texts.setdefault(turn.observation, set()).add(turn.source["path"])
    return dict in kinds and any(len(paths) > 1 for paths in texts.values())


def crowded(workload: Workload) -> bool:
    """Says whether what need not be moved is more than the model has room for."""
    seen = [turn.observation for turn in workload.turns if type(turn.observation) is not bytes]
    sizes = [len(canonical(obs).encode()) for obs in seen]
    return sum(size for size in sizes if size <= MOVED) > 3.5 * ROOM


@lru_cache(maxsize=8)
def drawn(seed: int) -> Workload:
    """A workload with large observations."""
    return draw(random.Random(seed), turns=32, questions=6, size=5000)


@lru_cache(maxsize=8)
def naively(seed: int) -> Score:
    """What the baseline makes of it."""
    workload = drawn(seed)
    return score(play(workload, Naive(workload.system, workload.tools)))


def played(work: Work, workload: Workload) -> list[Request]:
    """Plays a workload through the student's context; each rendering is looked at."""
    return list(play(workload, in_context(work, workload.system, list(workload.tools))))


def expect_answers(work: Work, requests: Sequence[Request], numbers: str = "") -> None:
    """Expects that each fact could be told when it was asked for."""
    ends = {one.fact.value: one for one in requests if one.fact is not None}
    for request in ends.values():
        fact = request.fact
        assert fact is not None
        if not request.answered:
            asked = [one for one in requests if one.fact is fact]
            gave = [one.messages[-2]["content"] for one in asked[1:]]
            work.exchanges = [
                f"{one.reply} → {text}" for one, text in zip(asked, gave, strict=False)
            ]
            where = next(iter(fact.source.values()))
            told = f"the {fact.key} was {fact.value}, in what {where} gave"
            came = f"it is not in the context, nor in what was retrieved (calls: {len(gave)})"
            hint = "Does a ref stand beside that source, and what does it give?"
            raise Failed(f"{told}; {came}. {numbers}", hint)


def show_longest(work: Work, requests: Sequence[Request]) -> None:
    """Puts the longest messages of the last prompt into the evidence."""
    last = [str(message["content"]) for message in requests[-1].messages]
    for content in sorted(last, key=len, reverse=True)[:3]:
        told = f"a message of {len(content.encode()):,} bytes: {content[:100]!r}"
        work.exchanges = [*work.exchanges, told]


def in_context(work: Work, system: str, tools: list[Any]) -> "Judged":
    """A student's context, over files of the judge's."""
    files = Files()
    context = work.new("KVContext", system, tools, files.store(work))
    return Judged(work, context, opening(system, tools), files, with_tail=True)


class Judged:
    """A student's history or context, of which each rendering is held against what was added.

    It can be played like any other policy. Retrievals are asked of a new store, which has nothing but the files.
    """

    def __init__(
        self,
        work: Work,
        context: Proxy,
        opening: str,
        files: "Files | None" = None,
        *,
        with_tail: bool = False,
    ) -> None:
        self.work, self.context, self.files = work, context, files or Files()
        self.opening, self.with_tail = opening, with_tail
        self.contents: list[str] = []  # of all messages between opening and tail
        self.observed: list[tuple[Any, str, dict[str, str], list[str]]] = []
        self._first = ""
        self._expected: list[tuple[str, Any]] = []  # role, and the content or what was observed

    def add_user(self, text: str) -> None:
        """Adds a message, and notes what it must be."""
        self.context.add_user(text)
        self._expected.append(("user", text))

    def add_assistant(self, text: str) -> None:
        """Likewise."""
        self.context.add_assistant(text)
        self._expected.append(("assistant", text))

    def add_error(self, text: str, tool: str) -> None:
        """Likewise."""
        self.context.add_error(text, tool)
        self._expected.append(("tool", canonical({"tool": tool, "error": text})))

    def add_observation(
        self, obs: Any, tool: str, *, source: Mapping[str, str], fields: Sequence[str] = ()
    ) -> None:
        """Likewise; whether it is moved is seen when it is rendered."""
        seen = (obs, tool, dict(source), list(fields))
        self.context.add_observation(obs, tool, source=seen[2], fields=seen[3])
        self.observed.append(seen)
        self._expected.append(("tool", seen))

    def say(self, rng: random.Random) -> None:
        """Adds what a user or a model says."""
        rng.choice((self.add_user, self.add_assistant))(words(rng))

    def retrieve(self, ref: str, contains: str) -> str:
        """Retrieves as a process would that has begun just now."""
        return self.files.retrieve(self.work, ref, contains)

    def render(self, todo: Any, now: str) -> list[Message]:
        """Renders, and expects the opening, the history and the tail."""
        got = messages(self.context.render([tuple(item) for item in todo], now))
        self._begins(got)
        hint = "One message for each that was added, one before them and one after."
        added, shown = len(self._expected), len(got) - 2
        expect(added == shown, f"{added} added, and {shown} shown between opening and tail", hint)
        told = [message["content"] for message in got[1:-1]]
        for place, (before, after) in enumerate(zip(self.contents, told, strict=False), 1):
            if before != after:
                changed = f"message {place} was {before!r:.150} and is {after!r:.150}"
                raise Failed(changed, "What was sent once is paid for: it must not change.")
        for (role, wanted), message in zip(self._expected, got[1:-1], strict=True):
            equal(message["role"], role)
            if isinstance(wanted, str):
                as_given(message["content"], wanted)
        for place in range(len(self.contents), len(told)):
            wanted = self._expected[place][1]
            if not isinstance(wanted, str):
                self._observation(told[place], *wanted)
        self.contents = told
        if self.with_tail:
            lines = [f"- [{'x' if done else ' '}] {text}" for text, done in todo]
            equal(got[-1], {"role": "user", "content": "\n".join([*lines, f"It is {now}."])})
        return got

    def _begins(self, got: list[Message]) -> None:
        equal(got[0]["role"], "system")
        first = got[0]["content"]
        if self.opening.endswith("\n"):  # any tools
            expect(first.startswith(self.opening), f"the opening is {first!r:.300}")
        else:
            equal(first, self.opening, "The system prompt, `Tools:`, a line for each tool, sorted.")
        self._first = self._first or first
        equal(first, self._first, "The opening is made once, and never changes.")

    def _observation(
        self, content: str, obs: Any, tool: str, source: dict[str, str], fields: list[str]
    ) -> None:
        """Expects an observation in full, or a reference to it that leads back."""
        said = read(content)
        expect(canonical(said) == content, f"not canonical JSON: {content!r:.200}")
        if not isinstance(obs, bytes) and content == canonical({"tool": tool, "result": obs}):
            size = len(canonical(obs).encode())
            told = f"{size:,} bytes of {tool} stand there in full; more than {MOVED:,} are moved"
            expect(size <= MOVED or tool == RETRIEVE, told)
            return
        told = f"{short(obs)} of {tool} is neither in full nor moved: {content!r:.300}"
        moved = said.get("moved") if isinstance(said, dict) else None
        expect(isinstance(moved, dict) and sorted(said) == ["moved", "tool"], told)
        equal(said["tool"], tool)
        assert isinstance(moved, dict)
        expect(
            tool != RETRIEVE,
            f"what {RETRIEVE} gave is moved again",
            "Who reads it, and when?",
        )
        for key, value in source.items():
            equal(moved.get(key), value, f"Where can it be had again? Its {key} is known.")
        values = {path: value_at(obs, path) for path in fields}
        equal(
            moved.get("fields"), values, "All declared fields, None for what the observation lacks."
        )
        got = self.files.restore(self.work, self.files.named(moved.get("ref")))
        expect(same(got, obs), f"the ref of {short(obs)} gives {short(got)}")


class Files:
    """The world's files. Each is named by its content, so none is ever another one."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    def write(self, name: Any, data: Any) -> None:
        """Keeps a file."""
        expect(type(name) is str and type(data) is bytes, f"write({name!r:.50}, {data!r:.50})")
        digest = hashlib.sha256(data).hexdigest()
        told = f"the file {name!r:.80} holds {short(data)}, of which the SHA-256 is {digest}"
        expect(
            len(name) >= DIGITS and digest.startswith(name),
            told,
            "Would another process give it this name?",
        )
        self.data[name] = data

    def read(self, name: Any) -> bytes | None:
        """Gives a file's bytes."""
        return self.data.get(name) if type(name) is str else None

    def store(self, work: Work) -> Proxy:
        """A student's store over these files, as a process makes it that has just begun."""
        return work.new("Store", self.write, self.read)

    def put(self, work: Work, obs: Any) -> str:
        """Puts an observation."""
        return self.named(self.store(work).put(obs))

    def restore(self, work: Work, ref: str) -> Any:
        """Restores one."""
        return self.store(work).restore(ref)

    def retrieve(self, work: Work, ref: str, contains: str) -> str:
        """Retrieves a piece of one."""
        got = self.store(work).retrieve(ref, contains)
        expect(type(got) is str, f"expected text, got {got!r:.100}")
        size = len(got.encode(errors="replace"))
        expect(size <= PIECE, f"`retrieve` gives {size:,} bytes for {contains!r:.50}", "All of it?")
        return str(got)

    def named(self, ref: Any) -> str:
        """A ref, if there is such a file."""
        expect(type(ref) is str and ref in self.data, f"{ref!r:.80} is no file that was written")
        return str(ref)


# What the contract says, once more


def canonical(value: Any) -> str:
    """JSON in one form."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def opening(system: str, tools: Sequence[Any]) -> str:
    """The content of the first message."""
    ordered = sorted(tools, key=lambda tool: str(tool["name"]))
    return "\n".join([system, "Tools:", *map(canonical, ordered)])


def value_at(value: Any, path: str) -> Any:
    """What stands at a dotted path."""
    for name in path.split("."):
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def as_given(got: str, wanted: str) -> None:
    """Expects a text; of long ones it shows where they part."""
    if len(wanted) < 200:
        equal(got, wanted)
    if got == wanted:
        return
    pairs = enumerate(zip(got, wanted, strict=False))
    place = next((n for n, (one, other) in pairs if one != other), min(len(got), len(wanted)))
    shown = [f"{text[max(0, place - 20) : place + 40]!r}" for text in (wanted, got)]
    size = f"{len(wanted):,} characters stand there as {len(got):,}"
    raise Failed(f"{size}; from character {place:,} on: expected {shown[0]}, got {shown[1]}")


def messages(got: Any) -> list[Message]:
    """A rendering, if it has the form that the contract asks for."""
    expect(type(got) is list and len(got) > 1, f"expected messages, got {got!r:.100}")
    for message in got:
        right = type(message) is dict and sorted(message) == ["content", "role"]
        right = right and all(type(text) is str for text in message.values())
        expect(right, f"no message: {message!r:.100}")
    return list(got)


def read(content: str) -> Any:
    """What a message says in JSON."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise Failed(f"not JSON: {content!r:.200}") from None


# Inputs


def words(rng: random.Random) -> str:
    """Some text."""
    return " ".join(rng.choices(TEXTS, k=rng.randint(1, 6)))


def one_line(rng: random.Random) -> str:
    """A line that is not empty."""
    return " ".join([rng.choice(NAMES), *words(rng).split()])


def data(rng: random.Random, depth: int) -> Any:
    """A dictionary with lists and dictionaries in it."""
    keys = rng.sample(("a", "b", "rows", "größe", "id", "Z"), rng.randint(1, 4))
    return {key: item(rng, depth - 1) for key in keys}


def item(rng: random.Random, depth: int) -> Any:
    """Something that data may hold."""
    if depth > 0 and rng.random() < 0.5:
        kind = data if rng.random() < 0.5 else lambda *_: [item(rng, depth - 1) for _ in range(3)]
        return kind(rng, depth)
    return rng.choice((0, 1, 1.0, -2.5, True, False, None, 10**20, "1", words(rng)))


def observation(rng: random.Random, *, large: bool = False) -> Any:
    """Text, bytes or data."""
    filler = "größe " * rng.randint(600, 700) if large else ""
    kind = rng.randrange(4)
    if kind == 0:
        ends = rng.choice(("\n", "\r\n", "\r", "\u2028", "\ufeff", "\0", "\n\n", "\t"))
        return ends.join([words(rng) for _ in range(rng.randint(1, 4))]) + filler
    if kind == 1:
        drawn = rng.choices((0, 10, 13, 65, 98, 116, 106, 195, 255), k=rng.randint(0, 8))
        return bytes(drawn) + filler.encode()
    if kind == 2:
        return [*(item(rng, 2) for _ in range(3)), filler]
    return {**data(rng, 3), **({"rows": filler.split()} if large else {})}


def incompressible(rng: random.Random) -> list[tuple[Any, int]]:
    """Observations, each with the bytes that it takes at least, however it is written."""
    numbers = [rng.getrandbits(160) for _ in range(8)]
    letters = "".join(chr(rng.randrange(0x4E00, 0x9F00)) for _ in range(200))
    return [(rng.randbytes(200), 200), (letters, 340), ({"rows": numbers}, 150)]


def lookalikes(rng: random.Random) -> list[Any]:
    """Observations that are easily taken for one another."""
    value = data(rng, 2)
    text = rng.choice((canonical(value), json.dumps(value, indent=1), repr(value)))
    one = rng.choice(([1], {"a": 1}, {"a": [0, 1]}))
    others = [json.loads(canonical(one).replace("1", new)) for new in ("1.0", "true", '"1"')]
    found = [value, text, text.encode(), one, *others, "t", b"t", "", b"", [], {}, [""]]
    return rng.sample(found, rng.randint(2, len(found)))


def shuffled(rng: random.Random, value: Any) -> Any:
    """The same value, with the keys of its dictionaries in another order."""
    if isinstance(value, dict):
        return {key: shuffled(rng, value[key]) for key in rng.sample(list(value), len(value))}
    return [shuffled(rng, one) for one in value] if isinstance(value, list) else value


def short(value: Any) -> str:
    """A value in some characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]} … ({type(value).__name__})"
