"""transformers in this process: for machines where vLLM does not run, and to compare with."""

import gc
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbook.serving.environment import environment, quiet, torch_threads
from workbook.serving.interface import LLM, Reply, Sampling, ServingError
from workbook.serving.progress import loading
from workbook.serving.prompts import Prompts

# How often a reply that should be JSON is asked for where decoding cannot be constrained.
ATTEMPTS = 3


class TransformersEngine(LLM):
    """A model on transformers in this process.

    With `xgrammar`, the library that vLLM takes first, JSON is constrained as it is there. Without it the schema is put
    into the prompt, the reply checked, and asked for again where it is wrong; `limits` says which of the two holds.

    Args:
        model: The model's folder.
        device: "cpu" or "cuda".
        max_model_len: Tokens that a prompt and its reply may have together.

    Raises:
        ServingError: transformers cannot read the model, or its context is shorter than `max_model_len`.
    """

    engine = "transformers"

    def __init__(self, model: Path, device: str, max_model_len: int) -> None:
        with ExitStack() as undo:
            with loading(f"{model.name} on transformers ({device})"), quiet(), environment({"HF_HUB_OFFLINE": "1"}):
                self._use_threads = undo.enter_context(torch_threads(device))
                self._tokenizer, self._model = _read(model, device)
            positions = self._model.config.max_position_embeddings
            if max_model_len > positions:
                raise ServingError(f"max_model_len is {max_model_len}, but {model.name} was made for {positions}")
            self._undo = undo.pop_all()
        ends = self._model.generation_config.eos_token_id
        self._ends: list[int] = ends if isinstance(ends, list) else [ends]
        self._prompts = Prompts(self._tokenizer, max_model_len)
        self._grammars = self._grammar_compiler()
        self.limits = (
            "no prefix cache: cached tokens are not counted (None)",
            "no continuous batching: a batch runs one conversation after another",
            "slower than vLLM",
            *(
                ()
                if self._grammars
                else ("no constrained decoding: JSON is asked for in the prompt, checked and asked for again",)
            ),
        )
        self._lock = threading.Lock()
        super().__init__(model, device, max_model_len)

    def _complete(self, conversations: list[list[dict[str, str]]], sampling: Sampling) -> list[Reply]:
        start = time.perf_counter()
        if sampling.schema is not None and not self._grammars:
            conversations = [_ask_for_json(messages, sampling.schema) for messages in conversations]
        prompts = [self._prompts.encode(messages) for messages in conversations]
        rooms = [self._prompts.room(len(prompt)) for prompt in prompts]
        replies = []
        for prompt, room in zip(prompts, rooms, strict=True):
            with self._lock:
                self._check_open()
                self._use_threads()
                reply = self._answer(prompt, replace(sampling, max_tokens=min(sampling.max_tokens, room)))
            replies.append(replace(reply, seconds=time.perf_counter() - start))
        return replies

    def _answer(self, prompt: list[int], sampling: Sampling) -> Reply:
        if sampling.schema is None or self._grammars:
            return self._generate(prompt, sampling)
        for attempt in range(ATTEMPTS):
            reply = self._generate(prompt, sampling)
            reply = replace(reply, text=_json_in(reply.text))
            if not sampling.mismatch(reply.text):
                # Complete JSON, whatever the model wanted to say after it.
                return replace(reply, finish_reason="stop")
            # The likeliest reply was wrong, and would be the same again.
            sampling = replace(
                sampling, temperature=max(sampling.temperature, 0.7), seed=(sampling.seed or 0) + attempt
            )
        return reply

    def _generate(self, prompt: list[int], sampling: Sampling) -> Reply:
        import torch

        own = self._model.generation_config
        ids = torch.tensor([prompt], device=self.device)
        how: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if sampling.temperature > 0:
            # transformers would keep the 50 likeliest tokens alone where the model does not say, vLLM all of them.
            how = {"do_sample": True, "temperature": float(sampling.temperature), "top_k": own.top_k or 0}
        with _seeded(sampling.seed, self.device), torch.inference_mode():
            tokens = self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=sampling.max_tokens,
                logits_processor=self._constraint(sampling.schema),
                pad_token_id=self._ends[0],
                **how,
            )[0, len(prompt) :].tolist()
        return Reply(
            text=self._tokenizer.decode(tokens, skip_special_tokens=True),
            prompt_tokens=len(prompt),
            cached_tokens=None,
            completion_tokens=len(tokens),
            finish_reason="stop" if tokens[-1] in self._ends else "length",
            seconds=0.0,
        )

    def _grammar_compiler(self) -> Any:
        """Returns xgrammar's compiler for this model's vocabulary; None where xgrammar is not installed."""
        if find_spec("xgrammar") is None:
            return None
        import xgrammar

        vocabulary = xgrammar.TokenizerInfo.from_huggingface(
            self._tokenizer, vocab_size=self._model.config.vocab_size, stop_token_ids=self._ends
        )
        return xgrammar.GrammarCompiler(vocabulary, max_threads=1)

    def _constraint(self, schema: Mapping[str, Any] | None) -> list[Any] | None:
        if schema is None or not self._grammars:
            return None
        from xgrammar.contrib.hf import LogitsProcessor

        try:
            grammar = self._grammars.compile_json_schema(json.dumps(schema))
        except RuntimeError as error:
            raise ValueError(f"xgrammar cannot constrain a reply to this schema: {error}") from error
        return [LogitsProcessor(grammar)]

    def _count(self, prompt: str | list[dict[str, str]]) -> int:
        return self._prompts.count(prompt)

    def _reset_prefix_cache(self) -> None:
        pass

    def _close(self) -> None:
        with self._lock:
            del self._model, self._tokenizer, self._prompts, self._grammars
            self._undo.close()
            gc.collect()
            if self.device == "cuda":
                import torch

                torch.cuda.empty_cache()


def _read(model: Path, device: str) -> tuple[Any, Any]:
    import transformers

    log = transformers.utils.logging
    bars = log.is_progress_bar_enabled()
    log.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(model, local_files_only=True)
        weights = transformers.AutoModelForCausalLM.from_pretrained(model, local_files_only=True, dtype="auto")
        return tokenizer, weights.to(device).eval()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ServingError(f"transformers cannot read the model in {model}: {error}") from error
    finally:
        if bars:
            log.enable_progress_bar()


@contextmanager
def _seeded(seed: int | None, device: str) -> Iterator[None]:
    """Draws from a seed of its own, and leaves torch's global generators as they were; None draws from those."""
    if seed is None:
        yield
        return
    import torch

    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _ask_for_json(messages: list[dict[str, str]], schema: Mapping[str, Any]) -> list[dict[str, str]]:
    request = f"Reply with JSON alone, no other text, that this JSON schema admits:\n{json.dumps(schema)}"
    *earlier, last = messages
    return [*earlier, {**last, "content": f"{last['content']}\n\n{request}"}]


def _json_in(text: str) -> str:
    """Returns the first complete JSON object or array in a text that may explain or fence it; else the text."""
    decoder = json.JSONDecoder()
    for start, character in enumerate(text):
        if character in "{[":
            try:
                _, end = decoder.raw_decode(text, start)
            except json.JSONDecodeError:
                continue
            return text[start:end]
    return text.strip()
