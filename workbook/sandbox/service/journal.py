"""The kinds of events in a session's log, and what can be read from them."""

import hashlib
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
        files_after: The place at which it had come to its end.
        calls: What its calls gave, by number: name, arguments, outcome event.
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
    status: str = "ok"
    seconds: float = 0.0
    interrupted: bool = False
    ended: bool = False
    files_after: int = 0


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
        by_key: Of cells that have an idempotency key, by key, the place of their end; None where there was none.
        codes_by_key: A digest of what was executed with each key.
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
    by_key: dict[str, int | None] = field(default_factory=dict)
    codes_by_key: dict[str, str] = field(default_factory=dict)
    calls_by_key: dict[str, dict[int, DoneCall]] = field(default_factory=dict)
    own_calls: dict[str, DoneCall] = field(default_factory=dict)
    files_by_key: dict[str, tuple[str, Any]] = field(default_factory=dict)
    programs: dict[str, list[str]] = field(default_factory=dict)
    programs_by_key: dict[str, tuple[str, list[str], str]] = field(default_factory=dict)
    statuses: dict[str, int | None] = field(default_factory=dict)
    last: int = 0
    cells: int = 0

    def forget(self, context: str) -> None:
        """Forgets a context, which has ended."""
        self.contexts.pop(context, None)
        self.checkpoints.pop(context, None)
        self.gone.discard(context)


def read(events: Sequence[Event]) -> History:
    """Reads a log from its beginning."""
    history = History()
    # With the place of the workspace's history, and the cells of the context that it was then.
    started: dict[str, tuple[Event, int, list[DoneCell] | None]] = {}
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
                history.forget(data["context"])
            case "cell.started":
                started[data["cell"]] = event, history.files.place, history.contexts.get(data["context"])
                history.cells += 1
                if key := data.get("key"):
                    history.by_key.setdefault(key, None)
                    history.codes_by_key[key] = digest(data["code"])
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
                history.files.note(data)
                if data["cell"] not in started:  # written down twice, since the store did not say that it was
                    continue
                event_before, place, cells = started.pop(data["cell"])
                begun = event_before.data
                if begun.get("key"):
                    history.by_key[begun["key"]] = event.seq
                if cells is None or history.contexts.get(begun["context"]) is not cells:
                    continue  # the context has ended meanwhile; another may have its name by now
                done = DoneCell(
                    data["cell"],
                    begun["context"],
                    begun["code"],
                    begun["timeout"],
                    place,
                    of_cell.get(data["cell"], {}),
                    data["status"],
                    data["seconds"],
                    data["interrupted"],
                    data["ended"],
                    history.files.place,
                )
                history.gone.discard(begun["context"])
                if not done.ended:
                    cells.append(done)
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
                    if context in history.contexts:  # it has not ended meanwhile
                        history.contexts[context] = []
                        history.checkpoints[context] = blob
    return history


def digest(text: str) -> str:
    """Returns what tells apart what was asked for: the code of cells, programs."""
    return hashlib.sha256(text.encode()).hexdigest()
