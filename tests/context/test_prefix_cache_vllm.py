"""The modelled prefix cache and vLLM itself, over the same requests: equal hits, equal blocks, in equal order."""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.context.vllm_manager import VLLMManager
from tests.system import unavailable
from workbook import serving
from workbook.context.prefix_cache import PrefixCache
from workbook.context.scheduler import Job, run_together
from workbook.context.vllm_cache import VLLMCache, draw_tokens, vllm_cache

pytestmark = pytest.mark.llm

LONGEST = 1024
TOKENS_A_STEP = 1024
RUNNING = 8
Request = tuple[list[int], int, str | None]


@pytest.fixture(scope="module", params=[(32, 40), (64, 24)], ids=["32x40", "64x24"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[VLLMCache, PrefixCache]]:
    """The real one and the model, which stay together over all tests: what one left in the cache the next one meets."""
    if serving.vllm_built_for() != "cpu":
        unavailable("vLLM for CPUs is not installed: requirements/cpu.txt has it, for Linux on x86-64")
    size, blocks = request.param
    with vllm_cache(
        block_size=size,
        blocks=blocks,
        max_model_len=LONGEST,
        max_num_batched_tokens=TOKENS_A_STEP,
        max_num_seqs=RUNNING,
    ) as real:
        yield real, PrefixCache(size, blocks)


def in_turn(pair: tuple[VLLMCache, PrefixCache], prompt: list[int], answer: int, salt: str | None = None) -> list[int]:
    """Sends a request to both, compares all that can be seen of them, and returns what was generated."""
    real, model = pair
    said = real.run(prompt, answer, salt)
    hit = model.run(prompt, said.generated, salt)
    assert hit.cached_tokens == said.cached_tokens
    assert model.free_blocks == real.free_blocks
    assert model.known_blocks == real.known_blocks
    return list(said.generated)


@pytest.mark.parametrize("seed", range(2))
def test_shared_prefixes(pair: tuple[VLLMCache, PrefixCache], seed: int) -> None:
    rng = np.random.default_rng(seed)
    heads = [draw_tokens(rng, int(size)) for size in rng.integers(10, 500, 5)]
    evicted = pair[1].counts.evicted_blocks
    for _ in range(40):
        head = heads[int(rng.integers(len(heads)))]
        in_turn(pair, head + draw_tokens(rng, int(rng.integers(1, 400))), int(rng.integers(1, 5)))
    assert pair[1].counts.evicted_blocks - evicted > 100


@pytest.mark.parametrize("seed", range(2))
def test_agents_that_take_turns_and_read_their_own_answers(pair: tuple[VLLMCache, PrefixCache], seed: int) -> None:
    rng = np.random.default_rng(10 + seed)
    system = draw_tokens(rng, 150)
    contexts = [system + draw_tokens(rng, int(rng.integers(1, 60))) for _ in range(4)]
    cached = pair[1].counts.cached_tokens
    for step in range(60):
        agent = int(rng.integers(len(contexts))) if seed else step % len(contexts)
        contexts[agent] += in_turn(pair, contexts[agent], int(rng.integers(1, 70)))
        contexts[agent] += draw_tokens(rng, int(rng.integers(1, 80)))
        if len(contexts[agent]) > LONGEST - 100:
            contexts[agent] = list(system)
    assert pair[1].counts.cached_tokens - cached > 5000


def test_prompts_that_end_at_and_around_the_end_of_a_block(pair: tuple[VLLMCache, PrefixCache]) -> None:
    rng = np.random.default_rng(20)
    size = pair[1].block_size
    tokens = draw_tokens(rng, 6 * size)
    for length in [*range(2 * size - 2, 2 * size + 3), *range(4 * size - 2, 4 * size + 3)] * 2:
        for answer in (1, 2, 3, size, size + 1):
            in_turn(pair, tokens[:length], answer)


def test_salts(pair: tuple[VLLMCache, PrefixCache]) -> None:
    rng = np.random.default_rng(30)
    head = draw_tokens(rng, 200)
    for _ in range(40):
        salt = (None, "one", "another")[int(rng.integers(3))]
        in_turn(pair, head + draw_tokens(rng, int(rng.integers(1, 100))), int(rng.integers(1, 40)), salt)


def test_reset(pair: tuple[VLLMCache, PrefixCache]) -> None:
    tokens = draw_tokens(np.random.default_rng(40), 300)
    for _ in range(2):
        in_turn(pair, tokens, 1)
        for cache in pair:
            cache.reset()
        assert pair[0].free_blocks == pair[1].free_blocks
        assert not pair[1].known_blocks


@pytest.mark.parametrize("seed", range(3))
def test_requests_at_the_same_time(pair: tuple[VLLMCache, PrefixCache], seed: int) -> None:
    real, model = pair
    rng = np.random.default_rng(50 + seed)
    heads = [draw_tokens(rng, int(size)) for size in rng.integers(20, 300, 3)]
    preemptions = 0
    for _ in range(15):
        requests: list[Request] = []
        for _ in range(int(rng.integers(1, 12))):  # at times more than run at once
            prompt = (heads[int(rng.integers(3))] + draw_tokens(rng, int(rng.integers(0, 500))))[:900]
            if rng.random() < 0.3:
                heads[int(rng.integers(3))] = prompt[:600]
            requests.append((prompt, int(rng.integers(1, 90)), (None, "one")[int(rng.integers(2))]))
        said = real.run_together(requests)
        jobs = [Job(prompt, one.generated, salt) for (prompt, _, salt), one in zip(requests, said, strict=True)]
        outcome = run_together(model, jobs, tokens_a_step=TOKENS_A_STEP, running=RUNNING)
        assert outcome.cached_tokens == tuple(one.cached_tokens for one in said)
        assert model.free_blocks == real.free_blocks
        assert model.known_blocks == real.known_blocks
        preemptions += outcome.preemptions
    assert preemptions


@pytest.mark.parametrize("size", [1, 7, 16, 128])
def test_the_cache_alone_at_block_sizes_that_a_cpu_does_not_run(size: int) -> None:
    if serving.vllm_built_for() is None:
        unavailable("vLLM is not installed: requirements/cpu.txt has it, for Linux on x86-64")
    rng = np.random.default_rng(size)
    longest = 40 * size
    real, model = VLLMManager(size, 101), PrefixCache(size, 101)
    # Few different tokens, so that prompts that are drawn apart agree at times.
    heads = [rng.integers(0, 3, int(length)).tolist() for length in rng.integers(1, longest, 6)]
    for _ in range(400):
        prompt = (heads[int(rng.integers(6))] + rng.integers(0, 3, int(rng.integers(0, longest))).tolist())[:longest]
        generated = rng.integers(0, 3, int(rng.integers(1, 3 * size + 2))).tolist()
        if rng.random() < 0.3:
            heads[int(rng.integers(6))] = (prompt + generated)[: longest - 1]
        salt = (None, "one")[int(rng.random() < 0.2)]
        hit = model.run(prompt, generated, salt)
        assert hit.cached_tokens == real.run(prompt, generated, salt)
        assert model.free_blocks == real.free_blocks
        assert model.known_blocks == real.known_blocks
    assert model.counts.evicted_blocks > 1000
    assert model.counts.hit_rate > 0.2
