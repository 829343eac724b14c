"""vLLM's prefix cache, block for block, without a model: how much of each prompt is computed already?

    cache = PrefixCache(block_size=16, blocks=1000)
    hit = cache.run(prompt_tokens, generated_tokens)
    hit.cached_tokens

What is modelled is vLLM V1 with full attention, as version 0.32 has it; `tests/context/test_prefix_cache_vllm.py` holds
it against the real one, down to the order of its free blocks. The rules, and where vLLM has them (`vllm/v1/core/`):

- A block is known by its tokens and by all that stand before them. The salt goes into the first one
  (`kv_cache_utils.py`, `hash_block_tokens`, `generate_block_hash_extra_keys`).
- A prompt takes the blocks that it finds, from its start to the first that is missing. One token at least is computed,
  since its logits are needed; so a prompt that is cached to its end computes its last block again, into a block that
  then holds the same tokens a second time (`kv_cache_manager.py`, `get_computed_blocks`).
- Blocks that are full are cached, those filled by generated tokens too. The last generated token was never fed to the
  model and is in no block.
- When a request ends, its blocks go to the free queue, last block first: full ones to its end, the one that is not
  full to its front. What is free keeps its tokens until it is given to somebody else: the least recently used one goes
  first (`single_type_kv_cache_manager.py`, `free`; `block_pool.py`, `free_blocks`, `get_new_blocks`).
- One block is never given out: with `num_gpu_blocks_override=17` there are 16 (`block_pool.py`, `null_block`).

Requests one after another are `run`. Requests at the same time need to know who computes what in which step:
`workbook.context.scheduler` does that, with `start`, `grow` and `end`.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Tokens = Sequence[int] | bytes | npt.NDArray[np.integer]
"""Token ids; the bytes of a rendered context do as well, each of them a token."""

_ROOT = b"\0" * 32


class OutOfBlocksError(RuntimeError):
    """A request needs more blocks than the cache can free for it."""


@dataclass(frozen=True)
class Hit:
    """What one request found.

    Attributes:
        prompt_tokens: Tokens of the prompt.
        cached_tokens: How many of them, from the start, were computed already: vLLM's `num_cached_tokens`.
        written_tokens: How many of them were computed into whole blocks, which later prompts may find; those of the
            last, recomputed block are among them.
        evicted_blocks: Blocks of others that lost their tokens to this request.
    """

    prompt_tokens: int
    cached_tokens: int
    written_tokens: int
    evicted_blocks: int


@dataclass(frozen=True)
class Counts:
    """Sums over all requests since the cache was made.

    Attributes:
        requests: Their number.
        prompt_tokens: Tokens of all prompts: vLLM's counter `vllm:prefix_cache_queries`.
        cached_tokens: Tokens of them that were found: `vllm:prefix_cache_hits`.
        evicted_blocks: Blocks whose tokens were dropped.
    """

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    evicted_blocks: int = 0

    @property
    def hit_rate(self) -> float:
        """Cached tokens over prompt tokens, cold starts included; 0 where there was no prompt."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


@dataclass(eq=False)
class Request:
    """A request that is or was in the cache.

    Attributes:
        keys: The name of each full block: it stands for the block's tokens and all before them.
        length: Tokens that are known: the prompt and what was generated.
        blocks: Numbers of the blocks it holds; empty where it holds none.
        named: How many of those are in the cache under their key.
        computed: Tokens whose keys and values stand in its blocks, or are about to.
        cached_tokens: How many tokens it found when it started for the first time.
        tail: What was appended after the last full block, four bytes a token.
        root: What stands before the first block: the salt.
    """

    keys: list[bytes]
    length: int
    blocks: list[int] = field(default_factory=list)
    named: int = 0
    computed: int = 0
    cached_tokens: int | None = None
    tail: bytes = b""
    root: bytes = _ROOT


