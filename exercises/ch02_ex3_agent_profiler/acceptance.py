"""Acceptance criteria of exercise 2.3: a profiler for agents."""

import math
import random
import re
from dataclasses import dataclass, field
from typing import Any

from autograder.acceptance import Work, criterion, equal, expect, fails_with
from autograder.shrinking import for_all

HIDES = ("workbook.context",)

Event = dict[str, Any]

OPERATION, RUN = "gen_ai.operation.name", "gen_ai.conversation.id"
ID, TIME, ERROR = "workbook.event.id", "workbook.time", "error.type"
INPUT, CACHED = "gen_ai.usage.input_tokens", "gen_ai.usage.cache_read.input_tokens"
WRITTEN, OUTPUT = "gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.output_tokens"
TOOL, RETRY_OF = "gen_ai.tool.name", "workbook.retry_of"

TRIES = 40
SAID = ("all", "all", "all", "none", "input", "cached", "no output")
TOKENS, RATES = ["hit_rate", "lengths", "without_usage"], ["recovery", "success"]
KINDS = ["cached", "output", "uncached", "written"]


@criterion(
    hint=(
        "Print the times of one run's events, as your function returns them.",
        "Runs stand mixed in the log. Sort them apart first, then sort each by time.",
        "`sort(key=…)` keeps the order of what is equal. Only three operations belong to a run.",
    )
)
def events_are_put_in_order(work: Work, rng: random.Random) -> None:
    """`tidy` gives the events of each run by time; where times are equal, as the log has them."""

    def case(rng: random.Random) -> None:
        log = Log(rng, equal_times=rng.random() < 0.5)
        equal(work.call("tidy", log.events), log.runs, "Are runs apart, in order, and complete?")

    for_all(work, rng, case, tries=TRIES)


@criterion(
    hint=(
        "What makes two entries of the log the same event?",
        "The id alone. The first delivery may not know yet what the last one says.",
        "A dictionary from id to event: what is entered last under a key stays.",
    )
)
def what_comes_twice_counts_once(work: Work, rng: random.Random) -> None:
    """Of entries with one id, the last in the log counts."""

    def case(rng: random.Random) -> None:
        log = Log(rng, twice=0.5)
        equal(work.call("tidy", log.events), log.runs, "Does the last delivery count?")

    for_all(work, rng, case, tries=TRIES)


@criterion(
    hint=(
        "What would your numbers be if a prompt had fewer tokens than were cached of it?",
        "Look at each event before you keep it; pass over those of other operations.",
        "`True` is an `int` in Python: look at `type(tokens) is int`.",
    )
)
def nonsense_is_refused(work: Work, rng: random.Random) -> None:
    """`tidy` raises ValueError for an event that cannot be counted."""
    names = {INPUT: "input", CACHED: "cached", WRITTEN: "written", OUTPUT: "output"}
    few = rng.randrange(1, 100)
    wrong: list[Event] = [{key: -few} for key in names]
    wrong += [{key: value} for key in names for value in (True, few + 0.5, str(few))]
    wrong += [{INPUT: few, CACHED: few + 1}, {INPUT: few, CACHED: few, WRITTEN: 1}]
    wrong += [{ID: None}, {RUN: few}, {TIME: "noon"}]
    rng.shuffle(wrong)
    for change in wrong:
        log = Log(rng)
        place = rng.randint(0, len(log.events))
        event = {OPERATION: "chat", ID: "odd", RUN: "run", TIME: 1.5} | change
        events = [*log.events[:place], event, *log.events[place:]]
        with fails_with("ValueError", f"This event cannot be counted: it has {change}."):
            work.call("tidy", events)
    for change in ({INPUT: few, CACHED: few, WRITTEN: 0}, {OPERATION: "embeddings", INPUT: -1}):
        event = {OPERATION: "chat", ID: "even", RUN: "run", TIME: 1.5} | change
        wanted = {"run": [event]} if event[OPERATION] == "chat" else {}
        equal(work.call("tidy", [event]), wanted, "Nothing is wrong with this event.")


