"""Logs that others keep, as traces: bring your own.

Two forms are read, both OpenAI's chat completions or what speaks like them:

- *Exchanges*: one request and its response each, `{"request": {"messages": …, "tools": …, "model": …},
  "response": {"choices": …, "usage": …}}`. What the engine counted is kept. `run` (else `conversation_id` or
  `session_id`), `time` and `seconds` are taken where an exchange has them.
- *Conversations*: whole ones, `{"messages": …, "tools": …}`. Each message of the assistant is taken for the answer to
  all that stands before it, which assumes that the agent only appended; there is no usage.

A log is a list of them, or text with one a line. What is made of it is a `Trace`: write it with `write_trace`. Half of
a surrogate pair, which UTF-8 cannot write, becomes U+FFFD. `read_log` reads a file of either form, or a trace.
"""

import codecs
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from workbook.context.trace import (
    Assembler,
    Header,
    Record,
    Request,
    Response,
    Run,
    Trace,
    TraceError,
    Usage,
    common,
    decode,
    encode,
    parse_trace,
    read_bytes,
)

_RUN_KEYS = ("run", "conversation_id", "session_id")
_COUNTS = (
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)


def read_log(path: Path) -> Trace:
    """Reads a trace, or a log of which it makes one; the first line says which it is.

    Args:
        path: The file; a name that ends in `.gz` is decompressed.

    Raises:
        TraceError: It is neither, or a line of it is wrong.
        OSError: It cannot be read.
    """
    path = Path(path)
    data = read_bytes(path).removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise TraceError(path.name, 1, f"this is no log: {error}") from None
    try:
        first = json.loads(text.partition("\n")[0])
    except (ValueError, RecursionError):
        first = None
    known = set(first) if isinstance(first, dict) else set()
    if "request" in known:
        return from_exchanges(text, name=path.name)
    if "messages" in known:
        return from_conversations(text, name=path.name)
    if "kind" in known:
        return parse_trace(data, path.name)
    raise TraceError(
        path.name, 1, 'a trace begins with {"kind": "trace", …}, a log with {"request": …} or {"messages": …}'
    )


def from_exchanges(log: str | Iterable[Mapping[str, Any]], *, name: str = "exchanges", about: str = "") -> Trace:
    """Makes a trace of requests and their responses.

    A request goes on from the one before it in its run. Where exchanges name no run, one whose messages begin with all
    of an earlier one's first two (system and task, as a rule) belongs to the same run; so does one that has all of a
    run's last request but its first message, and more: a system prompt in which the time stands is another each time.

    Raises:
        TraceError: An entry is not of this form; `line` is its number, from 1.
    """
    made = _Made(name)
    last = dict[str, tuple[str, list[Any], list[Any]]]()
    runs, tasks = dict[str, str](), dict[str, str]()
    for number, entry in enumerate(_entries(log, name), 1):
        body = _field(entry, "request", dict, name, number)
        messages = _messages(body, name, number)
        key = next((str(entry[key]) for key in _RUN_KEYS if entry.get(key) is not None), None)
        task = json.dumps(messages[1:2], sort_keys=True)
        if key is None:
            key = json.dumps(messages[:2], sort_keys=True)
            other = tasks.get(task, key)
            if key not in runs and other in runs and _goes_on(last[runs[other]][1], messages):
                key = other
            tasks[task] = key
        time = _seconds(entry, "time", float(number), name, number)
        if key not in runs:
            runs[key] = f"run-{len(runs) + 1}"
            made.add(Run(run=runs[key], time=time), number)
        run, request = runs[key], f"{runs[key]}/{number}"
        after, before, defined = last.get(run, (None, [], []))
        keep, tools = common(before, messages), body.get("tools") or []
        made.add(
            Request(
                run=run,
                id=request,
                time=time,
                after=after,
                keep=keep,
                messages=messages[keep:],
                tools=None if after is not None and tools == defined else tools,
                model=str(body.get("model") or ""),
            ),
            number,
        )
        last[run] = request, messages, tools
        if (answer := entry.get("response")) is not None:
            seconds = _seconds(entry, "seconds", 0.0, name, number)
            made.add(_response(request, time, seconds, answer, name, number), number)
    return made.trace(about)


def from_conversations(
    log: str | Iterable[Mapping[str, Any]], *, name: str = "conversations", about: str = ""
) -> Trace:
    """Makes a trace of whole conversations, each a run.

    Raises:
        TraceError: An entry is not of this form; `line` is its number, from 1.
    """
    made, time = _Made(name), 0.0
    for number, entry in enumerate(_entries(log, name), 1):
        messages, run = _messages(entry, name, number), f"run-{number}"
        made.add(Run(run=run, time=time), number)
        after, sent = None, 0
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            request, time = f"{run}/{index}", time + 1
            tools = entry.get("tools") or [] if after is None else None
            new = messages[sent:index]
            sending = Request(run=run, id=request, time=time, after=after, keep=sent, messages=new, tools=tools)
            made.add(sending, number)
            made.add(Response(request=request, time=time, seconds=0.0, message=message), number)
            after, sent = request, index
    return made.trace(about)


