"""Finds out why nbgrader gave up: it logs the exception that ended its work, then raises another that says less."""

import logging
import sys
from typing import Self


class Reason(logging.Handler):
    """A context manager that listens to nbgrader's log. Use it around a converter's `start()`.

    Attributes:
        error: The last exception that was being handled when an error was logged.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.error: BaseException | None = None

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - a handler's signature
        """Notes the exception."""
        self.error = sys.exc_info()[1] or self.error

    def __enter__(self) -> Self:
        from traitlets.log import get_logger

        logger = get_logger()
        self._logger = logger.logger if isinstance(logger, logging.LoggerAdapter) else logger
        self._logger.addHandler(self)
        return self

    def __exit__(self, *exception: object) -> None:
        self._logger.removeHandler(self)

    def of(self, raised: BaseException) -> BaseException:
        """Returns what says most: the exception that was logged, or else the one that was raised."""
        return self.error or raised
