"""The language model of a grading run: one server for all submissions, started when the first criterion asks for it."""

import threading
from typing import TYPE_CHECKING, Any

from autograder.acceptance import NotRun

if TYPE_CHECKING:
    from workbook.serving import LLM, Reply


class LanguageModel:
    """SmolLM2 on vLLM, in processes of its own, outside every sandbox."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._llm: LLM | None = None
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
        from workbook.serving import PromptTooLongError, SchemaError, ServingError

        engine = self._engine()
        try:
            return engine.chat(messages, **options)
        except (PromptTooLongError, SchemaError):
            raise
        except ServingError as error:
            with self._lock:
                if self._llm is engine:
                    self._llm = None
                    engine.close()
            raise NotRun(f"the language model failed: {type(error).__name__}") from error

    def _engine(self) -> "LLM":
        from workbook import serving
        from workbook.model_store import ModelError

        with self._lock:
            if self._reason or self._closed:
                raise NotRun(self._reason or "the grader was ended")
            if self._llm is None:
                try:
                    self._llm = serving.serve()
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
