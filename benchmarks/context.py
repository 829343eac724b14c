"""What context engineering's own tools cost: `make bench-context`.

- *Replay*: the same requests through `PrefixCache` and through the part of vLLM that keeps its cache (`KVCacheManager`,
  no model), at blocks of 16 and of 128. Both say the same of each request; that is checked first.
- *Profiling*: a step of an agent with 1,000 messages, against writing those messages as JSON once, which each request
  does anyway: an agent that appends, one whose system prompt tells the time, one with a sliding window.

Ratios hold on any machine; tokens a second and milliseconds are this one's, under its load.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from workbook.bench import Comparison, compare
from workbook.context.prefix_cache import PrefixCache
from workbook.context.profiler import Profiler
from workbook.context.trace import Request, Response, Step, Usage
from workbook.show import Table

OURS, VLLM = "PrefixCache", "vLLM's KVCacheManager"
JSON = "json.dumps of the messages"
MESSAGES = 1000
_FOLDER = Path("build") / "bench-context"

Requests = list[tuple[list[int], list[int]]]


def draw(block_size: int, seed: int = 0) -> tuple[Requests, int]:
    """Draws four agents that take turns and append, and the number of blocks that hold two and a half of them."""
    rng = np.random.default_rng(seed)
    system = rng.integers(0, 50_000, 2000).tolist()
    contexts: list[list[int]] = [list(system) for _ in range(4)]
    requests: Requests = []
    for step in range(80):
        agent = step % len(contexts)
        generated = rng.integers(0, 50_000, 60).tolist()
        requests.append((list(contexts[agent]), generated))
        contexts[agent] += generated + rng.integers(0, 50_000, int(rng.integers(50, 900))).tolist()
    return requests, 5 * max(map(len, contexts)) // (2 * block_size) + 2


def compare_replay(block_size: int, pairs: int) -> tuple[Comparison, int]:
    """Replays the same requests on both; returns the times and the number of prompt tokens."""
    from tests.context.vllm_manager import VLLMManager

    requests, blocks = draw(block_size)
    arrays = [(np.array(prompt, np.uint32), np.array(generated, np.uint32)) for prompt, generated in requests]
    ours, real = PrefixCache(block_size, blocks), VLLMManager(block_size, blocks)
    for (prompt, generated), (tokens, answer) in zip(requests, arrays, strict=True):
        if ours.run(tokens, answer).cached_tokens != real.run(prompt, generated):
            raise AssertionError("the two do not agree")
    counts = ours.counts
    found = f"{counts.requests} requests, {counts.hit_rate:.1%} hit, {counts.evicted_blocks} blocks evicted"
    print(f"blocks of {block_size}: {found}, the same in both")

    def theirs() -> None:
        manager = VLLMManager(block_size, blocks)
        for prompt, generated in requests:
            manager.run(prompt, generated)

    def mine() -> None:
        cache = PrefixCache(block_size, blocks)
        for prompt, generated in arrays:
            cache.run(prompt, generated)

    return compare({VLLM: theirs, OURS: mine}, pairs=pairs, warmup=1), sum(len(prompt) for prompt, _ in requests)


def make_step(number: int, kind: str) -> Step:
    """Makes the step of an agent: one that appends, tells the time at the beginning, or keeps the last messages."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Be brief. " * 300}]
    for index in range(MESSAGES + 2 * number):
        messages.append({"role": ("user", "assistant")[index % 2], "content": f"{index:x} " + "some words " * 70})
    if kind == "tells the time":
        messages[0]["content"] = f"It is 2026-11-01 12:00:{number:02}. " + messages[0]["content"]
    if kind == "sliding window":
        del messages[1 : 1 + 2 * number]
    usage = Usage(input_tokens=200_000, cached_tokens=190_000, output_tokens=50)
    response = Response(request=str(number), time=number, seconds=0.0, usage=usage)
    return Step(Request(run="r", id=str(number), time=number, messages=[]), messages, None, [], response)


def compare_profiling(kind: str, pairs: int) -> Comparison:
    """Times a step of the profiler, and writing its messages once."""
    steps = iter([make_step(number, kind) for number in range(pairs + 4)])
    written = make_step(0, kind).messages
    profiler = Profiler()
    profiler.add(next(steps))
    functions: dict[str, Callable[[], object]] = {
        JSON: lambda: json.dumps(written),
        kind: lambda: profiler.add(next(steps)),
    }
    return compare(functions, pairs=pairs, warmup=2)


def main() -> None:
    """Measures, prints tables, writes build/bench-context.json, and ends with the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9, help="pairs of replays (default: 9)")
    parser.add_argument("--steps", type=int, default=50, help="pairs of steps (default: 50)")
    options = parser.parse_args()
    results, lines, rows = dict[str, Any](), list[str](), list[tuple[object, ...]]()
    for block_size in (16, 128):
        replay, tokens = compare_replay(block_size, options.pairs)
        for name in (VLLM, OURS):
            rate = tokens / replay.median_seconds(name) / 1e6
            rows.append((f"replay, blocks of {block_size}", name, f"{rate:.2f} M tokens a second"))
        lines.append(replay.ratio_line(OURS, f"replay, blocks of {block_size}"))
        results[f"replay {block_size}"] = replay.to_dict() | {"prompt_tokens": tokens}
    for kind in ("appends", "tells the time", "sliding window"):
        profiling = compare_profiling(kind, options.steps)
        for name in (JSON, kind):
            rows.append((f"a step, {MESSAGES} messages", name, f"{profiling.median_seconds(name) * 1000:.3f} ms"))
        lines.append(profiling.ratio_line(kind, f"profiling a step, {MESSAGES} messages"))
        results[f"profile {kind}"] = profiling.to_dict()
    print(Table(("what", "who", "median"), rows))
    print(profiling.machine)
    _FOLDER.parent.mkdir(exist_ok=True)
    _FOLDER.with_suffix(".json").write_text(json.dumps(results, indent=1))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
