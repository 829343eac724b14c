"""Profiles an agent's context: how it grows, what each step costs, what broke the cache, which tools and files it took.

    profile = profile_trace(trace, prices=find_prices("claude-sonnet-4-5"))
    profile                       # in a notebook: tables and a figure
    profile.save("profile.html")  # a page that needs nothing else

Token counts are the engine's where the trace has usage. Where it has none, they are a replay's (`workbook.context.
replay`), and the profile says so.
"""

import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from workbook.context.cost import Cost, Prices
from workbook.context.diagnosis import Break, diagnose
from workbook.context.events import to_events
from workbook.context.metrics import measure
from workbook.context.parts import parts
from workbook.context.prefix_cache import PrefixCache
from workbook.context.profile import FileUse, Profile, StepProfile, ToolUse
from workbook.context.replay import Encode, byte_tokens, fill_usage
from workbook.context.trace import Record, Step, Tool, Trace, Usage, common

# From the first message that differs on, so many are compared in search of a cause.
_COMPARED = 8
# In a step, so many messages at most are rendered to learn their length.
_RENDERED = 32


@dataclass
class _Sent:
    """What a run sent last.

    Attributes:
        step: The step.
        number: Its number in the run.
        ends: Where the tool definitions end, and then each message, in bytes of the rendering; of as many messages as
            are known so far, since rendering all of them in a step that broke the cache would take too long.
        lengths: The same, approximately, from the length of what messages say.
    """

    step: Step
    number: int
    ends: list[int]
    lengths: list[int]

    def more(self, upto: int | None = None) -> "_Sent":
        """Finds out where messages end: up to one, or of a few more than are known."""
        known = len(self.ends) - 1
        for message in self.step.messages[known : known + _RENDERED if upto is None else upto]:
            self.ends.append(self.ends[-1] + _size([message]))
        return self

    def length(self, upto: int) -> int:
        """Returns the approximate length of so many messages."""
        new = map(_length, self.step.messages[len(self.lengths) - 1 : upto])
        self.lengths += itertools.islice(itertools.accumulate(new, initial=self.lengths[-1]), 1, None)
        return self.lengths[upto]


class Profiler:
    """Takes one step after another, from a trace or while an agent is at work.

    Args:
        prices: What tokens cost; None leaves costs out.
    """

    def __init__(self, prices: Prices | None = None) -> None:
        self.prices = prices
        self._sent: dict[str, _Sent] = {}
        self._steps: list[StepProfile] = []
        self._seconds = 0.0

    def add(self, step: Step, *, replayed: bool = False) -> StepProfile:
        """Takes the next step, with its response and tools as far as there are any.

        Args:
            step: The step; those of several runs may alternate. It is kept, not copied: an agent that changes messages
                in place gives copies of them.
            replayed: Whether its usage is a replay's.
        """
        start = time.perf_counter()
        run, response = step.request.run, step.response
        last = self._sent.get(run)
        broke, share, sent = _compare(last, step)
        usage = (response.usage if response is not None else None) or Usage()
        found = StepProfile(
            run=run,
            number=sent.number,
            request=step.request.id,
            messages=len(step.messages),
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cached_tokens,
            written_tokens=usage.written_tokens,
            output_tokens=usage.output_tokens,
            reusable_tokens=_reusable(last, share),
            replayed=replayed,
            seconds=None if response is None else response.seconds,
            tool_seconds=sum(tool.seconds for tool in step.tools_run),
            tools=tuple(tool.name for tool in step.tools_run),
            broke=broke,
            cost=self._cost(usage),
        )
        self._sent[run] = sent
        self._steps.append(found)
        self._seconds += time.perf_counter() - start
        return found

    def profile(self, name: str, records: Iterable[Record] = ()) -> Profile:
        """Returns what was found so far.

        Args:
            name: What it is a profile of.
            records: The trace's records, which metrics, tools and files are taken from.
        """
        records = list(records)
        tools = [record for record in records if isinstance(record, Tool)]
        metrics = measure(to_events(records))
        steps = tuple(self._steps)
        return Profile(name, steps, _tool_uses(tools), _file_uses(tools), metrics, self.prices, self._seconds)

    def _cost(self, usage: Usage) -> Cost | None:
        if self.prices is None or usage.input_tokens is None or usage.cached_tokens is None:
            return None
        return self.prices.cost(
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cached_tokens,
            written_tokens=usage.written_tokens or 0,
            output_tokens=usage.output_tokens or 0,
        )


