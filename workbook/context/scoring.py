"""What a way to keep a context is worth: a workload is played through it, and what was sent is counted.

    played = play(workload, make("offload", workload, folder))
    score(played).hit_rate

Everything is computed from the messages of each request, never from what the context says of itself. A request's tokens
go through `Replay` and its `PrefixCache`, the cold start included. Numbers mean nothing without the block size, the
prices and the workload, so a score names them.

When a fact is asked for, whoever answers has the rendered context, and the retrieval where that shows a reference to
the observation: two calls at most. What is retrieved is appended like any other observation: it counts in the context's
length and in the cost, from then on.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from workbook.context.baseline import Todo
from workbook.context.cost import Prices
from workbook.context.prefix_cache import PrefixCache
from workbook.context.replay import Encode, Replay, byte_tokens
from workbook.context.trace import Message
from workbook.context.workload import Fact, Turn, Workload

MOST_CALLS = 2
"""Calls of the retrieval that a question may take."""

RETRIEVE = "memory_retrieve"
BLOCK_SIZE = 16
PRICES = Prices.declared(uncached=3.0, cached=0.3, output=15.0)
"""Dollars for a million tokens, as large models of 2025 are sold; writing to the cache has no price of its own."""


class Policy(Protocol):
    """A context, as the loop of an agent uses it."""

    def add_user(self, text: str) -> object:
        """Appends what the user says."""

    def add_assistant(self, text: str) -> object:
        """Appends what the model wrote."""

    def add_observation(self, obs: Any, tool: str, *, source: Mapping[str, str], fields: Sequence[str] = ()) -> object:
        """Appends what a tool returned."""

    def add_error(self, text: str, tool: str) -> object:
        """Appends what a tool said that went wrong."""

    def render(self, todo: Todo, now: str, /) -> Sequence[Message]:
        """Returns the messages of the next request."""

    def retrieve(self, ref: str, contains: str, /) -> str:
        """Returns what was moved and holds a text."""


@dataclass(frozen=True)
class Request:
    """One request of an agent.

    Attributes:
        messages: what it sends.
        reply: what the model answers.
        turn: the turn that the reply begins, or after which a question is answered; counted from 0.
        fact: what is asked for; None where the agent goes on with its task.
        answered: whether the reply can tell that.
    """

    messages: Sequence[Message]
    reply: str
    turn: int
    fact: Fact | None = None
    answered: bool = False


@dataclass(frozen=True)
class Step:
    """The numbers of one request.

    Attributes:
        turn: the turn that it belongs to.
        question: whether a fact is asked for.
        input_tokens: all tokens of the context.
        cached_tokens: those of them that the cache had.
        output_tokens: those of the reply.
        dollars: what it cost.
    """

    turn: int
    question: bool
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    dollars: float


@dataclass(frozen=True)
class Score:
    """What playing a workload took.

    Attributes:
        steps: the numbers of each request.
        answered: how many facts could be told when they were asked for.
        asked: how many were asked for.
        block_size: of the cache.
        prices: of the tokens.
    """

    steps: tuple[Step, ...]
    answered: int
    asked: int
    block_size: int
    prices: Prices

    @property
    def hit_rate(self) -> float:
        """Cached tokens over prompt tokens, summed up over all requests."""
        return sum(step.cached_tokens for step in self.steps) / sum(step.input_tokens for step in self.steps)

    @property
    def mean_context(self) -> float:
        """Tokens of a context, the mean over all requests."""
        return sum(step.input_tokens for step in self.steps) / len(self.steps)

    @property
    def dollars(self) -> float:
        """What all requests cost."""
        return sum(step.dollars for step in self.steps)

    def __str__(self) -> str:
        rates = self.prices.rates()
        return (
            f"hit rate {self.hit_rate:.1%}, mean context {self.mean_context:,.0f} tokens, cost ${self.dollars:.4f}, "
            f"{self.answered} of {self.asked} facts answered ({len(self.steps)} requests, blocks of {self.block_size} "
            f"tokens; ${rates.uncached} uncached, ${rates.cached} cached, ${rates.output} output a million)"
        )


def play(workload: Workload, context: Policy) -> Iterator[Request]:
    """Runs the agent's loop over a workload, and yields each request as it is sent.

    Args:
        workload: what the agent does, and what it is asked.
        context: empty but for its system prompt.
    """
    sent = 0

    def rendered(todo: Todo) -> Sequence[Message]:
        nonlocal sent
        sent += 1
        return context.render(todo, workload.time(sent - 1))

    context.add_user(workload.task)
    for number, turn in enumerate(workload.turns):
        yield Request(rendered(turn.todo), turn.said, number)
        context.add_assistant(turn.said)
        _observe(context, turn)
        for fact in workload.asked_after(number):
            context.add_user(fact.question)
            messages = rendered(turn.todo)
            for ref in references(messages, fact)[:MOST_CALLS]:
                if stands_in(messages, fact):
                    break
                call = {"tool": RETRIEVE, "arguments": {"ref": ref, "contains": fact.key}}
                said = json.dumps(call, ensure_ascii=False)
                yield Request(messages, said, number, fact)
                context.add_assistant(said)
                context.add_observation(context.retrieve(ref, fact.key), RETRIEVE, source={})
                messages = rendered(turn.todo)
            known = stands_in(messages, fact)
            answer = f"It was {fact.value}." if known else "I do not know."
            yield Request(messages, answer, number, fact, known)
            context.add_assistant(answer)


def references(messages: Sequence[Message], fact: Fact) -> list[str]:
    """Returns the references in a context that name a fact's source, the last one first.

    A reference is a message whose content is JSON, `{"moved": {"ref": …, …}, …}`, with what the source is (`url`,
    `path` or `query`) beside `ref`.
    """
    found = []
    for message in reversed(messages):
        moved = moved_in(message)
        if moved is not None and all(moved.get(key) == value for key, value in fact.source.items()):
            found.append(str(moved["ref"]))
    return list(dict.fromkeys(found))


def moved_in(message: Message) -> dict[str, Any] | None:
    """Returns what a message says of an observation that was moved, or None where it holds none."""
    content = message.get("content")
    if not isinstance(content, str) or not content.startswith("{"):
        return None
    try:
        moved = json.loads(content).get("moved")
    except (ValueError, RecursionError):
        return None
    return moved if isinstance(moved, dict) and isinstance(moved.get("ref"), str) else None


def stands_in(messages: Sequence[Message], fact: Fact) -> bool:
    """Says whether a context tells a fact: its value stands in it."""
    return any(fact.value in str(message.get("content")) for message in messages)


def score(
    requests: Iterator[Request] | Sequence[Request],
    *,
    block_size: int = BLOCK_SIZE,
    prices: Prices = PRICES,
    encode: Encode = byte_tokens,
) -> Score:
    """Counts what requests found in a cache that starts empty and never evicts, and what they cost.

    Args:
        requests: in the order in which they are sent.
        block_size: tokens in a block of the cache.
        prices: of the tokens.
        encode: makes tokens of a message's rendering.
    """
    replay, steps, answered, asked = Replay(PrefixCache(block_size), encode), list[Step](), set[str](), set[str]()
    for request in requests:
        hit = replay.cache.run(replay.tokens(request.messages))
        output = len(replay.tokens([{"role": "assistant", "content": request.reply}]))
        cost = prices.cost(input_tokens=hit.prompt_tokens, cached_tokens=hit.cached_tokens, output_tokens=output)
        asking = request.fact is not None
        steps.append(Step(request.turn, asking, hit.prompt_tokens, hit.cached_tokens, output, float(cost.total)))
        if request.fact is not None:
            asked.add(request.fact.value)
            if request.answered:
                answered.add(request.fact.value)
    return Score(tuple(steps), len(answered), len(asked), block_size, prices)


def _observe(context: Policy, turn: Turn) -> None:
    if turn.ok:
        context.add_observation(turn.observation, turn.tool, source=turn.source, fields=turn.fields)
    else:
        context.add_error(turn.observation, turn.tool)
