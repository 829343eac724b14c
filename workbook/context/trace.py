"""Traces: what an agent sent, what came back and what its tools did, one JSON object a line.

    trace = read_trace(Path("data/traces/repository-agent.jsonl"))
    for step in trace.steps():
        step.messages, step.response, step.tools_run

The first line is a `Header`, which says where the trace comes from. Each further line is a record of one of the kinds
`run`, `request`, `response`, `tool` and `end`; `data/README.md` describes their fields, and the classes here are that
description as types. Records of several runs may be interleaved. Seconds count from the start of the recording.

A context that is sent again and again makes a log quadratic, so a request holds only what is new: it names the request
from which it goes on (`after`), how many of that one's messages it keeps (`keep`), and those that follow. An agent that
only appends keeps them all; one that edits its history keeps fewer, and the trace shows that.

A recorder that was killed leaves a last line without its end. `read_trace` leaves it out and says so in `Trace.cut`;
whatever else is wrong raises `TraceError` with the number of the line.
"""

import gzip
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

FORMAT = "workbook-trace/1"
Message = Mapping[str, Any]


class TraceError(ValueError):
    """A trace cannot be read; the message says which line is wrong, and how.

    Attributes:
        line: The number of the line, from 1.
    """

    def __init__(self, path: object, line: int, what: str) -> None:
        self.line = line
        super().__init__(f"{path}, line {line}: {what}")