@criterion(
    hint=(
        "Which of your choices would the bill not agree with?",
        "Each attempt was computed and paid for. A long prompt weighs more than a short one.",
        "Sum up both only where both are known; 0 cached tokens are known. Divide at the end.",
    )
)
def hit_rate_is_of_tokens(work: Work, rng: random.Random) -> None:
    """`hit_rate`: cached tokens / prompt tokens, of all attempts that say both."""

    def case(rng: random.Random) -> None:
        log = Log(rng, twice=0.2)
        got = usage(work, log)["hit_rate"]
        right(got, log.cached, log.prompt, "hit_rate", "Are tokens counted, of every attempt?")

    for_all(work, rng, case, tries=TRIES)


@criterion(
    hint=(
        "An attempt that failed has an excuse for saying nothing.",
        "Count attempts without `error.type` that lack input tokens, or cached ones, or both.",
    )
)
def unknown_is_counted(work: Work, rng: random.Random) -> None:
    """`without_usage`: attempts that ended well and do not say how many tokens they read."""

    def case(rng: random.Random) -> None:
        log = Log(rng, twice=0.2)
        equal(usage(work, log)["without_usage"], log.unknown, "Which attempts are without usage?")

    for_all(work, rng, case, tries=TRIES)


@criterion(
    hint=(
        "A request that was tried three times had one context.",
        "`workbook.retry_of` names the first attempt; that one does not carry it.",
        "By `event.get(RETRY_OF, event[ID])`, the last attempt that says its input tokens.",
    )
)
def lengths_are_of_requests(work: Work, rng: random.Random) -> None:
    """`lengths`: of each request, the prompt of the last attempt that says it; sorted."""

    def case(rng: random.Random) -> None:
        log = Log(rng, twice=0.2)
        equal(usage(work, log)["lengths"], sorted(log.lengths), "Is there one length a request?")

    for_all(work, rng, case, tries=TRIES)


@criterion(
    hint=(
        "What is an execution here, and what is none?",
        "An execution that is tried again is another one. Requests that fail are no tools.",
    )
)
def tools_succeed_or_fail(work: Work, rng: random.Random) -> None:
    """`success`: executions of tools without an error / executions of tools."""

    def case(rng: random.Random) -> None:
        log = Log(rng, twice=0.2)
        good, all_ = log.executed.count("S"), len(log.executed)
        hint = "Is every execution counted, and nothing else?"
        right(tools(work, log)["success"], good, all_, "success", hint)

    for_all(work, rng, case, tries=TRIES)


@criterion(
    hint=(
        "Write down the outcomes of one tool in one run: FFS. How many errors is that?",
        "Failures in a row are one error; the next execution that works recovers it.",
        "For each run and tool keep whether it is failing. Change it with every execution.",
    )
)
def errors_are_recovered(work: Work, rng: random.Random) -> None:
    """`recovery`: errors after which the same tool worked again in the same run / errors."""

    def case(rng: random.Random) -> None:
        log = Log(rng, twice=0.2)
        hint = "Failures in a row are one error, of one tool, in one run."
        right(tools(work, log)["recovery"], log.recovered, log.errors, "recovery", hint)

    for_all(work, rng, case, tries=TRIES)


@criterion(
    hint=(
        "Add up by hand what one request costs that failed once and then worked.",
        "What was neither cached nor written is uncached: the three make up the prompt.",
        "An attempt that ended well and lacks input, cached or output tokens makes the cost None.",
    )
)
def cost_is_by_step(work: Work, rng: random.Random) -> None:
    """`costs`: what each request of each run cost, with all its attempts; None where unknown."""

    def case(rng: random.Random) -> None:
        log = Log(rng, twice=0.2)
        got = work.call("costs", log.events, log.prices)
        equal(got, log.costs, "Is each token paid once, each attempt counted, unknown not 0?")

    for_all(work, rng, case, tries=TRIES)


