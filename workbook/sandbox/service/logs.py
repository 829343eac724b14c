"""Logs: one JSON object a line, with what a request was and what came of it; never code, contents or tokens."""

import json
import logging
import sys
import time
import traceback
from typing import Any, TextIO

LOGGER = logging.getLogger("workbook.sandbox.service")

_USUAL = {"message", "asctime", "color_message", *vars(logging.makeLogRecord({}))}
_MOST = 2000  # characters of a text


class JsonFormatter(logging.Formatter):
    """Writes a record as a line of JSON: time, level, what, and what `extra` has."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:_MOST],
        }
        line |= {name: value for name, value in vars(record).items() if name not in _USUAL}
        if record.exc_info and record.exc_info[1] is not None:
            line |= _told(record.exc_info[1])
        return json.dumps(line, default=str)


def _told(error: BaseException) -> dict[str, Any]:
    """An error by its kind and where it was; its message may hold what a tenant has written."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    where = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
    cause = error.__cause__ or error.__context__
    return {"error": type(error).__name__, "where": where, **({"cause": type(cause).__name__} if cause else {})}


def to_stream(stream: TextIO = sys.stderr, level: int = logging.INFO) -> None:
    """Has the service, and uvicorn beneath it, write their logs to a stream."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    for name in ("workbook.sandbox.service", "uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level if name != "asyncio" else logging.WARNING)
    logging.getLogger("uvicorn.access").disabled = True  # it has one line a request as well, and no JSON
