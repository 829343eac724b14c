"""IPython's shell as a Jupyter kernel has it, without ZMQ: what an entry module for notebooks stands on.

The shell is built once, in the fork server, and each box has it at once. Inside the box, one thread does all: it waits
for the host, executes a cell, or answers a question. While it waits and while a cell executes, the event loop runs, so
`await` and tasks work as in a kernel; while a question is answered it does not, so the student's code may run a loop.
"""

import asyncio
import builtins
import contextlib
import contextvars
import faulthandler
import getpass
import os
import signal
import sys
import tempfile
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from workbook.sandbox.isolation.channel import Channel, ChannelClosed
from workbook.sandbox.isolation.messages import Messages, Stream

Answer = Callable[[dict[str, Any], list[bytes]], None]


class HostLine:
    """The channel as student code may use it: it ends a worker to which nobody listens, and any fork of the worker."""

    def __init__(self, channel: Channel) -> None:
        """Takes over a channel, for this process alone."""
        self._channel = channel
        self._process = os.getpid()

    def send(self, message: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        """Sends a message.

        Raises:
            ChannelError: It is too large, or no JSON.
        """
        self._end_fork()
        with self._host():
            self._channel.send(message, blobs)

    def receive(self, timeout: float | None = None) -> tuple[dict[str, Any], list[bytes]]:
        """Waits for a message, at most `timeout` seconds.

        Raises:
            TimeoutError: None came.
            ChannelError: What came is none.
        """
        self._end_fork()
        with self._host():
            return self._channel.receive(timeout)

    def next(self, loop: asyncio.AbstractEventLoop) -> tuple[dict[str, Any], list[bytes]]:
        """Waits for a message while `loop` runs."""
        while (frame := self._channel.take()) is None:
            loop.add_reader(self._channel.fileno(), loop.stop)
            try:
                loop.run_forever()
            except BaseException:  # noqa: BLE001 - a task of the student's called sys.exit: only the task ends
                traceback.print_exc()
            finally:
                self._end_fork()  # made by a task; what it does to the loop's selector, it would do to the worker's
                loop.remove_reader(self._channel.fileno())
            with contextlib.suppress(TimeoutError), self._host():
                return self._channel.receive(0)
        return frame

    def _end_fork(self) -> None:
        if os.getpid() != self._process:  # student code has forked and come back out of its cell or function
            os._exit(0)

    @contextlib.contextmanager
    def _host(self) -> Iterator[None]:
        try:
            yield
        except ChannelClosed:
            os._exit(0)


class Shell:
    """The shell of one notebook.

    Attributes:
        user_ns: What the notebook has defined, by name.
    """

    def __init__(self) -> None:
        """Builds the shell: in the fork server, so it starts no thread and opens nothing that a fork would break."""
        self._messages = Messages()
        self._ipython = _ipython(self._messages)
        self.user_ns: dict[str, Any] = self._ipython.user_ns

    def serve(self, line: HostLine, answer: Answer) -> NoReturn:
        """Executes cells and answers questions until the host hangs up.

        Args:
            line: To the host. `{"execute": code}` is a cell; its messages go back as `{"message": ...}`, and at its end
                `{"done": {"error": the exception's name or None, "execution_count": number}}`.
            answer: Is called with any other message, and sends the answer itself. A SIGINT raises KeyboardInterrupt in
                it.
        """
        self._settle()
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        context = contextvars.copy_context()  # one for all that the notebook does
        while True:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if loop.is_closed() or loop.is_running():  # by a function that took the loop for its own
                loop = asyncio.new_event_loop()
            message, blobs = line.next(loop)
            with contextlib.suppress(KeyboardInterrupt):  # one that came a moment late
                if "execute" in message:
                    self._execute(loop, context, line, str(message["execute"]))
                else:
                    _keep_current_loop(loop)
                    with _interrupt(signal.default_int_handler):
                        context.run(answer, message, blobs)

    def _settle(self) -> None:
        """Makes the fork a notebook's process: its streams, and where it finds modules."""
        sys.stdout, sys.stderr = Stream("stdout", self._messages), Stream("stderr", self._messages)
        sys.argv = ["ipykernel_launcher.py"]
        packages = [index for index, folder in enumerate(sys.path) if folder.endswith("site-packages")]
        sys.path.insert(packages[0] if packages else len(sys.path), "")  # where IPython has it: it hides nothing
        faulthandler.enable(file=2)
        Path(self._ipython.profile_dir.location).mkdir(parents=True, exist_ok=True)

    def _execute(
        self, loop: asyncio.AbstractEventLoop, context: contextvars.Context, line: HostLine, code: str
    ) -> None:
        count = self._ipython.execution_count
        self._messages.open(line)
        try:
            error = self._run(loop, context, code)
        except BaseException as escaped:  # noqa: BLE001 - whatever comes out, the cell has ended
            error = type(escaped).__name__
            self._ipython.showtraceback()
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._ipython.payload_manager.clear_payload()
        self._messages.close()
        ran = self._ipython.execution_count > count
        line.send({"done": {"error": error, "execution_count": count if ran else None}})

    def _run(self, loop: asyncio.AbstractEventLoop, context: contextvars.Context, code: str) -> str | None:
        """Runs a cell in the loop, as a kernel does; returns the name of its exception."""
        cell = loop.create_task(self._cell(code), context=context)

        def interrupted(*_: Any) -> None:
            if asyncio.current_task(loop) is None:  # the cell awaits something
                loop.call_soon_threadsafe(cell.cancel)
            else:
                raise KeyboardInterrupt

        with _interrupt(interrupted):
            while not cell.done():
                try:
                    loop.run_until_complete(cell)
                except KeyboardInterrupt:  # it hit another task
                    cell.cancel()
                except (SystemExit, RuntimeError):  # another task called sys.exit, or something loop.stop
                    continue
        return cell.result()

    async def _cell(self, code: str) -> str | None:
        shell = self._ipython
        transformed, problem = code, None
        try:
            transformed = shell.transform_cell(code)
        except Exception:  # noqa: BLE001 - run_cell_async shows it
            problem = sys.exc_info()
        if shell.should_run_async(code, transformed_cell=transformed, preprocessing_exc_tuple=problem):
            result = None
            try:
                result = await shell.run_cell_async(
                    code, store_history=True, transformed_cell=transformed, preprocessing_exc_tuple=problem
                )
            finally:
                shell.events.trigger("post_execute")
                shell.events.trigger("post_run_cell", result)
        else:
            with _interrupt(signal.default_int_handler):  # which leaves no frame in the cell's traceback
                result = shell.run_cell(code, store_history=True)
        for error in (result.error_before_exec, result.error_in_exec):
            if error is not None:
                return type(error).__name__
        return type(sys.last_value).__name__ if shell._last_traceback_during_displayhook else None  # in its repr


def _ipython(messages: Messages) -> Any:
    """Builds ipykernel's shell with nothing behind it but `messages`."""
    from ipykernel import ipkernel  # noqa: F401 - it also makes the comm package quiet, as in a kernel
    from ipykernel.compiler import XCachingCompiler
    from ipykernel.zmqshell import ZMQInteractiveShell
    from IPython.core.error import StdinNotImplementedError, UsageError
    from jupyter_client.session import Session
    from traitlets.config import Config

    class MessageSession(Session):  # type: ignore[misc]
        def send(self, stream: Any, message: Any, content: Any = None, *_: Any, **__: Any) -> None:  # noqa: ARG002
            if isinstance(message, dict):
                messages.publish(message["msg_type"], message["content"])
            else:
                messages.publish(message, content)

    def enable_gui(gui: str | None = None) -> None:
        if gui not in (None, "inline"):
            raise UsageError(f"there is no screen here for {gui!r}; figures show with %matplotlib inline")

    def no_input(*_: Any, **__: Any) -> NoReturn:
        raise StdinNotImplementedError("raw_input was called, but this frontend does not support input requests.")

    def no_getpass(*_: Any, **__: Any) -> NoReturn:
        raise StdinNotImplementedError("getpass was called, but this frontend does not support input requests.")

    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    builtins.input, getpass.getpass = no_input, no_getpass
    session = MessageSession()
    shell = ZMQInteractiveShell.instance(
        config=Config(HistoryManager={"enabled": False}),
        ipython_dir=str(Path(tempfile.gettempdir(), "ipython")),
        compiler_class=XCachingCompiler,
        # What some libraries look for to know that they are in a notebook.
        kernel=types.SimpleNamespace(eventloop=None, session=session),
    )
    # On the instance, since libraries know a notebook by the name of its shell's class.
    shell.enable_gui = enable_gui
    shell._tee = lambda channel: contextlib.nullcontext()  # noqa: ARG005 - it keeps all that is printed, for a history
    shell.displayhook.session = shell.display_pub.session = session
    shell.run_cell("None", silent=True)  # imports what the first cell needs
    return shell


def _keep_current_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Leaves the student's current loop, but never none: `asyncio.run` takes it away."""
    try:
        if not asyncio.get_event_loop().is_closed():
            return
    except RuntimeError:
        pass
    asyncio.set_event_loop(loop)


@contextlib.contextmanager
def _interrupt(handler: Callable[..., Any]) -> Iterator[None]:
    """Gives SIGINT a meaning in the block; it has none outside."""
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
