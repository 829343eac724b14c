"""vLLM in this process: no server, no child, its prefix cache counted token by token."""

import itertools
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from workbook.serving.environment import (
    VLLM_CPU_OPTIONS,
    VLLM_CPU_SETTINGS,
    VLLM_SETTINGS,
    environment,
    quiet,
    torch_threads,
)
from workbook.serving.interface import LLM, Reply, Sampling, ServingError
from workbook.serving.progress import loading
from workbook.serving.prompts import Prompts

_one_at_a_time = threading.Lock()


class VLLMEngine(LLM):
    """A model on vLLM in this process.

    vLLM keeps global state, so one such engine can be open at a time; after `close()` another can be opened, in a third
    of the time since vLLM is imported by then. While one is open on a CPU, torch uses one thread in the whole process.

    Attributes:
        vllm: The `vllm.LLM` itself, for what this interface does not cover (metrics, hooks). Not thread-safe.

    Args:
        model: The model's folder.
        device: "cpu" or "cuda".
        max_model_len: Tokens that a prompt and its reply may have together.
        options: Further arguments of `vllm.LLM`; they win over the settings made here.

    Raises:
        ServingError: Another engine is open, or vLLM refuses the model or an option.
    """

    engine = "vllm"

    def __init__(self, model: Path, device: str, max_model_len: int, options: dict[str, Any]) -> None:
        with ExitStack() as undo:
            undo.enter_context(_alone())
            with loading(f"{model.name} on vLLM ({device})"), quiet(), environment(_settings(device)):
                self._use_threads = undo.enter_context(torch_threads(device))
                undo.enter_context(_errors_only())
                undo.callback(_clean_up)
                self.vllm = _start(model, device, max_model_len, options)
            undo.callback(self._shut_down)
            self._prompts = Prompts(self.vllm.get_tokenizer(), max_model_len)
            self._request_ids = itertools.count()
            self._lock = threading.Lock()
            self._undo = undo.pop_all()
        super().__init__(model, device, max_model_len)

    def _complete(self, conversations: list[list[dict[str, str]]], sampling: Sampling) -> list[Reply]:
        from vllm.exceptions import VLLMValidationError
        from vllm.inputs import TokensPrompt

        start = time.perf_counter()
        prompts = [self._prompts.encode(conversation) for conversation in conversations]
        rooms = [self._prompts.room(len(prompt)) for prompt in prompts]
        engine = self.vllm.llm_engine
        with self._lock:
            self._check_open()
            self._use_threads()
            added: list[str] = []
            replies: dict[str, Reply] = {}
            ids = [str(next(self._request_ids)) for _ in prompts]
            try:
                for request_id, prompt, room in zip(ids, prompts, rooms, strict=True):
                    parameters = self._parameters(sampling, room)
                    added.append(engine.add_request(request_id, TokensPrompt(prompt_token_ids=prompt), parameters))
                while engine.has_unfinished_requests():
                    for output in engine.step():
                        if output.finished:
                            replies[output.request_id] = _reply(output, time.perf_counter() - start)
            except VLLMValidationError as error:
                engine.abort_request(added, internal=True)
                raise ValueError(f"vLLM refuses this request: {error}") from error
            except BaseException:
                # Ctrl-C included: what is left in the engine would be generated, and answered, by the next call.
                engine.abort_request(added, internal=True)
                raise
        return [replies[request_id] for request_id in ids]

    def _parameters(self, sampling: Sampling, room: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        own = self.vllm.model_config.get_diff_sampling_param()
        return SamplingParams(
            **{
                **own,
                "max_tokens": min(sampling.max_tokens, room),
                "temperature": sampling.temperature,
                "seed": sampling.seed,
                "structured_outputs": sampling.schema and StructuredOutputsParams(json=dict(sampling.schema)),
                "output_kind": RequestOutputKind.FINAL_ONLY,
            }
        )

    def _count(self, prompt: str | list[dict[str, str]]) -> int:
        return self._prompts.count(prompt)

    def _reset_prefix_cache(self) -> None:
        with self._lock:
            self._check_open()
            if not self.vllm.reset_prefix_cache():
                raise ServingError("vLLM did not reset its prefix cache: blocks of it are in use")

    def _close(self) -> None:
        with self._lock:
            self._undo.close()

    def _shut_down(self) -> None:
        self.vllm.llm_engine.engine_core.shutdown()
        del self.vllm
        del self._prompts


@contextmanager
def _alone() -> Iterator[None]:
    # Somebody else's vLLM in this process counts too.
    state = sys.modules.get("vllm.distributed.parallel_state")
    if (state is not None and state.model_parallel_is_initialized()) or not _one_at_a_time.acquire(blocking=False):
        raise ServingError(
            "vLLM runs one model at a time in a process, and one is open: close it first, "
            "or use serving.serve(), which runs each in a process of its own"
        )
    try:
        yield
    finally:
        _one_at_a_time.release()


def _start(model: Path, device: str, max_model_len: int, options: dict[str, Any]) -> Any:
    import vllm

    settings = {
        "max_model_len": max_model_len,
        "use_tqdm_on_load": False,
        **(VLLM_CPU_OPTIONS if device == "cpu" else {}),
        **options,
    }
    try:
        return vllm.LLM(str(model), **settings)
    except Exception as error:
        raise ServingError(f"vLLM cannot open {model} with {settings}: {error}") from error


def _settings(device: str) -> dict[str, str]:
    return {**VLLM_SETTINGS, "VLLM_LOGGING_LEVEL": "ERROR", **(VLLM_CPU_SETTINGS if device == "cpu" else {})}


@contextmanager
def _errors_only() -> Iterator[None]:
    logger = logging.getLogger("vllm")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _clean_up() -> None:
    """Gives back vLLM's global state and memory, also after a start that failed halfway."""
    if "vllm" in sys.modules:
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        cleanup_dist_env_and_memory()


def _reply(output: Any, seconds: float) -> Reply:
    completion = output.outputs[0]
    if completion.finish_reason not in ("stop", "length"):
        raise ServingError(f"vLLM ended a request with {completion.finish_reason!r}")
    return Reply(
        text=completion.text,
        prompt_tokens=len(output.prompt_token_ids),
        cached_tokens=output.num_cached_tokens,
        completion_tokens=len(completion.token_ids),
        finish_reason=completion.finish_reason,
        seconds=seconds,
    )
