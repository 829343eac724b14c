"""Compilers in a process of their own, and what they have made, kept on disk.

A compiler may abort the process that it runs in, so it runs in another one, whose end is a message. That process is
started when it is first needed, and lives on: to import a compiler takes a second or more. What it answers is kept in
the user's cache, under a hash of all that the answer comes of.
"""

import atexit
import base64
import hashlib
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from workbook import model_store
from workbook.gpu.code import CompileError, NotRunError

Value = str | int | float | bytes | bool | None
Question = Mapping[str, Any]
Answer = dict[str, Value]

SECONDS = 300.0
"""In which a compiler must have answered, unless told otherwise."""

MAX_TEXT = 4000
"""Characters of what a compiler that crashed has said last."""

_PROJECT = Path(__file__).parents[2]
_WAITING = 1.0  # seconds that the process has for its end, once nobody asks any more


def compiled(entry: str, question: Question, versions: Mapping[str, str], *, seconds: float = SECONDS) -> Answer:
    """Puts a question to a compiler, or finds the answer that it once gave.

    Args:
        entry: "module:function", a function that takes the question and returns the answer. It is called in the other
            process, where its module is imported then. It raises CompileError or NotRunError; another exception is a
            CompileError too.
        question: JSON data, with all that the answer comes of, whole texts included. Paths in it are no part of them.
        versions: Of the compilers. With them, and with the source of the entry's module, the answer is kept.
        seconds: In which the answer must come.

    Returns:
        What the function returns: texts, numbers, bytes, by name.

    Raises:
        CompileError: The compiler refuses it, crashes, or takes too long.
        NotRunError: The compiler is missing.
    """
    kept = _place(entry, question, versions)
    if (answer := _read(kept)) is not None:
        return answer
    answer = ask(entry, question, seconds=seconds)
    with suppress(OSError):  # a full disk or a home that cannot be written: then it is compiled again
        _write(kept, answer)
    return answer


def ask(entry: str, question: Question, *, seconds: float = SECONDS) -> Answer:
    """Puts a question to a compiler, as `compiled` does, and keeps nothing on disk."""
    global _process  # noqa: PLW0603 - one a Python process
    with _asking:
        if _process is not None and not _process.usable():
            _forget()
        if _process is None:
            _process = _Process()
            atexit.register(_process.close)
        try:
            return _process.ask(entry, question, seconds)
        except (CompileError, NotRunError) as error:
            if _process.ended:
                _forget()
            raise error from None
        except BaseException:  # a Ctrl-C: what it would answer next belongs to this question
            _forget()
            raise


def folder() -> Path:
    """Returns where answers are kept; it need not exist."""
    return model_store.store().parent / "compiled"


def serve(descriptor: int) -> None:
    """What runs in the other process: answers questions until nobody asks any more."""
    connection = Connection(descriptor)
    with suppress(EOFError):
        while True:
            asked = json.loads(connection.recv_bytes())
            connection.send_bytes(json.dumps(_answer(asked["entry"], asked["question"])).encode())


def _answer(entry: str, question: Question) -> dict[str, Any]:
    try:
        module, name = entry.split(":")
        return {"value": _packed(getattr(importlib.import_module(module), name)(question))}
    except NotRunError as error:
        return {"not run": str(error)}
    except CompileError as error:
        return {"error": str(error)}
    except Exception as error:  # noqa: BLE001 - it is the answer
        return {"error": f"{type(error).__name__}: {error}"}


class _Process:
    """The process that compilers run in.

    Attributes:
        ended: Whether it has.
    """

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self._owner = os.getpid()
        self.ended = False
        code = f"from workbook.gpu.compiling import serve; serve({theirs.fileno()})"
        path = os.pathsep.join(filter(None, [str(_PROJECT), os.environ.get("PYTHONPATH")]))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,  # a Ctrl-C is for the notebook
            )

    def usable(self) -> bool:
        """Returns whether it can be asked: it runs, and is no other's, of which this process is a fork."""
        return self._owner == os.getpid() and self._process.poll() is None

    def ask(self, entry: str, question: Question, seconds: float) -> Answer:
        self._said.truncate(0)
        self._said.seek(0)
        try:
            self._connection.send_bytes(json.dumps({"entry": entry, "question": question}).encode())
            if not self._connection.poll(seconds):
                self.ended = True
                raise CompileError(f"the compiler took more than {seconds:g} s")
            answer = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            self.ended = True
            raise CompileError(f"the compiler crashed: {self._end()}") from error
        if "not run" in answer:
            raise NotRunError(answer["not run"])
        if "error" in answer:
            raise CompileError(answer["error"])
        return _unpacked(answer["value"])

    def _end(self) -> str:
        """Returns how it has ended, and what it has said last."""
        code = self._process.wait()
        how = f"exit status {code}"
        with suppress(ValueError):
            how = signal.Signals(-code).name
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip()
        return "\n".join(filter(None, [how, said[-MAX_TEXT:]]))

    def close(self) -> None:
        """Ends it, unless it is the one of the process that this is a fork of."""
        if self._owner != os.getpid():
            return
        self._connection.close()
        try:
            self._process.wait(0 if self.ended else _WAITING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()


_process: _Process | None = None
_asking = threading.Lock()


def _forget() -> None:
    """Ends the process; the next question starts another."""
    global _process  # noqa: PLW0603 - one a Python process
    assert _process is not None
    _process.ended = True
    atexit.unregister(_process.close)
    _process.close()
    _process = None


def _place(entry: str, question: Question, versions: Mapping[str, str]) -> Path:
    compiler = inspect.getsource(importlib.import_module(entry.split(":")[0]))
    what = json.dumps([entry, compiler, dict(versions), question], sort_keys=True)
    name = hashlib.sha256(what.encode()).hexdigest()
    return folder() / name[:2] / name[2:]


def _read(path: Path) -> Answer | None:
    """Returns the answer in a file; None where there is none that is whole."""
    try:
        digest, data = path.read_bytes().split(b"\n", 1)
        if digest.decode() == hashlib.sha256(data).hexdigest():
            return _unpacked(json.loads(data))
    except (OSError, ValueError):
        pass
    return None


def _write(path: Path, answer: Answer) -> None:
    """Writes an answer to a file, in one step: two processes may do so at once, or be killed."""
    data = json.dumps(_packed(answer)).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def _packed(answer: Answer) -> dict[str, Any]:
    """Returns an answer as JSON data."""
    return {
        name: {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for name, value in answer.items()
    }


def _unpacked(data: dict[str, Any]) -> Answer:
    return {
        name: base64.b64decode(value["bytes"]) if isinstance(value, dict) else value for name, value in data.items()
    }
