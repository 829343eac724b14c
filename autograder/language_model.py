"""The language model of a grading run: one server for all submissions, started when the first criterion asks for it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autograder.acceptance import NotRun

if TYPE_CHECKING:
    from workbook.serving import Reply
    from workbook.serving.vllm_server import VLLMServer

MAX_MODEL_LEN = 8192
"""Tokens of a prompt and its reply: all positions that SmolLM2 has."""


class LanguageModel:
    """SmolLM2 on vLLM, in processes of its own, outside every sandbox."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._llm: VLLMServer | None = None
        self._reason = ""
        self._closed = False

    def get(self) -> "LanguageModel":
        """Returns this model; starts its server where none runs.

        Raises:
            NotRun: vLLM or the weights are missing, or it does not start.
        """
        self._engine()
        return self

    def chat(self, messages: list[Any], **options: Any) -> "Reply":
        """Answers a conversation; see `workbook.serving.LLM.chat`.

        Raises:
            NotRun: The server has failed, which is nobody's answer. The next criterion gets a new one.
            workbook.serving.PromptTooLongError: The conversation is too long.
            workbook.serving.SchemaError: The reply is not what its schema asks for.
        """
        return self._asked(lambda engine: engine.chat(messages, **options))

    def complete(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int = 16,
        schema: Mapping[str, Any] | None = None,
        begin_with: Sequence[str] | None = None,
        salt: str | None = None,
    ) -> "Reply":
        """Continues a text as it stands; see `VLLMServer.complete`.

        Args:
            prompt: The text or its token ids.
            max_tokens: At most this many tokens are generated.
            schema: A JSON schema that the reply keeps.
            begin_with: Texts with one of which the reply begins; a logits processor sees to that.
            salt: Requests with different ones share nothing in the prefix cache.

        Raises:
            NotRun: The server has failed, which is nobody's answer. The next criterion gets a new one.
            workbook.serving.PromptTooLongError: The prompt is too long.
            ValueError: The server refuses the request: no schema that it knows, or nothing to begin with.
        """
        from workbook.context.vllm_masking import KEY

        extra = None if begin_with is None else {KEY: list(begin_with)}
        return self._asked(
            lambda engine: engine.complete(prompt, max_tokens=max_tokens, schema=schema, extra_args=extra, salt=salt)
        )

    def _asked(self, ask: "Callable[[VLLMServer], Reply]") -> "Reply":
        from workbook.serving import PromptTooLongError, SchemaError, ServingError

        engine = self._engine()
        try:
            return ask(engine)
        except (PromptTooLongError, SchemaError):
            raise
        except ServingError as error:
            with self._lock:
                if self._llm is engine:
                    self._llm = None
                    engine.close()
            raise NotRun(f"the language model failed: {type(error).__name__}") from error

    def _engine(self) -> "VLLMServer":
        from workbook import serving
        from workbook.context.vllm_masking import PROCESSOR
        from workbook.model_store import ModelError

        with self._lock:
            if self._reason or self._closed:
                raise NotRun(self._reason or "the grader was ended")
            if self._llm is None:
                try:
                    self._llm = serving.serve(max_model_len=MAX_MODEL_LEN, logits_processors=[PROCESSOR])
                except (serving.ServingError, ModelError) as error:
                    self._reason = f"no language model: {error}"
                    raise NotRun(self._reason) from error
            return self._llm

    def close(self) -> None:
        """Ends the server, if it runs. None is started after that."""
        self._closed = True
        with self._lock:
            if self._llm is not None:
                self._llm.close()
                self._llm = None