class PrefixCache:
    """The cache of one engine.

    Args:
        block_size: Tokens in a block.
        blocks: vLLM's `num_gpu_blocks`, of which one is never used; None for a cache that never evicts.

    Raises:
        ValueError: One of the numbers is too small.
    """

    def __init__(self, block_size: int = 16, blocks: int | None = None) -> None:
        if block_size < 1:
            raise ValueError(f"block_size={block_size}: a block has a token or more")
        if blocks is not None and blocks < 2:
            raise ValueError(f"blocks={blocks}: two or more, since vLLM never uses the first")
        self.block_size = block_size
        self.blocks = blocks
        self._requests = self._prompt_tokens = self._cached_tokens = self._evicted_blocks = 0
        # Whatever belongs to a block stands at its number; block 0 is never given out.
        self._key: list[bytes | None] = [None] * (blocks or 1)
        self._holders: list[int] = [0] * (blocks or 1)
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(1, blocks or 1))
        # Equal blocks are not merged: of several the one that came first is found.
        self._found: dict[bytes, list[int]] = {}

    @property
    def counts(self) -> Counts:
        """Sums over all requests so far."""
        return Counts(self._requests, self._prompt_tokens, self._cached_tokens, self._evicted_blocks)

    @property
    def free_blocks(self) -> tuple[int, ...]:
        """Numbers of the free blocks, the one that is given out next first."""
        return tuple(self._free)

    @property
    def known_blocks(self) -> frozenset[int]:
        """Numbers of the blocks, free or held, that a prompt may find."""
        return frozenset(number for number, key in enumerate(self._key) if key is not None)

    def run(self, prompt: Tokens, generated: Tokens = (), salt: str | None = None) -> Hit:
        """Takes one request from its start to its end, with nobody else around.

        Args:
            prompt: Its tokens, one or more.
            generated: What the model answers, its last token included.
            salt: Requests with another one, or with none, find nothing of this one's; vLLM's `cache_salt`.

        Raises:
            OutOfBlocksError: It does not fit into the whole cache; nothing was changed.
            ValueError: The prompt is empty, or a token is no number from 0 to 2**32 - 1.
        """
        request = self.request(prompt, salt)
        size, evicted = request.length, self._evicted_blocks
        # All that it will ever need is taken at once: with nobody else around, that is the same.
        last = size + max(len(generated), 1) - 1
        cached = self.start(request, last)
        if cached is None:
            raise OutOfBlocksError(
                f"{last} tokens take {-(-last // self.block_size)} blocks of {self.block_size}, and of the cache's "
                f"{self.blocks}, one of which is never used, {len(self._free)} are free"
            )
        self.append(request, generated)
        self.grow(request, last)
        self.end(request)
        written = size // self.block_size * self.block_size - cached
        return Hit(size, cached, written, self._evicted_blocks - evicted)

    def request(self, prompt: Tokens, salt: str | None = None) -> Request:
        """Returns a request that holds no blocks yet.

        Raises:
            ValueError: The prompt is empty, or a token is no number from 0 to 2**32 - 1.
        """
        request = Request([], 0, root=hashlib.sha256(salt.encode()).digest() if salt else _ROOT)
        self.append(request, prompt)
        if not request.length:
            raise ValueError("a prompt has one token or more")
        return request

    def append(self, request: Request, tokens: Tokens) -> None:
        """Adds tokens to what is known of a request: its prompt, or what it generated."""
        data = memoryview(request.tail + _bytes(tokens))
        width, sha256, keys = 4 * self.block_size, hashlib.sha256, request.keys
        key = keys[-1] if keys else request.root
        full = len(data) // width * width
        for at in range(0, full, width):
            key = sha256(key + data[at : at + width]).digest()
            keys.append(key)
        request.tail = bytes(data[full:])
        request.length = len(keys) * self.block_size + len(request.tail) // 4

    def look_up(self, request: Request) -> int:
        """Returns how many of a request's tokens would be found now; changes nothing."""
        return len(self._matching(request)) * self.block_size

    def fits(self, request: Request, upto: int) -> bool:
        """Says whether `start` would find enough blocks."""
        return self._fits(self._matching(request), upto)

    def start(self, request: Request, upto: int) -> int | None:
        """Gives a request that holds no blocks those that it finds, and new ones.

        Args:
            request: The request; a prompt is counted when it starts for the first time.
            upto: Up to which token it has room then; tokens that are not known yet count.

        Returns:
            How many tokens were found, or None where there are not enough blocks; then nothing was changed.
        """
        matching = self._matching(request)
        if not self._fits(matching, upto):
            return None
        holders, free, found = self._holders, self._free, len(matching) * self.block_size
        for block in matching:
            if not holders[block]:
                del free[block]
            holders[block] += 1
        request.blocks, request.named, request.computed = matching, len(matching), found
        if request.cached_tokens is None:
            request.cached_tokens = found
            self._requests += 1
            self._prompt_tokens += request.length
            self._cached_tokens += found
        self._extend(request, upto)
        return found

    def grow(self, request: Request, upto: int) -> bool:
        """Gives a request that holds blocks what it needs up to a token; says whether there were enough."""
        if self.blocks is not None and -(-upto // self.block_size) - len(request.blocks) > len(self._free):
            return False
        self._extend(request, upto)
        return True

    def end(self, request: Request) -> None:
        """Frees what a request holds; its full blocks can still be found until they are given to others."""
        full: list[int] = []
        partial: list[int] = []
        for block in reversed(request.blocks):
            self._holders[block] -= 1
            if not self._holders[block]:
                (partial if self._key[block] is None else full).append(block)
        for block in reversed(partial):
            self._free[block] = None
            self._free.move_to_end(block, last=False)
        self._free.update(dict.fromkeys(full))
        request.blocks, request.named, request.computed = [], 0, 0

    def reset(self) -> None:
        """Forgets all tokens, as `reset_prefix_cache` does; the order of the free blocks stays, and the counts.

        Raises:
            RuntimeError: A request holds blocks.
        """
        if any(self._holders):
            raise RuntimeError("blocks are held: end the requests that hold them first")
        self._key = [None] * len(self._key)
        self._found.clear()

    def _matching(self, request: Request) -> list[int]:
        matching = []
        for key in request.keys[: (request.length - 1) // self.block_size]:
            same = self._found.get(key)
            if same is None:
                break
            matching.append(same[0])
        return matching

    def _fits(self, matching: list[int], upto: int) -> bool:
        if self.blocks is None:
            return True
        wanted = max(-(-upto // self.block_size) - len(matching), 0)
        # What is found and free leaves the free ones, too.
        return wanted + sum(not self._holders[block] for block in matching) <= len(self._free)

    def _extend(self, request: Request, upto: int) -> None:
        new = -(-upto // self.block_size) - len(request.blocks)
        if new > 0:
            request.blocks += [self._take() for _ in range(new)]
        request.computed = max(request.computed, upto)
        for index in range(request.named, min(request.computed, request.length) // self.block_size):
            key, block = request.keys[index], request.blocks[index]
            self._key[block] = key
            self._found.setdefault(key, []).append(block)
            request.named = index + 1

    def _take(self) -> int:
        """Gives out the first free block; its tokens, if any, are lost."""
        if self.blocks is None and (not self._free or self._key[next(iter(self._free))] is not None):
            # Without a limit nothing that holds tokens is ever given away.
            self._key.append(None)
            self._holders.append(1)
            return len(self._key) - 1
        block, _ = self._free.popitem(last=False)
        key = self._key[block]
        if key is not None:
            same = self._found[key]
            same.remove(block)
            if not same:
                del self._found[key]
            self._key[block] = None
            self._evicted_blocks += 1
        self._holders[block] = 1
        return block


def _bytes(tokens: Tokens) -> bytes:
    """Returns four bytes a token."""
    array = np.frombuffer(tokens, np.uint8) if isinstance(tokens, bytes) else np.asarray(tokens)
    if array.size == 0:
        return b""
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"tokens are whole numbers in one row, not {array.dtype} of shape {array.shape}")
    if int(array.min()) < 0 or int(array.max()) >= 1 << 32:
        raise ValueError("a token is a number from 0 to 2**32 - 1")
    return array.astype("<u4", copy=False).tobytes()
