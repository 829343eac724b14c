"""The real thing beside the model: vLLM itself, with a random network so small that only its cache is of interest.

What vLLM finds in its cache depends on token ids and never on weights, so a Llama of one layer with random weights will
do: it starts in some 15 s and takes hundreds of requests a second.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbook.context.prefix_cache import Tokens
from workbook.serving import ServingError, UnavailableError, vllm_built_for
from workbook.serving.environment import (
    VLLM_CPU_OPTIONS,
    VLLM_CPU_SETTINGS,
    VLLM_SETTINGS,
    environment,
    quiet,
    torch_threads,
)
from workbook.serving.progress import loading

VOCABULARY = 1024
_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 1 << 20,
    "dtype": "bfloat16",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class Answer:
    """What vLLM said to one request.

    Attributes:
        cached_tokens: Its `num_cached_tokens`.
        generated: The tokens of its answer, the last one included.
    """

    cached_tokens: int
    generated: tuple[int, ...]


class VLLMCache:
    """The prefix cache of vLLM at work; made by `vllm_cache`.

    One such, or one model of `serving`, at a time in a process.

    Attributes:
        llm: The `vllm.LLM` itself.
    """

    def __init__(self, llm: Any) -> None:
        self.llm = llm

    def run(self, prompt: Tokens, answer_tokens: int = 1, salt: str | None = None) -> Answer:
        """Sends one request, and waits for an answer of so many tokens."""
        return self.run_together([(prompt, answer_tokens, salt)])[0]

    def run_together(self, requests: Sequence[tuple[Tokens, int, str | None]]) -> list[Answer]:
        """Sends requests at once: prompt, number of tokens to generate, and salt of each."""
        from vllm import SamplingParams
        from vllm.inputs import TokensPrompt

        prompts = []
        for prompt, _, salt in requests:
            prompts.append(TokensPrompt(prompt_token_ids=[int(token) for token in prompt]))
            if salt:
                prompts[-1]["cache_salt"] = salt
        sampling = [
            SamplingParams(max_tokens=count, ignore_eos=True, detokenize=False, temperature=0.0)
            for _, count, _ in requests
        ]
        outputs = self.llm.generate(prompts, sampling, use_tqdm=False)
        return [Answer(one.num_cached_tokens, tuple(one.outputs[0].token_ids)) for one in outputs]

    def reset(self) -> None:
        """Empties the cache."""
        if not self.llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not reset its prefix cache: blocks of it are in use")

    @property
    def free_blocks(self) -> tuple[int, ...]:
        """Numbers of the free blocks, the one that is given out next first."""
        return tuple(block.block_id for block in self._pool.free_block_queue.get_all_free_blocks())

    @property
    def known_blocks(self) -> frozenset[int]:
        """Numbers of the blocks, free or held, that a prompt may find."""
        return frozenset(block.block_id for block in self._pool.blocks if block.block_hash is not None)

    @property
    def _pool(self) -> Any:
        return self.llm.llm_engine.engine_core.engine_core.scheduler.kv_cache_manager.block_pool


@contextmanager
def vllm_cache(
    *, block_size: int = 32, blocks: int | None = None, max_model_len: int = 32768, **options: Any
) -> Iterator[VLLMCache]:
    """Starts vLLM in this process, on the CPU, with a random model of one layer.

    Args:
        block_size: Tokens in a block; vLLM takes 32 or more on a CPU.
        blocks: vLLM's `num_gpu_blocks_override`; None for as many as 256 MiB hold. A request of `max_model_len` has to
            fit.
        max_model_len: Tokens that a prompt and its answer may have together.
        options: Further arguments of `vllm.LLM`.

    Raises:
        UnavailableError: vLLM for CPUs is not installed.
        ServingError: A vLLM model is open in this process.
    """
    if vllm_built_for() != "cpu":
        raise UnavailableError("vLLM for CPUs is not installed: requirements/cpu.txt has it, for Linux on x86-64")
    state = sys.modules.get("vllm.distributed.parallel_state")
    if state is not None and state.model_parallel_is_initialized():
        raise ServingError("vLLM runs one model at a time in a process, and one is open: close it first")
    settings = {
        **VLLM_CPU_OPTIONS,
        "block_size": block_size,
        "num_gpu_blocks_override": blocks,
        "kv_cache_memory_bytes": 1 << 28,
        "max_model_len": max_model_len,
        "load_format": "dummy",
        "skip_tokenizer_init": True,
        "use_tqdm_on_load": False,
        **options,
    }
    with tempfile.TemporaryDirectory() as folder, torch_threads("cpu") as use_threads:
        (Path(folder) / "config.json").write_text(json.dumps(_CONFIG))
        with (
            loading("a random model of one layer on vLLM (cpu)"),
            quiet(),
            environment({**VLLM_SETTINGS, **VLLM_CPU_SETTINGS, "VLLM_LOGGING_LEVEL": "ERROR"}),
        ):
            import vllm

            cache = VLLMCache(vllm.LLM(folder, **settings))
        use_threads()
        try:
            yield cache
        finally:
            cache.llm.llm_engine.engine_core.shutdown()
            del cache.llm
            from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

            cleanup_dist_env_and_memory()


def draw_tokens(rng: np.random.Generator, count: int) -> list[int]:
    """Draws token ids that the random model knows."""
    return [int(token) for token in rng.integers(3, VOCABULARY, count)]
