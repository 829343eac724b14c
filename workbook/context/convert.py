"""Logs that others keep, as traces: bring your own.

Two forms are read, both OpenAI's chat completions or what speaks like them:

- *Exchanges*: one request and its response each, `{"request": {"messages": …, "tools": …, "model": …},
  "response": {"choices": …, "usage": …}}`. What the engine counted is kept. `run` (else `conversation_id` or
  `session_id`), `time` and `seconds` are taken where an exchange has them.
- *Conversations*: whole ones, `{"messages": …, "tools": …}`. Each message of the assistant is taken for the answer to
  all that stands before it, which assumes that the agent only appended; there is no usage.

A log is a list of them, or text with one a line. What is made of it is a `Trace`: write it with `write_trace`.
`read_log` reads a file of either form, or a trace.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbook.context.trace import (
    Header,
    Record,
    Request,
    Response,
    Run,
    Trace,
    TraceError,
    Usage,
    assemble,
    common,
    parse_trace,
)

_RUN_KEYS = ("run", "conversation_id", "session_id")


def read_log(path: Path) -> Trace:
    """Reads a trace, or a log of which it makes one; the first line says which it is.

    Args:
        path: The file; a name that ends in `.gz` is decompressed.

    Raises:
        TraceError: It is neither, or a line of it is wrong.
        OSError: It cannot be read.
    """
    path = Path(path)
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data.decode()
    except (EOFError, UnicodeDecodeError, zlib.error) as error:
        raise TraceError(path.name, 1, f"this is no log: {error}") from None
    try:
        first = json.loads(text.partition("\n")[0])
    except ValueError:
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
    of an earlier one's first two (system and task, as a rule) belongs to the same run.

    Raises:
        TraceError: An entry is not of this form; `line` is its number, from 1.
    """
    records = list[Record]()
    last = dict[str, tuple[str, list[Any]]]()
    runs = dict[str, str]()
    for number, entry in enumerate(_entries(log, name), 1):
        body = _field(entry, "request", dict, name, number)
        messages = _messages(body, name, number)
        key = next((str(entry[key]) for key in _RUN_KEYS if key in entry), None)
        key = json.dumps(messages[:2], sort_keys=True) if key is None else key
        time = float(entry.get("time", number))
        if key not in runs:
            runs[key] = f"run-{len(runs) + 1}"
            records.append(Run(run=runs[key], time=time))
        run, request = runs[key], f"{runs[key]}/{number}"
        after, before = last.get(run, (None, []))
        keep = common(before, messages)
        model = str(body.get("model", ""))
        records.append(
            Request(
                run=run,
                id=request,
                time=time,
                after=after,
                keep=keep,
                messages=messages[keep:],
                tools=list(body.get("tools") or []),
                model=model,
            )
        )
        last[run] = request, messages
        if (answer := entry.get("response")) is not None:
            records.append(_response(request, time, float(entry.get("seconds", 0.0)), answer, name, number))
    return _trace(records, name, about)


def from_conversations(
    log: str | Iterable[Mapping[str, Any]], *, name: str = "conversations", about: str = ""
) -> Trace:
    """Makes a trace of whole conversations, each a run.

    Raises:
        TraceError: An entry is not of this form; `line` is its number, from 1.
    """
    records = list[Record]()
    time = 0.0
    for number, entry in enumerate(_entries(log, name), 1):
        messages, run = _messages(entry, name, number), f"run-{number}"
        records.append(Run(run=run, time=time))
        after, sent = None, 0
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            request, time = f"{run}/{index}", time + 1
            tools = list(entry.get("tools") or []) if after is None else None
            new = messages[sent:index]
            records.append(Request(run=run, id=request, time=time, after=after, keep=sent, messages=new, tools=tools))
            records.append(Response(request=request, time=time, seconds=0.0, message=message))
            after, sent = request, index
    return _trace(records, name, about)


def _trace(records: list[Record], name: str, about: str) -> Trace:
    assemble(records)  # what is made here can be read again
    return Trace(Header(name=name, about=about or "converted from a log", recorded=""), tuple(records))


def _response(request: str, time: float, seconds: float, answer: Any, name: str, number: int) -> Response:
    if not isinstance(answer, Mapping):
        raise TraceError(name, number, f"response is {type(answer).__name__}, not an object")
    if answer.get("error"):
        return Response(request=request, time=time + seconds, seconds=seconds, error=str(answer["error"]))
    choices = answer.get("choices")
    if not isinstance(choices, Sequence) or not choices or not isinstance(choices[0], Mapping):
        raise TraceError(name, number, "response has neither choices nor an error")
    message = _field(choices[0], "message", dict, name, number)
    try:
        usage = _usage(answer.get("usage"))
    except (TypeError, ValueError) as error:
        raise TraceError(name, number, f"usage: {error}") from None
    return Response(request=request, time=time + seconds, seconds=seconds, message=message, usage=usage)


def _usage(counted: Mapping[str, Any] | None) -> Usage | None:
    """Reads what OpenAI, vLLM or Anthropic call it; what is not there stays unknown."""
    if counted is None:
        return None
    if "prompt_tokens" in counted:
        details = counted.get("prompt_tokens_details") or {}
        return Usage(
            input_tokens=counted["prompt_tokens"],
            cached_tokens=details.get("cached_tokens"),
            output_tokens=counted.get("completion_tokens"),
        )
    read, written = counted.get("cache_read_input_tokens"), counted.get("cache_creation_input_tokens")
    if read is None and written is None:
        details = counted.get("input_tokens_details") or {}
        return Usage(
            input_tokens=counted.get("input_tokens"),
            cached_tokens=details.get("cached_tokens"),
            output_tokens=counted.get("output_tokens"),
        )
    # Anthropic counts what was neither read from the cache nor written to it.
    return Usage(
        input_tokens=counted["input_tokens"] + (read or 0) + (written or 0),
        cached_tokens=read,
        written_tokens=written,
        output_tokens=counted.get("output_tokens"),
    )


def _entries(log: str | Iterable[Mapping[str, Any]], name: str) -> Iterable[Mapping[str, Any]]:
    if not isinstance(log, str):
        yield from log
        return
    for number, line in enumerate(log.splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError as error:
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
