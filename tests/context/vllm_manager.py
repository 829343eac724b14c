"""The part of vLLM that keeps its prefix cache, by itself: no model, no scheduler, any block size.

Needs vLLM to be installed; the caller sees to that.
"""

from collections.abc import Sequence
from typing import Any


class VLLMManager:
    """vLLM's `KVCacheManager`, driven as its scheduler drives it for one request after another."""

    def __init__(self, block_size: int, blocks: int) -> None:
        import torch
        from vllm.utils.hashing import sha256
        from vllm.v1.core.kv_cache_manager import KVCacheManager
        from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
        from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec

        init_none_hash(sha256)
        spec = FullAttentionSpec(block_size=block_size, num_kv_heads=1, head_size=1, dtype=torch.float32)
        config = KVCacheConfig(
            num_blocks=blocks, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)]
        )
        self._manager: Any = KVCacheManager(
            config, max_model_len=1 << 20, scheduler_block_size=block_size, hash_block_size=block_size
        )
        self._hasher: Any = get_request_block_hasher(block_size, sha256)
        self._requests = 0

    def run(self, prompt: Sequence[int], generated: Sequence[int] = (), salt: str | None = None) -> int:
        """Takes one request from its start to its end; returns how many tokens were cached."""
        from vllm.sampling_params import SamplingParams
        from vllm.v1.request import Request

        self._requests += 1
        request: Any = Request(
            request_id=str(self._requests),
            prompt_token_ids=list(prompt),
            sampling_params=SamplingParams(max_tokens=max(len(generated), 1)),
            pooling_params=None,
            block_hasher=self._hasher,
            cache_salt=salt,
        )
        found, cached, _ = self._manager.get_computed_blocks(request)
        assert self._manager.allocate_slots(request, request.num_tokens - cached, cached, found) is not None
        request.num_computed_tokens = request.num_tokens
        for number, token in enumerate(generated, 1):
            request.append_output_token_ids(token)
            if number < len(generated):
                assert self._manager.allocate_slots(request, 1) is not None
                request.num_computed_tokens += 1
        self._manager.free(request)
        return int(cached)

    @property
    def free_blocks(self) -> tuple[int, ...]:
        """Numbers of the free blocks, the one that is given out next first."""
        return tuple(block.block_id for block in self._manager.block_pool.free_block_queue.get_all_free_blocks())

    @property
    def known_blocks(self) -> frozenset[int]:
        """Numbers of the blocks that a prompt may find."""
        return frozenset(block.block_id for block in self._manager.block_pool.blocks if block.block_hash is not None)
