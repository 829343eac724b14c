"""Requests at the same time on the modelled cache: vLLM V1's scheduler, as far as the prefix cache sees it.

Who computes what in which step decides what is full, found and evicted when, so this follows `vllm/v1/core/sched/
scheduler.py` (`schedule`, `update_from_output`, `_preempt_request`) of version 0.32: first come, first served; chunked
prefill; the running requests first, then the waiting ones, of which the first that does not fit holds up the rest; the
one that came last is preempted when blocks run out, and starts anew, before all others. Speculative decoding,
asynchronous scheduling, priorities, LoRA and images are not modelled.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from workbook.context.prefix_cache import OutOfBlocksError, PrefixCache, Request, Tokens


@dataclass(frozen=True)
class Job:
    """A request as it was sent, and what came of it.

    Attributes:
        prompt: Its tokens.
        generated: What the model answers, one token or more.
        salt: vLLM's `cache_salt`.
    """

    prompt: Tokens
    generated: Tokens
    salt: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a set of jobs.

    Attributes:
        cached_tokens: For each job, in the order given, the tokens it found when it first started.
        steps: Steps that the engine took.
        preemptions: How often a request lost its blocks halfway.
    """

    cached_tokens: tuple[int, ...]
    steps: int
    preemptions: int


@dataclass(eq=False)
class _Running:
    request: Request
    generated: list[int]
    made: int = 0


def run_together(cache: PrefixCache, jobs: Iterable[Job], *, tokens_a_step: int = 4096, running: int = 256) -> Outcome:
    """Runs jobs that are all sent at once, as `vllm.LLM.generate` does with a list.

    Args:
        cache: Where they run; it holds whatever it held before.
        jobs: The jobs, in the order in which they are sent.
        tokens_a_step: The most tokens computed in a step: vLLM's `max_num_batched_tokens`.
        running: The most requests that run at a time: vLLM's `max_num_seqs`.

    Raises:
        OutOfBlocksError: A job does not fit into the whole cache.
        ValueError: A prompt is empty, a job generates nothing, or a token is no number from 0 to 2**32 - 1.
    """
    everyone = [_Running(cache.request(job.prompt, job.salt), [int(token) for token in job.generated]) for job in jobs]
    if any(not one.generated for one in everyone):
        raise ValueError("a job generates one token or more")
    waiting, at_work = deque(everyone), list[_Running]()
    steps = preemptions = 0
    while waiting or at_work:
        steps += 1
        scheduled, preempted = _schedule(cache, waiting, at_work, tokens_a_step, running)
        preemptions += preempted
        if not scheduled and not preempted:
            raise OutOfBlocksError(f"a request does not fit into {cache.blocks} blocks of {cache.block_size}")
        for one in scheduled:
            if one.request.computed < one.request.length:
                continue  # a chunk of its prompt
            cache.append(one.request, [one.generated[one.made]])
            one.made += 1
            if one.made == len(one.generated):
                cache.end(one.request)
                at_work.remove(one)
    return Outcome(tuple(one.request.cached_tokens or 0 for one in everyone), steps, preemptions)


def _schedule(
    cache: PrefixCache, waiting: deque[_Running], at_work: list[_Running], budget: int, running: int
) -> tuple[list[_Running], int]:
    """Gives blocks to those that compute something in this step; returns them, and the number of preempted ones."""
    scheduled: list[_Running] = []
    preempted = 0
    while len(scheduled) < len(at_work) and budget > 0:
        one = at_work[len(scheduled)]
        tokens = min(one.request.length - one.request.computed, budget)
        while not (fits := cache.grow(one.request, one.request.computed + tokens)):
            victim = at_work.pop()
            cache.end(victim.request)
            waiting.appendleft(victim)
            preempted += 1
            if victim is one:
                break
        if not fits:
            break
        scheduled.append(one)
        budget -= tokens
    while waiting and not preempted and budget > 0 and len(at_work) < running:
        one = waiting[0]
        found = cache.look_up(one.request)
        tokens = min(one.request.length - found, budget)
        # A prompt that will not fit whole is not begun.
        if not cache.fits(one.request, one.request.length) or cache.start(one.request, found + tokens) is None:
            break
        at_work.append(waiting.popleft())
        scheduled.append(one)
        budget -= tokens
    return scheduled, preempted