class _Made:
    """The records of a trace that is made of a log, as they will be read again."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._records = list[Record]()
        self._assembler = Assembler()

    def add(self, record: Record, number: int) -> None:
        """Takes a record, made of the log's entry `number`, for which a line can be written."""
        try:
            line = encode(record)
        except UnicodeEncodeError:  # half of a surrogate pair, where a program has cut a text
            line = encode(msgspec.convert(_whole(msgspec.to_builtins(record)), type(record)))
        except (TypeError, ValueError, RecursionError) as error:
            raise TraceError(self._name, number, str(error)) from None
        record = decode(line, self._name, number)
        self._assembler.add(record)
        self._records.append(record)

    def trace(self, about: str) -> Trace:
        """Returns the trace."""
        header = Header(name=self._name, about=about or "converted from a log", recorded="")
        return Trace(header, tuple(self._records))


def _whole(value: Any) -> Any:
    """Returns JSON data with U+FFFD for each half of a surrogate pair, which UTF-8 cannot write."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, Mapping):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list | tuple) else value


def _goes_on(before: Sequence[Any], messages: Sequence[Any]) -> bool:
    """Says whether messages begin with all of the earlier ones, their first one aside, and go on."""
    return len(messages) > len(before) > 1 and common(before[1:], messages[1:]) == len(before) - 1


def _seconds(entry: Mapping[str, Any], key: str, otherwise: float, name: str, number: int) -> float:
    value = entry.get(key)
    if value is None:
        return otherwise
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TraceError(name, number, f"{key} should be a number of seconds, and is {value!r}")
    return float(value)


def _response(request: str, time: float, seconds: float, answer: Any, name: str, number: int) -> Response:
    if not isinstance(answer, Mapping):
        raise TraceError(name, number, f"response is {type(answer).__name__}, not an object")
    error = answer if answer.get("object") == "error" else answer.get("error")  # older vLLM has no object around it
    if error:
        return Response(request=request, time=time + seconds, seconds=seconds, error=_error(error))
    choices = answer.get("choices")
    if not isinstance(choices, Sequence) or not choices or not isinstance(choices[0], Mapping):
        raise TraceError(name, number, "response has neither choices nor an error")
    message = _field(choices[0], "message", dict, name, number)
    try:
        usage = _usage(answer.get("usage"))
    except (TypeError, ValueError) as wrong:
        raise TraceError(name, number, f"usage: {wrong}") from None
    return Response(request=request, time=time + seconds, seconds=seconds, message=message, usage=usage)


def _error(error: Any) -> str:
    """Returns an error as "type: text"."""
    if not isinstance(error, Mapping):
        return str(error)
    kind, text = error.get("type") or error.get("code"), error.get("message")
    return ": ".join(str(part) for part in (kind, text) if part) or str(error)


def _usage(counted: Any) -> Usage | None:
    """Reads what OpenAI, vLLM or Anthropic call it; what is not there stays unknown."""
    if counted is None:
        return None
    if not isinstance(counted, Mapping):
        raise TypeError(f"an object is expected, not {type(counted).__name__}")
    wrong = [key for key in _COUNTS if not isinstance(counted.get(key, 0), int | None)]
    if wrong:
        raise TypeError(f"{wrong[0]} is {counted[wrong[0]]!r}, not a number of tokens")
    if "prompt_tokens" in counted:
        details = _details(counted, "prompt_tokens_details")
        return Usage(
            input_tokens=counted["prompt_tokens"],
            cached_tokens=details.get("cached_tokens"),
            output_tokens=counted.get("completion_tokens"),
        )
    read, written = counted.get("cache_read_input_tokens"), counted.get("cache_creation_input_tokens")
    if read is None and written is None:
        details = _details(counted, "input_tokens_details")
        return Usage(
            input_tokens=counted.get("input_tokens"),
            cached_tokens=details.get("cached_tokens"),
            output_tokens=counted.get("output_tokens"),
        )
    # Anthropic counts what was neither read from the cache nor written to it.
    rest = counted.get("input_tokens")
    return Usage(
        input_tokens=None if rest is None else rest + (read or 0) + (written or 0),
        cached_tokens=read,
        written_tokens=written,
        output_tokens=counted.get("output_tokens"),
    )


def _details(counted: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    details = counted.get(key)
    return details if isinstance(details, Mapping) else {}


def _entries(log: str | Iterable[Mapping[str, Any]], name: str) -> Iterable[Mapping[str, Any]]:
    if not isinstance(log, str):
        yield from log
        return
    for number, line in enumerate(log.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TraceError(name, number, f"not JSON ({error}): {line[:60]!r}") from None
        if not isinstance(entry, dict):
            raise TraceError(name, number, f"an object is expected, not {type(entry).__name__}")
        yield entry


def _messages(body: Mapping[str, Any], name: str, number: int) -> list[dict[str, Any]]:
    messages = _field(body, "messages", list, name, number)
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise TraceError(name, number, f"message {index} has no role")
    return list(messages)


def _field(value: Mapping[str, Any], key: str, kind: type, name: str, number: int) -> Any:
    if not isinstance(value.get(key), kind):
        found = type(value[key]).__name__ if key in value else "missing"
        raise TraceError(name, number, f"{key} should be {kind.__name__}, and is {found}")
    return value[key]
