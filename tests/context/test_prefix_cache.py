"""The modelled prefix cache: vLLM's rules one by one, and any sequence of requests against a plain model of them."""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.context.plain_cache import PlainCache
from workbook.context.prefix_cache import Hit, OutOfBlocksError, PrefixCache


def test_a_prompt_finds_whole_blocks_and_computes_one_token_at_least() -> None:
    cache = PrefixCache(block_size=4)
    assert cache.run(range(10)) == Hit(prompt_tokens=10, cached_tokens=0, written_tokens=8, evicted_blocks=0)
    assert cache.run(range(10)).cached_tokens == 8
    assert cache.run(range(9)).cached_tokens == 8
    # All of it is there, and yet the last block is computed again.
    assert cache.run(range(8)).cached_tokens == 4
    assert cache.run([0, 1, 2, 3, 9, 5, 6, 7, 8]).cached_tokens == 4
    assert cache.run([9, *range(1, 10)]).cached_tokens == 0


def test_generated_tokens_are_found_but_for_the_last_which_was_never_computed() -> None:
    cache = PrefixCache(block_size=4)
    cache.run(range(6), generated=[6, 7, 8])
    assert cache.run(range(100)).cached_tokens == 8
    cache = PrefixCache(block_size=4)
    cache.run(range(6), generated=[6, 7])
    assert cache.run(range(100)).cached_tokens == 4


def test_a_salt_separates() -> None:
    cache = PrefixCache(block_size=4)
    cache.run(range(10), salt="a")
    assert cache.run(range(10)).cached_tokens == 0
    assert cache.run(range(10), salt="b").cached_tokens == 0
    assert cache.run(range(10), salt="a").cached_tokens == 8
    assert cache.run(range(10), salt="").cached_tokens == 8  # no salt, as in vLLM


def test_the_end_of_the_oldest_prompt_is_evicted_first() -> None:
    cache = PrefixCache(block_size=2, blocks=6)
    cache.run([1, 1, 2, 2, 3])
    cache.run([7, 7, 8, 8, 9])
    # The last block of each, 3, was not full: it went to the front, and from there to the second one. Block 2, the end
    # of the first prompt, goes before block 1, its start, and both before the second prompt's.
    assert cache.free_blocks == (5, 2, 1, 4, 3)
    assert cache.run([5]).evicted_blocks == 0
    assert cache.run([5, 5, 5]).evicted_blocks == 1
    assert cache.run([1, 1, 2, 2, 3]).cached_tokens == 2


def test_what_does_not_fit_changes_nothing() -> None:
    cache = PrefixCache(block_size=4, blocks=4)
    cache.run(range(8))
    before = cache.free_blocks, cache.known_blocks, cache.counts
    with pytest.raises(OutOfBlocksError, match="13 tokens take 4 blocks of 4, and of the cache's 4"):
        cache.run(range(13))
    assert (cache.free_blocks, cache.known_blocks, cache.counts) == before
    assert cache.run(range(12)).cached_tokens == 8


def test_reset_forgets_everything_but_not_while_blocks_are_held() -> None:
    cache = PrefixCache(block_size=4, blocks=9)
    request = cache.request(range(10))
    cache.start(request, 10)
    with pytest.raises(RuntimeError, match="blocks are held"):
        cache.reset()
    cache.end(request)
    cache.reset()
    assert cache.known_blocks == frozenset()
    assert cache.run(range(10)).cached_tokens == 0
    assert cache.counts.requests == 2


@pytest.mark.parametrize("tokens", [[-1], [1 << 32], [1.5], [[1]], np.array([1.0])])
def test_tokens_are_whole_numbers(tokens: Any) -> None:
    with pytest.raises(ValueError, match=r"whole numbers|a number from 0"):
        PrefixCache().run(tokens)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="one token or more"):
        PrefixCache().run([])
    with pytest.raises(ValueError, match="block_size=0"):
        PrefixCache(0)
    with pytest.raises(ValueError, match="blocks=1"):
        PrefixCache(16, 1)


def test_lists_arrays_of_any_width_and_bytes_are_the_same_tokens() -> None:
    cache = PrefixCache(block_size=4)
    cache.run(list(b"hello world"))
    for tokens in (b"hello world", np.frombuffer(b"hello world", np.uint8), np.array([*b"hello world"], np.int64)):
        assert cache.run(tokens).cached_tokens == 8


