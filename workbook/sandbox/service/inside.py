"""The entry module of a session's box: its contexts, its files, its processes. It runs inside, so it decides nothing.

    service --channel--> supervisor (this module) --socket pair--> context (a fork with an IPython shell)
                                                  --pipes--------> process

A context is a fork of the supervisor: all of them share the workspace, and none has the other's variables. The
supervisor runs no code of the session, but is of the same user as what does: whatever it says is the session's word.
"""

import errno
import os
import random
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from workbook.sandbox.isolation.channel import Channel, ChannelClosed, ChannelError
from workbook.sandbox.isolation.shell import HostLine, Shell
from workbook.sandbox.service import calls
from workbook.sandbox.service.workspace import Workspace

_READ = 1 << 16  # bytes that are read at once from a pipe

_shell: Shell | None = None


def prepare() -> None:
    """Builds the shell, before the first box is made."""
    global _shell  # noqa: PLW0603 - one, of which all contexts are forks
    _shell = Shell()


def run(channel: Channel) -> None:
    """Serves the host at the other end of `channel`, in a box; returns when it hangs up."""
    _Supervisor(channel).serve()


@dataclass
class _Context:
    """A fork with a shell: its line, its process, and what it writes past the shell, by descriptor."""

    line: Channel
    process: int
    pipes: dict[int, str] = field(default_factory=dict)


@dataclass
class _Process:
    """A program that was started, the pipes that it writes to, by descriptor, and what it has not read yet."""

    popen: "subprocess.Popen[bytes]"
    pipes: dict[int, str] = field(default_factory=dict)
    unread: bytearray = field(default_factory=bytearray)
    input_ends: bool = False


