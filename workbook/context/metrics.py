"""Five numbers that say how an agent's context fares, from an event log (`workbook.context.events`).

    numbers = measure(events)
    numbers.hit_rate.value

What is counted, and how, where logs are not tidy:

- **Order.** Events may come in any order; within a run they are put in order of `workbook.time`, and of the log where
  times are equal. Runs may be interleaved: nothing is compared across runs.
- **Delivered twice.** Of events of one operation with one `workbook.event.id` the last in the log counts; it may say
  what the first one did not know yet.
- **null.** An attribute that is null is absent.
- **Retries.** Each attempt was paid for, so each counts in the hit rate and in the totals. The context's length counts
  once a request: its last attempt that says one.
- **Missing usage.** A request of which input or cached tokens are not known is left out of the hit rate, above and
  below the line, and counted in `without_usage`. Unknown is not 0. An attempt that failed and says nothing is `failed`.

The numbers:

- *Hit rate*: Σ cached / Σ prompt tokens, cold starts included.
- *Context lengths*: prompt tokens by request.
- *Tool success*: executions without an error / executions; an execution that is tried again is another one.
- *Error recovery*: failures of one tool in a row, in one run, are one error; it is recovered where a later execution of
  that tool in that run succeeds.
- *Stickiness*: of two requests in a row of a run, how often both were answered by the same instance; pairs of which one
  is not known are left out.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from workbook.context import events as names
from workbook.show import Table


class EventError(ValueError):
    """An event cannot be counted; the message says which one, and why."""


@dataclass(frozen=True)
class Rate:
    """So many of so many.

    Attributes:
        part: How many there were.
        whole: Of how many.
    """

    part: int
    whole: int

    @property
    def value(self) -> float | None:
        """The rate; None where there was nothing to count."""
        return self.part / self.whole if self.whole else None

    def to_dict(self) -> dict[str, object]:
        """Returns the rate for JSON."""
        return {"part": self.part, "whole": self.whole, "value": self.value}

    def __str__(self) -> str:
        return f"{self.part / self.whole:.1%} ({self.part:,} of {self.whole:,})" if self.whole else "nothing to count"


@dataclass(frozen=True)
class Lengths:
    """How long contexts were, in tokens; one value a request, in order of runs and time."""

    values: tuple[int, ...]

    @property
    def mean(self) -> float | None:
        """Their mean; None where there are none."""
        return sum(self.values) / len(self.values) if self.values else None

    def quantile(self, share: float) -> float | None:
        """Returns the length that this share of them do not exceed; None where there are none."""
        return float(np.quantile(self.values, share)) if self.values else None

    def __str__(self) -> str:
        if not self.values:
            return "nothing to count"
        low, middle, high = np.quantile(self.values, [0.1, 0.5, 0.9])
        middle_part = f"median {middle:,.0f}, eight of ten from {low:,.0f} to {high:,.0f}"
        return f"mean {self.mean:,.0f}, {middle_part}, at most {max(self.values):,}"


@dataclass(frozen=True)
class Metrics:
    """What `measure` found.

    Attributes:
        hit_rate: Cached tokens of all prompt tokens, where both are known.
        lengths: Prompt tokens by request.
        tool_success: Executions without an error.
        recovery: Errors after which the tool worked again, in the same run.
        stickiness: Pairs of requests in a row that the same instance answered.
        runs: Runs of which there is an event.
        requests: Requests; attempts at the same one count once.
        attempts: Attempts at them.
        failed: Attempts that ended with an error.
        without_usage: Attempts that ended well and of which input or cached tokens are not known.
        output_tokens: Tokens generated, where that is known.
    """

    hit_rate: Rate
    lengths: Lengths
    tool_success: Rate
    recovery: Rate
    stickiness: Rate
    runs: int
    requests: int
    attempts: int
    failed: int
    without_usage: int
    output_tokens: int

    def table(self) -> Table:
        """Returns the numbers as a table."""
        unknown = f"; {self.without_usage} without usage" if self.without_usage else ""
        rows = [
            ("hit rate", self.hit_rate),
            ("context length", self.lengths),
            ("tool success", self.tool_success),
            ("error recovery", self.recovery),
            ("stickiness", self.stickiness),
            ("runs", self.runs),
            ("requests", f"{self.requests:,} in {self.attempts:,} attempts, {self.failed:,} failed{unknown}"),
            ("tokens generated", f"{self.output_tokens:,}"),
        ]
        return Table(("metric", "value"), rows)

    def __str__(self) -> str:
        return str(self.table())

    def _repr_markdown_(self) -> str:
        return self.table()._repr_markdown_()


def measure(events: Iterable[Mapping[str, Any]], run: str | None = None) -> Metrics:
    """Counts an event log.

    Args:
        events: In any order; those of other operations than chat, execute_tool and invoke_agent are passed over.
        run: Which run; all where left out.

    Raises:
        EventError: An event lacks what says where it belongs, or a number is none.
    """
    runs = _by_run(events, run)
    hit = cached = failed = unknown = output = requests = attempts = 0
    worked = executed = recovered = errors = same = pairs = 0
    lengths = list[int]()
    for own in runs.values():
        chats = [event for event in own if event[names.OPERATION] == names.CHAT]
        length = dict[str, int | None]()
        for event in chats:
            tokens, read = event.get(names.INPUT_TOKENS), event.get(names.CACHED_TOKENS)
            if tokens is not None and read is not None:
                hit, cached = hit + tokens, cached + read
            elif names.ERROR not in event:
                unknown += 1
            failed += names.ERROR in event
            output += event.get(names.OUTPUT_TOKENS, 0)
            request = event.get(names.RETRY_OF, event[names.ID])
            length[request] = length.get(request) if tokens is None else tokens
        attempts, requests = attempts + len(chats), requests + len(length)
        lengths += [tokens for tokens in length.values() if tokens is not None]
        for before, after in pairwise(chats):
            if names.SERVER in before and names.SERVER in after:
                pairs, same = pairs + 1, same + (before[names.SERVER] == after[names.SERVER])
        tools = [event for event in own if event[names.OPERATION] == names.EXECUTE_TOOL]
        executed, worked = executed + len(tools), worked + sum(names.ERROR not in event for event in tools)
        one, other = _errors(tools)
        errors, recovered = errors + one, recovered + other
    return Metrics(
        hit_rate=Rate(cached, hit),
        lengths=Lengths(tuple(lengths)),
        tool_success=Rate(worked, executed),
        recovery=Rate(recovered, errors),
        stickiness=Rate(same, pairs),
        runs=len(runs),
        requests=requests,
        attempts=attempts,
        failed=failed,
        without_usage=unknown,
        output_tokens=output,
    )


def measure_runs(events: Iterable[Mapping[str, Any]]) -> dict[str, Metrics]:
    """Counts each run by itself; the runs stand in the order in which they began.

    Raises:
        EventError: An event lacks what says where it belongs, or a number is none.
    """
    runs = _by_run(events, None)
    return {run: measure(own) for run, own in sorted(runs.items(), key=lambda item: item[1][0][names.TIME])}


def _errors(tools: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Returns how many errors there were in one run, and how many of them were recovered."""
    errors = recovered = 0
    failing = dict[str, bool]()
    for event in tools:
        tool = str(event.get(names.TOOL))
        failed = names.ERROR in event
        errors += failed and not failing.get(tool, False)
        recovered += not failed and failing.get(tool, False)
        failing[tool] = failed
    return errors, recovered