def profile_trace(
    trace: Trace, *, prices: Prices | None = None, cache: PrefixCache | None = None, encode: Encode = byte_tokens
) -> Profile:
    """Profiles a trace.

    Args:
        trace: The trace.
        prices: What tokens cost; None leaves costs out.
        cache: The cache that steps without usage are replayed on; one that never evicts, where left out.
        encode: Makes tokens of what such steps sent.
    """
    filled, replayed = fill_usage(trace, cache, encode)
    profiler = Profiler(prices)
    for step in filled.steps():
        profiler.add(step, replayed=step.request.id in replayed)
    return profiler.profile(trace.header.name, filled.records)


def _compare(last: _Sent | None, step: Step) -> tuple[Break | None, float, "_Sent"]:
    """Returns what broke the cache, which share of the last context this one begins with, and what was sent."""
    number = 1 if last is None else last.number + 1
    if step.tokens is not None:
        before = (last.step.tokens if last is not None else None) or []
        same = len(before) if step.tokens[: len(before)] == before else common(before, step.tokens)
        return None, same / len(before) if before else 0.0, _Sent(step, number, [], [])
    if last is None:
        return None, 0.0, _begin(step, number).more()
    if last.step.tools is not step.tools and last.step.tools != step.tools:
        broke = diagnose(_body(last.step, 0, _COMPARED), _body(step, 0, _COMPARED))
        return broke, 0.0, _begin(step, number)
    before_messages, messages = last.step.messages, step.messages
    same = common(before_messages, messages)
    sent = _Sent(step, number, last.ends[: same + 1], last.lengths[: same + 1])
    if same == len(before_messages):
        return None, 1.0, sent.more()
    broke = diagnose(before_messages[same : same + _COMPARED], messages[same : same + _COMPARED])
    inside = 0
    if broke is not None:
        index, inside = None if broke.message is None else broke.message + same, broke.offset
        broke = replace(broke, message=index, offset=inside + last.more(same).ends[same])
    return broke, min((last.length(same) + inside) / max(last.length(len(before_messages)), 1), 1.0), sent


def _begin(step: Step, number: int) -> _Sent:
    size = _size(_body(step, 0, 0))
    return _Sent(step, number, [size], [size])


def _reusable(last: _Sent | None, share: float) -> int | None:
    """Returns how many tokens so much of the last context had."""
    if last is None:
        return 0
    if last.step.tokens is not None:
        return round(len(last.step.tokens) * share)
    usage = last.step.response.usage if last.step.response is not None else None
    return None if usage is None or usage.input_tokens is None else int(usage.input_tokens * share)


def _body(step: Step, start: int, count: int) -> dict[str, Any]:
    return {"messages": step.messages[start : start + count], "tools": step.tools}


def _size(rendering: Any) -> int:
    return sum(len(part.raw) for part in parts(rendering))


def _length(message: Mapping[str, Any]) -> int:
    """Returns about how long a message is, without rendering it."""
    content = message.get("content")
    length = 40 + len(content) if content.__class__ is str else 40
    if "tool_calls" in message:
        for call in message["tool_calls"] or ():
            length += 100 + len(str(call.get("function", {}).get("arguments", "")))
    return length


def _tool_uses(tools: list[Tool]) -> tuple[ToolUse, ...]:
    seconds, errors = defaultdict[str, list[float]](list), Counter[str]()
    for tool in tools:
        seconds[tool.name].append(tool.seconds)
        errors[tool.name] += tool.error is not None
    uses = [ToolUse(name, tuple(took), errors[name]) for name, took in seconds.items()]
    return tuple(sorted(uses, key=lambda use: -sum(use.seconds)))


def _file_uses(tools: list[Tool]) -> tuple[FileUse, ...]:
    uses = defaultdict[str, Counter[str]](Counter)
    for tool in tools:
        for file in tool.files:
            uses[file.path][file.how] += 1
    found = [FileUse(path, dict(count)) for path, count in uses.items()]
    return tuple(sorted(found, key=lambda file: (-file.total, file.path)))