# Few tokens and tiny blocks, so that prompts share what they can share and evict each other.
PROMPTS = st.lists(st.integers(0, 1), min_size=1, max_size=14)
REQUESTS = st.lists(
    st.tuples(PROMPTS, st.lists(st.integers(0, 1), max_size=5), st.sampled_from(["", "a"])), min_size=1, max_size=30
)


@settings(max_examples=150, deadline=None)
@given(REQUESTS, st.integers(1, 4), st.integers(20, 40))
def test_requests_one_after_another_do_as_the_plain_model_does(requests: Any, block_size: int, blocks: int) -> None:
    cache, plain = PrefixCache(block_size, blocks), PlainCache(block_size, blocks)
    endless = PrefixCache(block_size)
    for prompt, generated, salt in requests:
        upto = len(prompt) + max(len(generated), 1) - 1
        expected = plain.start("r", prompt, salt, upto)
        assert plain.grow("r", prompt + generated, salt, upto)
        plain.end("r")
        hit = cache.run(prompt, generated, salt)
        assert hit.cached_tokens == expected
        assert cache.free_blocks == tuple(plain.free)
        assert cache.known_blocks == {block for _, block in plain.known}
        # Between two requests every block is free; hits are whole blocks; more than everything is never found.
        assert sorted(cache.free_blocks) == list(range(1, blocks))
        assert hit.cached_tokens % block_size == 0
        assert hit.cached_tokens < len(prompt)
        assert hit.cached_tokens <= endless.run(prompt, generated, salt).cached_tokens
    assert cache.counts.evicted_blocks == plain.evicted
    assert endless.counts.evicted_blocks == 0


@settings(max_examples=200, deadline=None, derandomize=True)
@given(REQUESTS, st.integers(1, 3), st.integers(20, 30))
def test_a_larger_cache_finds_no_less(requests: Any, block_size: int, blocks: int) -> None:
    # Not proved: equal blocks are not merged, so this is not quite LRU. Searched for by 50,000 draws, without success.
    small, large = PrefixCache(block_size, blocks), PrefixCache(block_size, blocks + 1)
    for prompt, generated, salt in requests:
        found = large.run(prompt, generated, salt).cached_tokens
        assert small.run(prompt, generated, salt).cached_tokens <= found


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(6, 16))
def test_requests_at_the_same_time_do_as_the_plain_model_does(data: Any, block_size: int, blocks: int) -> None:
    cache, plain = PrefixCache(block_size, blocks), PlainCache(block_size, blocks)
    open_requests: dict[str, tuple[Any, list[int]]] = {}
    for number in range(data.draw(st.integers(1, 25))):
        what = data.draw(st.sampled_from(["start", "grow", "end"]))
        if what == "start" or not open_requests:
            name, prompt = f"r{number}", data.draw(PROMPTS)
            upto = data.draw(st.integers(1, len(prompt)))
            request = cache.request(prompt)
            found = cache.look_up(request)
            fits = cache.fits(request, upto)
            assert cache.start(request, upto) == plain.start(name, prompt, "", upto) == (found if fits else None)
            if fits:
                open_requests[name] = request, prompt
            continue
        name = data.draw(st.sampled_from(sorted(open_requests)))
        request, tokens = open_requests[name]
        if what == "end":
            cache.end(request)
            plain.end(name)
            del open_requests[name]
        else:
            more = data.draw(st.lists(st.integers(0, 1), min_size=1, max_size=3))
            cache.append(request, more)
            tokens += more
            assert cache.grow(request, len(tokens)) == plain.grow(name, tokens, "", len(tokens))
        held = {block for request, _ in open_requests.values() for block in request.blocks}
        assert set(cache.free_blocks) == set(range(1, blocks)) - held
        assert cache.free_blocks == tuple(plain.free)
        assert cache.known_blocks == {block for _, block in plain.known}


def test_a_million_tokens_are_replayed_in_a_second_of_one_core() -> None:
    # Measured: 12 M/s at blocks of 16 on one core; the bound says only that no token is looked at by itself.
    rng = np.random.default_rng(0)
    context = rng.integers(0, 50_000, 40_000, dtype=np.uint32)
    cache = PrefixCache(block_size=16, blocks=2600)
    tokens, start = 0, time.process_time()
    for size in range(20_000, 40_000, 500):
        tokens += cache.run(context[:size]).prompt_tokens
    assert tokens / (time.process_time() - start) > 1_000_000