def _by_run(events: Iterable[Mapping[str, Any]], run: str | None) -> dict[str, list[Mapping[str, Any]]]:
    """Sorts events into runs and by time, without those that came twice."""
    known = dict[tuple[str, str], Mapping[str, Any]]()
    for number, given in enumerate(events):
        event = {key: value for key, value in given.items() if value is not None}
        if event.get(names.OPERATION) not in (names.CHAT, names.EXECUTE_TOOL, names.INVOKE_AGENT):
            continue
        for key, kind in ((names.ID, str), (names.RUN, str), (names.TIME, int | float)):
            if not isinstance(event.get(key), kind):
                raise EventError(f"event {number}: {key} is {event.get(key)!r}")
        _check(event, number)
        known[event[names.OPERATION], event[names.ID]] = event
    runs = defaultdict[str, list[Mapping[str, Any]]](list)
    for kept in known.values():
        if run is None or kept[names.RUN] == run:
            runs[kept[names.RUN]].append(kept)
    for own in runs.values():
        own.sort(key=lambda event: event[names.TIME])
    return dict(runs)


def _check(event: Mapping[str, Any], number: int) -> None:
    time = event[names.TIME]
    if isinstance(time, bool) or not math.isfinite(time):
        raise EventError(f"event {number}: {names.TIME} is {time!r}")
    if not isinstance(event.get(names.RETRY_OF, ""), str):
        raise EventError(f"event {number}: {names.RETRY_OF} is {event[names.RETRY_OF]!r}")
    for key in (names.INPUT_TOKENS, names.CACHED_TOKENS, names.OUTPUT_TOKENS):
        tokens = event.get(key, 0)
        if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
            raise EventError(f"event {number}: {key} is {tokens!r}, not a number of tokens")
    if names.INPUT_TOKENS in event and event.get(names.CACHED_TOKENS, 0) > event[names.INPUT_TOKENS]:
        raise EventError(f"event {number}: more tokens are cached than the prompt has")