class _Supervisor:
    """One loop over all lines and pipes; nothing in it waits for anything else."""

    def __init__(self, channel: Channel) -> None:
        self._host = channel
        self._workspace = Workspace()
        self._contexts: dict[str, _Context] = {}
        self._processes: dict[str, _Process] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ, self._from_host)

    def serve(self) -> None:
        """Serves until the host hangs up."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the host interrupts contexts, by name
        while True:
            for key, _ in self._selector.select():
                if self._selector.get_map().get(key.fileobj) is key:  # no other event of this round has closed it
                    key.data()

    # What the host asks for.

    def _from_host(self) -> None:
        if not self._host.fill():
            raise ChannelClosed("the host hung up")
        while (frame := self._host.take()) is not None:
            message, blobs = frame
            getattr(self, f"_do_{message['do']}")(message, blobs)

    def _do_open(self, message: dict[str, Any], _: Sequence[bytes]) -> None:
        """Makes a context."""
        name = message["context"]
        ours, theirs = socket.socketpair()
        pipes = {stream: os.pipe() for stream in ("stdout", "stderr")}
        process = os.fork()
        if process == 0:
            self._become_context(ours, theirs, pipes, message["seed"])
        theirs.close()
        context = _Context(Channel(ours), process)
        self._contexts[name] = context
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._from_context(name))
        for stream, (read, write) in pipes.items():
            os.close(write)
            os.set_blocking(read, False)
            context.pipes[read] = stream
            self._selector.register(read, selectors.EVENT_READ, partial(self._context_printed, name, read))
        self._host.send({"context": name, "opened": process})

    def _become_context(
        self, ours: socket.socket, theirs: socket.socket, pipes: dict[str, tuple[int, int]], seed: int
    ) -> None:
        assert _shell is not None
        try:
            for descriptor, (stream, (read, write)) in enumerate(pipes.items(), 1):
                assert stream in ("stdout", "stderr")
                os.dup2(write, descriptor)
                os.close(read)
                os.close(write)
            ours.close()
            self._forget()
            line = HostLine(Channel(theirs))
            calls.connect(line)
            calls.connect_shell(_shell.user_ns)
            _seed(seed)
            _shell.serve(line, calls.answer)
        finally:
            os._exit(1)

    def _forget(self) -> None:
        """Closes what is the supervisor's, in a fork of it."""
        self._selector.close()
        self._host.close()
        for context in self._contexts.values():
            context.line.close()
            for pipe in context.pipes:
                os.close(pipe)
        for process in self._processes.values():
            for pipe in process.pipes:
                os.close(pipe)
            if process.popen.stdin is not None:
                process.popen.stdin.close()

    def _do_send(self, message: dict[str, Any], blobs: Sequence[bytes]) -> None:
        """Passes a message on to a context: a cell, or the answer to a call."""
        context = self._contexts.get(message["context"])
        if context is not None:
            with suppress(ChannelClosed):  # its end is reported where it is read
                context.line.send(message["frame"], blobs)

    def _do_interrupt(self, message: dict[str, Any], _: Sequence[bytes]) -> None:
        context = self._contexts.get(message["context"])
        if context is not None:
            with suppress(ProcessLookupError):
                os.kill(context.process, signal.SIGINT)

    def _do_close(self, message: dict[str, Any], _: Sequence[bytes]) -> None:
        """Ends a context; what its cells have started goes on until the box ends."""
        context = self._contexts.get(message["context"])
        if context is not None:
            with suppress(ProcessLookupError):
                os.kill(context.process, signal.SIGKILL)

    def _do_file(self, message: dict[str, Any], blobs: Sequence[bytes]) -> None:
        """Does something with a file; see `workspace`."""
        try:
            value, found = self._workspace.do(message["action"], message["arguments"], blobs)
        except OSError as error:
            code = errno.errorcode.get(error.errno or 0, "")
            self._host.send({"answer": message["id"], "error": {"code": code, "message": error.strerror or str(error)}})
        else:
            self._host.send({"answer": message["id"], "value": value}, found)

    def _do_start(self, message: dict[str, Any], _: Sequence[bytes]) -> None:
        """Starts a program in the workspace."""
        name = message["process"]
        try:
            popen = subprocess.Popen(
                message["command"],
                bufsize=0,
                stdin=subprocess.PIPE if message["input"] else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **message["environment"]},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            self._host.send({"process": name, "failed": str(error)})
            return
        process = self._processes[name] = _Process(popen)
        if popen.stdin is not None:
            os.set_blocking(popen.stdin.fileno(), False)
        for stream, pipe in (("stdout", popen.stdout), ("stderr", popen.stderr)):
            assert pipe is not None
            descriptor = os.dup(pipe.fileno())
            pipe.close()
            os.set_blocking(descriptor, False)
            process.pipes[descriptor] = stream
            self._selector.register(descriptor, selectors.EVENT_READ, partial(self._process_printed, name, descriptor))
        pidfd = os.pidfd_open(popen.pid)
        self._selector.register(pidfd, selectors.EVENT_READ, lambda: self._process_ended(name, pidfd))
        self._host.send({"process": name, "started": popen.pid})

    def _do_input(self, message: dict[str, Any], blobs: Sequence[bytes]) -> None:
        """Gives a program something to read; an empty text ends it."""
        process = self._processes.get(message["process"])
        if process is not None and process.popen.stdin is not None and not process.popen.stdin.closed:
            process.unread += blobs[0]
            process.input_ends = process.input_ends or not blobs[0]
            if process.popen.stdin.fileno() not in self._selector.get_map():
                write = partial(self._write_input, process)
                self._selector.register(process.popen.stdin.fileno(), selectors.EVENT_WRITE, write)

    def _write_input(self, process: _Process) -> None:
        """Gives a program as much as it takes now."""
        pipe = process.popen.stdin
        assert pipe is not None
        try:
            del process.unread[: os.write(pipe.fileno(), memoryview(process.unread)[:_READ].tobytes())]
        except BrokenPipeError:
            process.unread.clear()
            process.input_ends = True
        if not process.unread:
            self._selector.unregister(pipe.fileno())
            if process.input_ends:
                pipe.close()

    def _do_signal(self, message: dict[str, Any], _: Sequence[bytes]) -> None:
        """Signals a program and all that it has started in its session."""
        process = self._processes.get(message["process"])
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.popen.pid, message["number"])

    # What contexts and programs say.

    def _from_context(self, name: str) -> None:
        context = self._contexts[name]
        try:
            there = context.line.fill()
            while (frame := context.line.take()) is not None:
                message, blobs = frame
                said: dict[str, Any] = {"context": name, "frame": message}
                if "done" in message:
                    self._print_rest(name, context)
                    said["changes"] = self._changes()
                self._host.send(said, blobs)
        except ChannelError:
            there = 0
            with suppress(ProcessLookupError):
                os.kill(context.process, signal.SIGKILL)
        if not there:
            self._context_ended(name, context)

    def _changes(self) -> dict[str, Any] | None:
        """Returns what a cell has changed in the workspace: the host would ask for it next."""
        try:
            return self._workspace.changes()
        except OSError:
            return None

    def _print_rest(self, name: str, context: _Context) -> None:
        for pipe in list(context.pipes):
            while self._context_printed(name, pipe):
                pass

    def _context_printed(self, name: str, pipe: int) -> bool:
        context = self._contexts[name]
        data = self._read(pipe, context.pipes)
        if data:
            self._host.send({"context": name, "printed": context.pipes[pipe]}, [data])
        return bool(data)

    def _context_ended(self, name: str, context: _Context) -> None:
        self._print_rest(name, context)
        self._selector.unregister(context.line)
        context.line.close()
        for pipe in list(context.pipes):
            self._close_pipe(pipe, context.pipes)
        del self._contexts[name]
        _, status = os.waitpid(context.process, 0)
        self._host.send({"context": name, "ended": os.waitstatus_to_exitcode(status)})

    def _process_printed(self, name: str, pipe: int) -> bool:
        process = self._processes[name]
        data = self._read(pipe, process.pipes)
        if data:
            self._host.send({"process": name, "printed": process.pipes[pipe]}, [data])
        return bool(data)

    def _process_ended(self, name: str, pidfd: int) -> None:
        process = self._processes[name]
        for pipe in list(process.pipes):
            while self._process_printed(name, pipe):
                pass
        for pipe in list(process.pipes):
            self._close_pipe(pipe, process.pipes)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        if process.popen.stdin is not None and not process.popen.stdin.closed:
            if process.popen.stdin.fileno() in self._selector.get_map():
                self._selector.unregister(process.popen.stdin.fileno())
            process.popen.stdin.close()
        del self._processes[name]
        self._host.send({"process": name, "ended": process.popen.wait()})

    def _read(self, pipe: int, pipes: dict[int, str]) -> bytes:
        """Reads what is in a pipe; nothing where that is nothing now. At its end it is closed."""
        try:
            data = os.read(pipe, _READ)
        except BlockingIOError:
            return b""
        if not data:
            self._close_pipe(pipe, pipes)
        return data

    def _close_pipe(self, pipe: int, pipes: dict[int, str]) -> None:
        self._selector.unregister(pipe)
        os.close(pipe)
        del pipes[pipe]


def _seed(seed: int) -> None:
    """Gives a context its random numbers: the same ones when its cells are executed again to bring it back."""
    random.seed(seed)
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)
