"""Replays contexts that have no usage: how many tokens would they have had, and how many would have been cached?

    trace, replayed = fill_usage(read_trace(path), PrefixCache(block_size=16, blocks=4000))

A message becomes tokens once, however often it is sent: by a tokenizer that is given, else by `byte_tokens`, which is
no tokenizer but as long as one. What is cached then is what `PrefixCache` says.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from workbook.context.parts import parts
from workbook.context.prefix_cache import Hit, PrefixCache, Tokens
from workbook.context.trace import Message, Record, Request, Response, Step, Trace, Usage

Encode = Callable[[str], Tokens]
Array = npt.NDArray[np.integer[Any]]
_BYTES = 3


def byte_tokens(text: str) -> Array:
    """Returns one token for each three bytes: as many as a tokenizer makes, within a tenth or so.

    On the contexts of `data/traces/repository-agent.jsonl` SmolLM2's tokenizer makes a token of 2.8 to 3.2 bytes. What
    texts share at their beginning these tokens share too.
    """
    data = text.encode(errors="surrogatepass")
    padded = np.zeros(-(-len(data) // _BYTES) * _BYTES, np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    columns = padded.reshape(-1, _BYTES).astype(np.uint32)
    return columns[:, 0] | columns[:, 1] << 8 | columns[:, 2] << 16


class Replay:
    """Sends contexts to a modelled cache, one after another.

    Args:
        cache: The cache; one with blocks of 16 that never evicts, where left out.
        encode: Makes tokens of a message's rendering.
    """

    def __init__(self, cache: PrefixCache | None = None, encode: Encode = byte_tokens) -> None:
        self.cache = cache or PrefixCache()
        self._encode = encode
        # By object, which is kept, so that its number is nobody else's.
        self._known: dict[int, tuple[object, Array]] = {}

    def tokens(self, messages: Sequence[Message], tools: list[dict[str, Any]] | None = None) -> Array:
        """Returns a context's tokens: tool definitions, then messages, each rendered by itself."""
        pieces = [self._piece(tools)] if tools else []
        pieces += [self._piece(message) for message in messages]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.uint32)

    def send(self, step: Step) -> Usage:
        """Sends a step's context to the cache, and returns what an engine would have counted.

        The answer is counted but not cached: sent back, it is rendered anew. An engine that gets back the very tokens
        it generated finds a little more.
        """
        context = self.tokens(step.messages, step.tools) if step.tokens is None else step.tokens
        said = step.response.message if step.response is not None else None
        # An API refuses an empty list of messages, and a log may tell of that.
        hit = self.cache.run(context) if len(context) else Hit(0, 0, 0, 0)
        return Usage(
            input_tokens=hit.prompt_tokens,
            cached_tokens=hit.cached_tokens,
            written_tokens=hit.written_tokens,
            output_tokens=None if said is None or step.tokens is not None else len(self._piece(said)),
        )

    def _piece(self, part: Mapping[str, Any] | list[dict[str, Any]]) -> Array:
        known = self._known.get(id(part))
        if known is None:
            raw = b"".join(
                one.raw for one in parts({"messages": [], "tools": part} if isinstance(part, list) else [part])
            )
            known = self._known[id(part)] = (part, np.asarray(self._encode(raw.decode(errors="surrogatepass"))))
        return known[1]


def fill_usage(trace: Trace, cache: PrefixCache | None = None, encode: Encode = byte_tokens) -> tuple[Trace, set[str]]:
    """Returns a trace of which each response has a usage, and the requests for which that is a replay's.

    All requests are sent to the cache, in the order in which they were sent; what an engine has counted stays. Where it
    has counted the prompt and not what was cached of it, that is as large a part of it as in the replay. A response
    that is an error gets no usage.

    Args:
        trace: The trace.
        cache: The cache; one with blocks of 16 that never evicts, where left out.
        encode: Makes tokens of a message's rendering.
    """
    steps = {step.request.id: step for step in trace.steps()}
    replay, counted = Replay(cache, encode), dict[str, Usage]()
    records, filled = list[Record](), set[str]()
    for record in trace.records:
        if isinstance(record, Request):
            counted[record.id] = replay.send(steps[record.id])
        if isinstance(record, Response) and record.error is None and not _known(record.usage):
            records.append(msgspec.structs.replace(record, usage=_filled(record.usage, counted[record.request])))
            filled.add(record.request)
        else:
            records.append(record)
    return Trace(trace.header, tuple(records), trace.cut), filled


def _filled(said: Usage | None, replayed: Usage) -> Usage:
    """Returns what an engine has said, with what it has not from a replay, in the engine's tokens."""
    if said is None:
        return replayed
    output = replayed.output_tokens if said.output_tokens is None else said.output_tokens
    size, whole = said.input_tokens, replayed.input_tokens
    if size is None or not whole:
        return msgspec.structs.replace(replayed, output_tokens=output)
    cached, written = ((part or 0) * size // whole for part in (replayed.cached_tokens, replayed.written_tokens))
    written = written if said.written_tokens is None else said.written_tokens
    return Usage(
        input_tokens=size, cached_tokens=min(cached, size - written), written_tokens=written, output_tokens=output
    )


def _known(usage: Usage | None) -> bool:
    return usage is not None and usage.input_tokens is not None and usage.cached_tokens is not None
