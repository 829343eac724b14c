"""The kinds of events in a session's log, and what can be read from them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from workbook.sandbox.service.file_history import FileHistory
from workbook.sandbox.service.store import Event

CREATED = "session.created"  # seed, key
CONTEXT_OPENED = "context.opened"  # context; of one that was there before: its state is lost
CONTEXT_RESTORED = "context.restored"  # context, cells that were executed again, those that ended otherwise
CONTEXT_ENDED = "context.ended"  # context, reason
CELL_STARTED = "cell.started"  # cell, context, code, timeout, key
CELL_FINISHED = "cell.finished"  # cell, context, result or its blob, how it ended, changed and removed files
CALL_STARTED = "call.started"  # call, name, arguments, and of a cell's: cell, number
CALL_FINISHED = "call.finished"  # call, value or error, blobs
FILE_CHANGED = "file.changed"  # changed and removed files, by the files interface: key, digest of what was asked, value
PROGRAM_STARTED = "program.started"  # program, command, key with a digest of what was asked
PROGRAM_ENDED = "program.ended"  # program, status, whether it could not be started
CHECKPOINT = "checkpoint"  # contexts with their blobs, all files
RESTORED = "session.restored"  # node, seconds, cells that were executed again, those that ended otherwise
CLOSED = "session.closed"  # reason


@dataclass
class DoneCell:
    """A cell that came to its end.

    Attributes:
        cell: Its id.
        context: Where it was executed.
        code: Its source.
        timeout: Its limit, in seconds.
        files: The place of the workspace's history at which it began.
        calls: What its calls gave, by number: name, arguments, outcome event.
        result: What was acknowledged, as JSON.
        blob: Where the result is instead, if it is large.
        status: How it came to its end.
        seconds: What it took.
        interrupted: Whether it was: executed again, it is interrupted after as long.
        ended: Whether the context's process ended in it: it is no part of the context's state.
    """

    cell: str
    context: str
    code: str
    timeout: float
    files: int
    calls: dict[int, "DoneCall"]
    result: dict[str, Any] | None = None
    blob: str = ""
    status: str = "ok"
    seconds: float = 0.0
    interrupted: bool = False
    ended: bool = False


@dataclass
class DoneCall:
    """A call that was begun.

    Attributes:
        name: What was asked for.
        arguments: With what.
        value: What was answered.
        error: What went wrong, instead.
        blobs: Names of blobs of the answer.
        finished: Whether it came to its end; nobody knows what the others have brought about.
    """

    name: str
    arguments: dict[str, Any]
    value: Any = None
    error: str = ""
    blobs: tuple[str, ...] = ()
    finished: bool = False


@dataclass
class History:
    """What a log says of a session.

    Attributes:
        seed: Of its random numbers.
        contexts: Those that are open, in order, each with the cells that made its state.
        gone: Contexts whose state could not be brought back, of which no result has told yet.
        checkpoints: Of contexts, the blob with their state before the first of these cells.
        files: The workspace.
        by_key: Cells that have an idempotency key, by key; those that did not come to their end too, as None.
        codes_by_key: What was executed with each key.
        calls_by_key: Calls of cells that did not come to their end, by the cell's key.
        own_calls: Calls that the caller itself has made, by their number.
        files_by_key: Changes of files that have an idempotency key, by key: digest of what was asked, and the answer.
        programs: Commands of programs that have not ended, by name.
        programs_by_key: Programs that have an idempotency key, by key: name, command, digest of what was asked.
        statuses: Exit statuses of programs that have ended, by name; None where nobody knows it.
        last: The number of the last event.
        cells: How many cells were started.
    """

    seed: int = 0
    contexts: dict[str, list[DoneCell]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    checkpoints: dict[str, str] = field(default_factory=dict)
    files: FileHistory = field(default_factory=FileHistory)
    by_key: dict[str, DoneCell | None] = field(default_factory=dict)
    codes_by_key: dict[str, str] = field(default_factory=dict)
    calls_by_key: dict[str, dict[int, DoneCall]] = field(default_factory=dict)
    own_calls: dict[str, DoneCall] = field(default_factory=dict)
    files_by_key: dict[str, tuple[str, Any]] = field(default_factory=dict)
    programs: dict[str, list[str]] = field(default_factory=dict)
    programs_by_key: dict[str, tuple[str, list[str], str]] = field(default_factory=dict)
    statuses: dict[str, int | None] = field(default_factory=dict)
    last: int = 0
    cells: int = 0


def read(events: Sequence[Event]) -> History:
    """Reads a log from its beginning."""
    history = History()
    started: dict[str, tuple[Event, int]] = {}  # with the place of the workspace's history
    calls: dict[str, DoneCall] = {}
    of_cell: dict[str, dict[int, DoneCall]] = {}
    for event in events:
        data, history.last = event.data, event.seq
        match event.kind:
            case "session.created":
                history.seed = data["seed"]
            case "context.opened":
                if data["context"] in history.contexts:
                    history.gone.add(data["context"])
                history.contexts[data["context"]] = []
                history.checkpoints.pop(data["context"], None)
            case "context.ended":
                history.contexts.pop(data["context"], None)
                history.checkpoints.pop(data["context"], None)
                history.gone.discard(data["context"])
            case "cell.started":
                started[data["cell"]] = event, history.files.place
                history.cells += 1
                if key := data.get("key"):
                    history.by_key.setdefault(key, None)
                    history.codes_by_key[key] = data["code"]
                    of_cell[data["cell"]] = history.calls_by_key.setdefault(key, {})
            case "call.started":
                calls[data["call"]] = call = DoneCall(data["name"], data["arguments"])
                if cell := data.get("cell"):
                    of_cell.setdefault(cell, {})[data["number"]] = call
                else:
                    history.own_calls[data["call"]] = call
            case "call.finished":
                call = calls[data["call"]]
                call.value, call.error = data.get("value"), data.get("error", "")
                call.blobs, call.finished = event.blobs, True
            case "cell.finished":
                event_before, place = started[data["cell"]]
                begun = event_before.data
                done = DoneCell(
                    data["cell"],
                    begun["context"],
                    begun["code"],
                    begun["timeout"],
                    place,
                    of_cell.get(data["cell"], {}),
                    data.get("result"),
                    data.get("blob", ""),
                    data["status"],
                    data["seconds"],
                    data["interrupted"],
                    data["ended"],
                )
                if begun.get("key"):
                    history.by_key[begun["key"]] = done
                history.gone.discard(begun["context"])
                if begun["context"] in history.contexts and not done.ended:
                    history.contexts[begun["context"]].append(done)
                history.files.note(data)
            case "file.changed":
                history.files.note(data)
                if key := data.get("key"):
                    history.files_by_key[key] = data["asked"], data["value"]
            case "program.started":
                history.programs[data["program"]] = data["command"]
                if key := data.get("key"):
                    history.programs_by_key[key] = data["program"], data["command"], data["asked"]
            case "program.ended":
                history.programs.pop(data["program"], None)
                history.statuses[data["program"]] = data["status"]
                if data.get("failed"):
                    for key in [one for one, (name, *_) in history.programs_by_key.items() if name == data["program"]]:
                        del history.programs_by_key[key]
            case "checkpoint":
                for context, blob in data["contexts"].items():
                    history.contexts[context] = []
                    history.checkpoints[context] = blob
    return history