@criterion(
    hint=(
        "Who else reads the log that you were given?",
        "`list.sort` and `pop` work on what they are given; `sorted` makes a list of its own.",
    )
)
def the_log_stays_as_it_is(work: Work, rng: random.Random) -> None:
    """None of the four functions changes the log or an event."""
    for _ in range(8):
        log = Log(rng, twice=0.3)
        kept = work.keep(log.events)
        equal(work.call("tidy", kept), log.runs)
        equal(work.get(kept), log.events, "`tidy` has changed its argument.")
        equal(formed(work.call("usage", kept), TOKENS)["lengths"], sorted(log.lengths))
        equal(work.get(kept), log.events, "`usage` has changed its argument.")
        formed(work.call("tools", kept), RATES)
        equal(work.get(kept), log.events, "`tools` has changed its argument.")
        equal(work.call("costs", kept, log.prices), log.costs)
        equal(work.get(kept), log.events, "`costs` has changed its argument.")


def usage(work: Work, log: "Log") -> dict[str, Any]:
    """What `usage` says of a log, if it has the form that the contract asks for."""
    return formed(work.call("usage", log.events), TOKENS)


def tools(work: Work, log: "Log") -> dict[str, Any]:
    """What `tools` says of a log, if it has the form that the contract asks for."""
    return formed(work.call("tools", log.events), RATES)


def formed(got: Any, keys: list[str]) -> dict[str, Any]:
    """A dictionary with these keys."""
    expect(type(got) is dict, f"expected a dictionary, got {got!r:.100}")
    equal(sorted(got), keys)
    return dict(got)


def right(got: Any, part: int, whole: int, name: str, hint: str) -> None:
    """Expects the float part / whole, or None where there is nothing to count."""
    said = f"`{name}` is {got!r:.100}, and it is {part} of {whole}"
    if not whole:
        expect(got is None, said, "Nothing to count is neither 0 nor 1: None.")
    else:
        close = type(got) is float and math.isclose(got, part / whole, rel_tol=1e-12)
        expect(close, said, hint)


