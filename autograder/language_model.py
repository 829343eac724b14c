"""The language model of a grading run: one server for all submissions, started when the first criterion asks for it."""

import threading
from typing import TYPE_CHECKING, Self

from autograder.acceptance import NotRun

if TYPE_CHECKING:
    from workbook.serving import LLM


class LanguageModel:
    """SmolLM2 on vLLM, in processes of its own, outside every sandbox. A context manager."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._llm: LLM | None = None
        self._reason = ""

    def get(self) -> "LLM":
        """Returns the model; starts it at the first call.

        Raises:
            NotRun: vLLM or the weights are missing, or it does not start.
        """
        from workbook import serving
        from workbook.model_store import ModelError

        with self._lock:
            if self._reason:
                raise NotRun(self._reason)
            if self._llm is None:
                try:
                    self._llm = serving.serve()
                except (serving.ServingError, ModelError) as error:
                    self._reason = f"no language model: {error}"
                    raise NotRun(self._reason) from error
            return self._llm

    def close(self) -> None:
        """Ends the server, if it runs."""
        with self._lock:
            if self._llm is not None:
                self._llm.close()
                self._llm = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
