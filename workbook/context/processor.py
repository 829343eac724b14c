"""A logits processor for vLLM that holds a reply to one of several beginnings: masks that cost no prompt token.

    llm = serving.load(engine="vllm", logits_processors=[PROCESSOR])
    parameters = SamplingParams(extra_args=request(mask))

vLLM imports this module by name, in the process in which the engine runs. It imports vLLM, so notebooks take
`PROCESSOR` and `request` from `workbook.context.vllm_masking`.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from vllm.tokenizers import cached_tokenizer_from_config
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from workbook.context.automaton import Beginnings, Vocabulary
from workbook.context.vllm_masking import KEY


class BeginningsProcessor(AdapterLogitsProcessor):  # type: ignore[misc]  # vLLM is not checked
    """Reads the alternatives of a request from its `extra_args`; requests without them are left alone."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        super().__init__(vllm_config, device, is_pin_memory)
        config = vllm_config.model_config
        self._vocabulary = Vocabulary.of(cached_tokenizer_from_config(config), config.get_vocab_size())
        self._beginnings = lru_cache(maxsize=256)(lambda texts: Beginnings(self._vocabulary, texts))

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Refuses a request whose alternatives are none.

        Raises:
            ValueError: They are not a list of texts, or decoding is constrained in another way too.
        """
        texts = (sampling_params.extra_args or {}).get(KEY)
        if texts is None:
            return
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
            raise ValueError(f"{KEY} must be a list of texts, at least one, not {texts!r}")
        if sampling_params.structured_outputs is not None:
            raise ValueError(f"give {KEY} or structured outputs, not both: together they may leave no token")

    def is_argmax_invariant(self) -> bool:
        """Says that the likeliest token may become another."""
        return False

    def new_req_logits_processor(self, params: Any) -> Callable[[list[int], torch.Tensor], torch.Tensor] | None:
        """Returns what masks the logits of one request."""
        texts = (params.extra_args or {}).get(KEY)
        return None if texts is None else _Row(self._vocabulary, self._beginnings(tuple(texts)))


class _Row:
    """One request: what it has written, and which tokens may come next."""

    def __init__(self, vocabulary: Vocabulary, beginnings: Beginnings) -> None:
        self._vocabulary = vocabulary
        self._beginnings = beginnings
        self._free = False

    def __call__(self, output_ids: list[int], logits: torch.Tensor) -> torch.Tensor:
        if self._free:
            return logits
        written = self._vocabulary.write(output_ids)
        allowed = None if written is None else self._beginnings.allowed(written)
        if not allowed:  # a beginning is complete, or something else has forced another one: nothing is left to hold
            self._free = True
            return logits
        ids = torch.tensor(allowed, device=logits.device)
        masked = torch.full_like(logits, float("-inf"))
        masked[ids] = logits[ids]
        return masked