@dataclass
class Log:
    """A log that is drawn from what happened, with what is true of it; nothing is computed from the log.

    Attributes:
        rng: What it is drawn from.
        twice: How often an event is delivered twice.
        equal_times: Whether several events of a run may have the same time.
    """

    rng: random.Random
    twice: float = 0.0
    equal_times: bool = False
    events: list[Event] = field(default_factory=list)
    runs: dict[str, list[Event]] = field(default_factory=dict)
    prices: dict[str, int] = field(default_factory=dict)
    costs: dict[str, list[int | None]] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)
    executed: str = ""
    cached: int = 0
    prompt: int = 0
    unknown: int = 0
    errors: int = 0
    recovered: int = 0

    def __post_init__(self) -> None:
        """Draws some runs, and then the log's order."""
        rng = self.rng
        self.prices = dict(zip(KINDS, rng.sample(range(50, 20_000), 4), strict=True))
        names = [f"run-{rng.getrandbits(16):04x}-{number}" for number in range(rng.randint(1, 3))]
        for name in names:
            self._run(name)
        events = [event for own in self.runs.values() for event in own]
        rng.shuffle(events)
        if self.equal_times:
            place = {event[ID]: number for number, event in enumerate(events)}
            for own in self.runs.values():
                own.sort(key=lambda event: (event[TIME], place[event[ID]]))
        self._other_operations(events)
        for event in [event for event in events if rng.random() < self.twice]:
            last = next(place for place, other in enumerate(events) if other is event)
            events.insert(rng.randint(0, last), self._first_delivery(event))
        self.events = events

    def _run(self, run: str) -> None:
        rng = self.rng
        self.runs[run], self.costs[run] = [], []
        outcomes = dict.fromkeys(("read", "search"), "")
        time = rng.randint(0, 40) / 4
        for _ in range(rng.randint(0, 3)):
            time = self._request(run, time)
            for _ in range(rng.randint(0, 3)):
                tool, failed = rng.choice(list(outcomes)), rng.random() < 0.5
                outcomes[tool] += "F" if failed else "S"
                time += self._pause()
                more = {TOOL: tool} | ({ERROR: "KeyError"} if failed else {})
                self._add(run, "execute_tool", time, more)
        if not self.runs[run] or rng.random() < 0.5:
            self._add(run, "invoke_agent", time + self._pause(), {"workbook.outcome": "done"})
        for happened in outcomes.values():
            self.executed += happened
            self.errors += len(re.findall("F+", happened))
            self.recovered += len(re.findall("F+S", happened))

    def _request(self, run: str, time: float) -> float:
        rng = self.rng
        first, length, cost = "", None, 0
        known = True
        for attempt in range(rng.choice((1, 1, 1, 2, 3))):
            time += self._pause()
            failed = rng.random() < (0.3 if attempt else 0.5)
            said = self._usage(rng.choice(SAID))
            more = {ERROR: "timeout"} if failed else {}
            if first:
                more[RETRY_OF] = first
            event = self._add(run, "chat", time, said | more)
            first = first or event[ID]
            length = said.get(INPUT, length)
            counted = INPUT in said and CACHED in said
            if counted:
                self.prompt, self.cached = self.prompt + said[INPUT], self.cached + said[CACHED]
                cost += self._cost(said)
            self.unknown += not counted and not failed
            known = known and (failed or (counted and OUTPUT in said))
        if length is not None:
            self.lengths.append(length)
        self.costs[run].append(cost if known else None)
        return time

    def _usage(self, says: str) -> dict[str, int]:
        rng = self.rng
        cached, written, rest = (rng.choice((0, rng.randrange(2000))) for _ in range(3))
        usage = {INPUT: cached + written + rest, CACHED: cached, OUTPUT: rng.randrange(300)}
        if rng.random() < 0.5:
            usage[WRITTEN] = written
        lacks = {"none": list(usage), "input": [CACHED], "cached": [INPUT], "no output": [OUTPUT]}
        return {key: value for key, value in usage.items() if key not in lacks.get(says, ())}

    def _cost(self, said: dict[str, int]) -> int:
        written = said.get(WRITTEN, 0)
        parts = (said[CACHED], said.get(OUTPUT, 0), said[INPUT] - said[CACHED] - written, written)
        return sum(self.prices[kind] * tokens for kind, tokens in zip(KINDS, parts, strict=True))

    def _pause(self) -> float:
        return self.rng.randint(0 if self.equal_times else 1, 6) / 4

    def _add(self, run: str, operation: str, time: float, more: Event) -> Event:
        number = sum(map(len, self.runs.values()))
        name = f"{self.rng.getrandbits(24):06x}-{number}"
        self.runs[run].append({OPERATION: operation, ID: name, RUN: run, TIME: time, **more})
        return self.runs[run][-1]

    def _other_operations(self, events: list[Event]) -> None:
        rng = self.rng
        for number in range(rng.randint(0, 2)):
            other = {OPERATION: "embeddings", ID: f"other-{number}", TIME: 3.25}
            other |= {RUN: rng.choice(list(self.runs)), INPUT: 700, CACHED: 70}
            events.insert(rng.randint(0, len(events)), other)

    def _first_delivery(self, event: Event) -> Event:
        """The same event as it was known at first: without usage, with other numbers, or with another end."""
        early = {
            key: value
            for key, value in event.items()
            if key not in (INPUT, CACHED, WRITTEN, OUTPUT)
        }
        if event[OPERATION] == "chat" and self.rng.random() < 0.5:
            early |= {INPUT: 900, CACHED: 90, OUTPUT: 9}
        if self.rng.random() < 0.3:
            early[TIME] += 2.0
        if ERROR in early:
            del early[ERROR]
        elif self.rng.random() < 0.7:
            early[ERROR] = "pending"
        return early