class _Record(msgspec.Struct, tag_field="kind", forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A line of a trace; its class is its kind."""


class Header(_Record, tag="trace", omit_defaults=False, kw_only=True):
    """The first line: what this is and where it comes from.

    Attributes:
        format: "workbook-trace/1".
        name: A short name.
        about: What was recorded, and how, for people; what is real in it and what is not.
        recorded: When the recording began, ISO 8601.
        source: Whatever belongs to its provenance: program, version, commit, seed, licence.
    """

    format: str = FORMAT
    name: str
    about: str
    recorded: str
    source: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"the format is {self.format!r}, and this reads {FORMAT!r}")


class Run(_Record, tag="run"):
    """A run begins: one task, from its start to its end."""

    run: str
    time: float
    task: str = ""
    agent: str = ""


class Request(_Record, tag="request"):
    """A context was sent to a model.

    Attributes:
        run: The run it belongs to.
        id: Its name, which no other request has.
        time: When it was sent.
        after: The request of the same run that its context goes on from; None where it starts anew.
        keep: How many of that one's messages (or tokens) it begins with.
        messages: What follows them.
        tokens: The same as token ids, for traces that have no text.
        tools: Tool definitions; None where they are those of `after`.
        model: Who was asked.
        server: Which instance answered, where there are several.
        retry_of: The first attempt at the same request, where this is a further one.
    """

    run: str
    id: str
    time: float
    after: str | None = None
    keep: int = 0
    messages: list[dict[str, Any]] | None = None
    tokens: list[int] | None = None
    tools: list[dict[str, Any]] | None = None
    model: str = ""
    server: str = ""
    retry_of: str | None = None


class Usage(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What the engine counted; None is what it did not say, which is not 0.

    Attributes:
        input_tokens: All tokens of the prompt, the cached ones among them.
        cached_tokens: Those that were read from the prefix cache.
        written_tokens: Those that were written to it, where writing is counted.
        output_tokens: Tokens generated.
    """

    input_tokens: int | None = None
    cached_tokens: int | None = None
    written_tokens: int | None = None
    output_tokens: int | None = None

    def __post_init__(self) -> None:
        parts = (self.cached_tokens or 0) + (self.written_tokens or 0)
        if min(self.input_tokens or 0, self.cached_tokens or 0, self.written_tokens or 0, self.output_tokens or 0) < 0:
            raise ValueError("a number of tokens is negative")
        if self.input_tokens is not None and parts > self.input_tokens:
            raise ValueError(f"{parts} cached and written tokens are more than the {self.input_tokens} of the prompt")


class Response(_Record, tag="response"):
    """What came back, or why nothing did.

    Attributes:
        request: The request that it answers.
        time: When it was complete.
        seconds: How long it took.
        message: The assistant's message.
        usage: What was counted.
        error: What went wrong, "type: text"; None where nothing did.
    """

    request: str
    time: float
    seconds: float
    message: dict[str, Any] | None = None
    usage: Usage | None = None
    error: str | None = None


class File(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A file that a tool used: `how` is "list", "read", "search", "write" or "run"."""

    path: str
    how: str


class Tool(_Record, tag="tool"):
    """A tool was executed. What it answered stands in the next request, as the message of role "tool".

    Attributes:
        run: The run it belongs to.
        id: The name of this execution, which no other one has.
        call: The id that the model gave the call; an execution that is tried again has the same one.
        name: The tool.
        time: When it began.
        seconds: How long it took.
        request: The request whose response asked for it.
        arguments: What it was called with.
        result_bytes: The length of what it answered.
        error: What went wrong, "type: text"; None where nothing did.
        files: The files that it used.
    """

    run: str
    id: str
    name: str
    time: float
    seconds: float
    call: str = ""
    request: str | None = None
    arguments: dict[str, Any] = {}
    result_bytes: int | None = None
    error: str | None = None
    files: list[File] = []


class End(_Record, tag="end"):
    """A run has ended: `outcome` is "done", or why it was given up."""

    run: str
    time: float
    outcome: str = "done"


Record = Run | Request | Response | Tool | End


@dataclass
class Step:
    """A request with all that belongs to it.

    Attributes:
        request: As it was recorded.
        messages: The whole context, in the order in which it was sent. Messages that steps share are the same objects.
        tokens: The same as token ids; None where the trace has text.
        tools: The tool definitions sent with it.
        response: What came back; None where the recording ended before.
        tools_run: The executions that its response asked for.
    """

    request: Request
    messages: list[dict[str, Any]]
    tokens: list[int] | None
    tools: list[dict[str, Any]]
    response: Response | None = None
    tools_run: list[Tool] = field(default_factory=list)


@dataclass(frozen=True)
class Trace:
    """A trace that has been read.

    Attributes:
        header: Its first line.
        records: All others, in the order in which they were written.
        cut: What is missing at its end, in words; None where it is whole.
    """

    header: Header
    records: tuple[Record, ...]
    cut: str | None = None

    @property
    def runs(self) -> tuple[str, ...]:
        """The names of the runs, in the order in which they began."""
        return tuple(record.run for record in self.records if isinstance(record, Run))

    def steps(self, run: str | None = None) -> list[Step]:
        """Returns the requests, of one run or of all, each with its whole context."""
        steps = assemble(self.records)
        return [step for step in steps if run is None or step.request.run == run]


class Assembler:
    """Puts records together to steps, and finds what does not fit; `read_trace` and `assemble` use it."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}
        self._runs: set[str] = set()
        self._executions: set[str] = set()

    def add(self, record: Record) -> None:
        """Takes the next record.

        Raises:
            ValueError: It does not fit those before it; the message says why.
        """
        if isinstance(record, Run):
            if record.run in self._runs:
                raise ValueError(f"the run {record.run!r} has begun before")
            self._runs.add(record.run)
        elif isinstance(record, Response):
            step = self._step(record.request)
            if step.response is not None:
                raise ValueError(f"the request {record.request!r} has a response already")
            step.response = record
        else:
            if record.run not in self._runs:
                raise ValueError(f"the run {record.run!r} has not begun")
            if isinstance(record, Request):
                self._request(record)
            elif isinstance(record, Tool):
                if record.id in self._executions:
                    raise ValueError(f"two executions are called {record.id!r}")
                self._executions.add(record.id)
                if record.request is not None:
                    self._step(record.request).tools_run.append(record)

    def _step(self, request: str) -> Step:
        if request not in self.steps:
            raise ValueError(f"there is no request {request!r} before this")
        return self.steps[request]

    def _request(self, record: Request) -> None:
        if record.id in self.steps:
            raise ValueError(f"two requests are called {record.id!r}")
        if (record.messages is None) == (record.tokens is None):
            raise ValueError("a request has either messages or tokens")
        messages, tokens, tools = list[dict[str, Any]](), list[int](), list[dict[str, Any]]()
        if record.after is not None:
            before = self._step(record.after)
            if before.request.run != record.run:
                raise ValueError(f"the request {record.after!r}, which it goes on from, is another run's")
            kept = before.messages if record.tokens is None else (before.tokens or [])
            if not 0 <= record.keep <= len(kept):
                raise ValueError(f"keep is {record.keep}, and the request {record.after!r} has {len(kept)}")
            messages, tokens, tools = before.messages[: record.keep], (before.tokens or [])[: record.keep], before.tools
        elif record.keep:
            raise ValueError("keep is given, but not after")
        self.steps[record.id] = Step(
            record,
            messages + record.messages if record.messages is not None else [],
            tokens + record.tokens if record.tokens is not None else None,
            tools if record.tools is None else record.tools,
        )


def assemble(records: Iterable[Record]) -> list[Step]:
    """Puts records together to steps, in the order in which the requests were sent.

    Raises:
        ValueError: A record does not fit those before it.
    """
    assembler = Assembler()
    for record in records:
        assembler.add(record)
    return list(assembler.steps.values())


def read_trace(path: Path) -> Trace:
    """Reads a trace; a name that ends in `.gz` is decompressed.

    Raises:
        TraceError: A line is no record, or does not fit those before it; or a compressed file is damaged. A last line
            that was cut is no error.
        OSError: The file cannot be read.
    """
    return parse_trace(read_bytes(path), Path(path).name)


def read_bytes(path: Path) -> bytes:
    """Returns what a file holds, decompressed where its name ends in `.gz`.

    Raises:
        TraceError: It was compressed, and is damaged or cut.
        OSError: It cannot be read.
    """
    path = Path(path)
    data = path.read_bytes()
    try:
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(path.name, 1, f"the compressed file is damaged: {error}") from None


def parse_trace(data: bytes, name: str = "trace") -> Trace:
    """Reads a trace from its bytes; `name` stands in messages.

    Raises:
        TraceError: A line is no record, or does not fit those before it.
    """
    lines = data.split(b"\n")
    rest = lines.pop()
    if not lines:
        raise TraceError(name, 1, "there is no whole line" if rest else "the file is empty")
    header = _decode(_HEADER, lines[0], name, 1)
    assembler, records = Assembler(), list[Record]()
    for number, line in enumerate(lines[1:], 2):
        record = decode(line, name, number)
        try:
            assembler.add(record)
        except ValueError as error:
            raise TraceError(name, number, str(error)) from None
        records.append(record)
    cut = f"the last line, {len(lines) + 1}, was cut after {len(rest)} bytes and is left out" if rest else None
    return Trace(header, tuple(records), cut)


def write_trace(path: Path, trace: Trace) -> None:
    """Writes a trace; a name that ends in `.gz` is compressed.

    Raises:
        OSError: It cannot be written.
    """
    path = Path(path)
    data = b"".join(encode(record) for record in (trace.header, *trace.records))
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def encode(record: Header | Record) -> bytes:
    """Returns a record as its line."""
    return msgspec.json.encode(record) + b"\n"


def common(before: Sequence[Any], after: Sequence[Any]) -> int:
    """Returns how many items two lists have in common at their beginning."""
    for index, (one, other) in enumerate(zip(before, after, strict=False)):
        if one is not other and one != other:
            return index
    return min(len(before), len(after))


_HEADER = msgspec.json.Decoder(Header)
_RECORD = msgspec.json.Decoder(Record)


def decode(line: bytes, name: str, number: int) -> Record:
    """Returns the record that a line holds.

    Raises:
        TraceError: It holds none; `name` and `number` say where it stands.
    """
    record: Record = _decode(_RECORD, line, name, number)
    return record


def _decode(decoder: msgspec.json.Decoder[Any], line: bytes, name: str, number: int) -> Any:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        shown = line[:60].decode(errors="replace")
        raise TraceError(name, number, f"{error}: {shown!r}" if line.strip() else "the line is empty") from None
