"""One box, seen from this machine."""

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import psutil

from workbook.sandbox.isolation.cgroups import Group
from workbook.sandbox.isolation.channel import Channel, ChannelError, pack
from workbook.sandbox.isolation.limits import MIB, Limits
from workbook.sandbox.isolation.watchdog import Watch, Watchdog

OnOutput = Callable[[str, bytes], None]

SERVER_ENDED = "the fork server has ended"
"""The reason of a death for which nothing in the box is to blame."""

_SEND_TIMEOUT = 60.0  # seconds in which a worker must take in what it is sent
_HANG_UP_TIMEOUT = 5.0  # seconds from the end of a worker's channel to its own end
_MOST_UNSENT = 256 * MIB  # bytes that are kept for a worker that does not read
_END_TIMEOUT = 30.0  # seconds that a killed box may take to be gone


class IsolationError(Exception):
    """A box or its fork server could not be built, or could not be ended. Says which step failed, and why."""


class BoxDied(Exception):  # noqa: N818  # what happens to a box is no error of ours
    """The worker has ended, or was ended. `reason` says why, as in `out of memory`, `exit status 1` or `SIGSEGV`."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the box died: {reason}")
        self.reason = reason


class Box:
    """A worker in its box. What comes from it is untrusted data.

    For one thread at a time, except for `interrupt`. A context manager: leaving it closes the box.

    Attributes:
        pid: The worker's process, as this machine numbers it.
        group: Its control group.
        peak_memory: Bytes that all in it have used together at most, once it is closed; 0 where no control group tells.
    """

    def __init__(
        self,
        *,
        channel: socket.socket,
        pipes: Mapping[int, str],
        status: int,
        init: int,
        worker: int,
        group: Group,
        limits: Limits,
        on_close: Callable[["Box"], None],
    ) -> None:
        """Takes over what `ForkServer.box` has made.

        Args:
            channel: This machine's end of the channel.
            pipes: Descriptors of the ends that are read here, each with its name, stdout or stderr.
            status: Descriptor on which the fork server tells how the worker ended: its exit status, or minus the number
                of the signal that killed it, as a decimal number.
            init: Process descriptor of the first process of its PID namespace, which takes all others along.
            worker: Process descriptor of the worker.
            group: Its control group.
            limits: What it may use.
            on_close: Called once, when all is gone.
        """
        self._channel = Channel(channel)
        self._pipes = dict(pipes)
        self._descriptors = [*pipes, status, init, worker]
        self._status, self._init, self._worker = status, init, worker
        self.group, self._limits, self._on_close = group, limits, on_close
        self.pid, self._init_pid = _pid(worker), _pid(init)
        self.peak_memory = 0
        self._reason: str | None = None
        self._output: list[tuple[str, bytes]] = []
        self._output_left = limits.output
        self._unsent = bytearray()
        self._garbled = False  # what came on the channel was no message, and neither is the rest
        self._watch: Watch | None = None
        self._closing = threading.Lock()
        self._closed = False
        self._poll = select.poll()
        for descriptor in (channel.fileno(), status, *pipes):
            os.set_blocking(descriptor, False)
            self._poll.register(descriptor, select.POLLIN)

    def put_under(self, watchdog: Watchdog) -> None:
        """Has a watchdog bound what no control group does. For a box that is closed in.

        Raises:
            IsolationError: It cannot be watched.
        """
        memory, processor = ("memory" not in self.group.folders), ("cpu" not in self.group.folders)
        with self._closing:
            if self._closed or not (memory or processor):
                return
            try:
                watch = Watch(self._init, self.root, self._limits, memory=memory, processor=processor)
            except (FileNotFoundError, ProcessLookupError):
                return  # it has ended
            except OSError as error:
                raise IsolationError(f"a box was not built: watching it: {error}") from error
            if _has_ended(self._worker):  # then what was opened may be another process's
                watch.close()
                return
            self._watch = watch
        watchdog.add(watch)

    def send(self, message: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        """Sends a message to the worker. What it writes meanwhile is kept for `receive` and `drain`.

        Raises:
            ChannelError: The message is larger than the bounds of a channel, or no JSON; nothing was sent.
            BoxDied: The worker has ended, or was ended since it did not take the message within a minute.
        """
        frame = memoryview(pack(message, blobs))
        end = time.monotonic() + _SEND_TIMEOUT
        while frame:
            self._raise_if_dead()
            try:
                frame = frame[os.write(self._channel.fileno(), frame) :]
            except BlockingIOError:
                self._poll.modify(self._channel, select.POLLIN | select.POLLOUT)
                self._read(end - time.monotonic())
                self._poll.modify(self._channel, select.POLLIN)
            except (BrokenPipeError, ConnectionResetError):
                self._hung_up()
            if time.monotonic() > end:
                self._die(f"did not take a message within {_SEND_TIMEOUT:g} s")

    def receive(self, timeout: float, on_output: OnOutput | None = None) -> tuple[dict[str, Any], list[bytes]]:
        """Waits for a message from the worker.

        Args:
            timeout: Seconds to wait.
            on_output: Called with `stdout` or `stderr` and what was written there. Without it output is kept for the
                next call that has one.

        Raises:
            BoxDied: The worker has ended, and no message of it is left.
            TimeoutError: No message came in time; the box lives on.
            ChannelError: What came is no message. The box is dead.
        """
        end = time.monotonic() + timeout
        while True:
            if (frame := self._take(on_output)) is not None:
                return frame
            left = end - time.monotonic()
            if left < 0:
                raise TimeoutError(f"no message within {timeout:g} s")
            self._read(left)

    def _take(self, on_output: OnOutput | None) -> tuple[dict[str, Any], list[bytes]] | None:
        """Takes a message out of what has been read; None if there is none."""
        if on_output is not None:
            self._deliver(on_output)
        try:
            frame = None if self._garbled else self._channel.take()
        except ChannelError:
            self._garbled = True
            self._die("broke the protocol of its channel")
            raise
        if frame is None:
            self._raise_if_dead()
        return frame

    # For an event loop, which must not wait.

    def descriptors(self) -> list[int]:
        """What becomes readable when `poll` has something to read. Of one that ends, `poll` reads no more."""
        return [self._channel.fileno(), self._status, *self._pipes]

    def poll(self, on_output: OnOutput) -> tuple[dict[str, Any], list[bytes]] | None:
        """Takes the next message, without waiting; None if none is there.

        Args:
            on_output: As of `receive`.

        Raises:
            BoxDied: The worker has ended, and no message of it is left.
            ChannelError: What came is no message. The box is dead.
        """
        frame = self._take(on_output)
        if frame is None and self._read(0):
            frame = self._take(on_output)
        return frame

    def post(self, message: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
        """Sends a message without waiting: what the worker does not take now goes with the next `flush`.

        Raises:
            ChannelError: The message is larger than the bounds of a channel, or no JSON; nothing was sent.
            BoxDied: The worker has ended, or was ended since it takes nothing.
        """
        self._unsent += pack(message, blobs)
        if len(self._unsent) > _MOST_UNSENT:
            self._die(f"did not take {_MOST_UNSENT >> 20} MiB of messages")
        self.flush()

    def flush(self) -> bool:
        """Sends what `post` has kept, without waiting; whether nothing is left.

        Raises:
            BoxDied: The worker has ended.
        """
        self._raise_if_dead()
        try:
            while self._unsent:
                del self._unsent[: os.write(self._channel.fileno(), memoryview(self._unsent)[: 1 << 16].tobytes())]
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            self._hung_up()
            self._raise_if_dead()
        return True

    def drain(self, on_output: OnOutput) -> None:
        """Hands over what is in the pipes right now."""
        while self._reason is None and self._read(0):
            pass
        self._deliver(on_output)

    def interrupt(self) -> None:
        """Sends SIGINT to the worker; nothing if the box is closed."""
        with self._closing:
            if not self._closed:
                self._signal(self._worker, signal.SIGINT)

    def processes(self) -> list[psutil.Process]:
        """The worker and all that it started, wherever their parents have gone, zombies among them."""
        found = []
        with suppress(FileNotFoundError):  # then nothing of it is left
            namespace = Path(f"/proc/{self._init_pid}/ns/pid").readlink()
            for pid in psutil.pids():
                with suppress(OSError, psutil.NoSuchProcess):  # gone meanwhile, or of another user
                    if pid != self._init_pid and Path(f"/proc/{pid}/ns/pid").readlink() == namespace:
                        found.append(psutil.Process(pid))
        return found

    @property
    def root(self) -> Path:
        """The worker's file system. Never follow a path below it: a link in there leads to this machine's files."""
        return Path(f"/proc/{self.pid}/root")

    @property
    def alive(self) -> bool:
        """Whether the worker runs, as far as this machine has heard."""
        if self._reason is None:
            self._read(0)
        return self._reason is None

    def close(self) -> None:
        """Ends all that is in the box, and returns when it is gone. A second call does nothing.

        Raises:
            IsolationError: Something in it could not be ended.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._reason = self._reason or "closed"
            try:
                self._kill()
                self.peak_memory = self.group.peak_memory()
                self.group.remove()
            finally:
                self._channel.close()
                if self._watch is not None:
                    self._watch.close()
                for descriptor in self._descriptors:
                    os.close(descriptor)
                self._on_close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, seconds: float) -> bool:
        """Waits at most `seconds`, and reads what has come; whether anything had."""
        events = self._poll.poll(max(0.0, seconds) * 1000)
        for descriptor, event in events:
            if self._reason is not None:
                break
            if descriptor in self._pipes:
                self._read_pipe(descriptor)
            elif descriptor == self._status:
                self._ended()
            elif event != select.POLLOUT and not self._fill():
                self._hung_up()
        return bool(events)

    def _read_pipe(self, descriptor: int) -> bool:
        """Reads once from a pipe; False at its end."""
        data = os.read(descriptor, 1 << 16)
        if data:
            self._output.append((self._pipes[descriptor], data))
        else:
            self._poll.unregister(descriptor)
            del self._pipes[descriptor]
        return bool(self._count(len(data)))

    def _count(self, size: int) -> int:
        self._output_left -= size
        if self._output_left < 0:
            self._die(f"wrote more than {self._limits.output / MIB:g} MiB")
        return size

    def _hung_up(self) -> None:
        """The worker closed its channel: most likely it is ending."""
        ending = select.poll()
        ending.register(self._status, select.POLLIN)
        ending.poll(_HANG_UP_TIMEOUT * 1000)
        self._ended()

    def _ended(self) -> None:
        try:
            data = os.read(self._status, 16)
        except BlockingIOError:
            self._die("closed its channel")
            return
        if not data:
            self._die(SERVER_ENDED)
            return
        status = int(data)
        if status >= 0:
            self._die(f"exit status {status}")
        elif status == -signal.SIGKILL and self.group.out_of_memory():
            self._die("out of memory")
        elif status == -signal.SIGKILL and self._watch is not None and self._watch.exceeded:
            self._die(self._watch.exceeded)
        elif status == -signal.SIGXCPU:
            self._die(f"used more than {self._limits.cpu_seconds} s of processor time")
        else:
            self._die(signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}")

    def _die(self, reason: str) -> None:
        """Ends what is left in the box, and reads what it had written."""
        if self._reason is not None:
            return
        self._reason = reason
        self._kill()
        reads: list[Callable[[], bool]] = [self._fill, *(partial(self._read_pipe, pipe) for pipe in self._pipes)]
        for read in reads:
            with suppress(BlockingIOError):
                while self._output_left >= 0 and read():
                    pass

    def _fill(self) -> bool:
        return bool(self._count(self._channel.fill()))

    def _kill(self) -> None:
        self._signal(self._init, signal.SIGKILL)
        if not _has_ended(self._init, _END_TIMEOUT):
            raise IsolationError(f"process {self._init_pid} and its box did not end within {_END_TIMEOUT:g} s")

    def _signal(self, descriptor: int, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)

    def _raise_if_dead(self) -> None:
        if self._reason is not None:
            raise BoxDied(self._reason)

    def _deliver(self, on_output: OnOutput) -> None:
        output, self._output = self._output, []
        for name, data in output:
            on_output(name, data)


def _has_ended(descriptor: int, timeout: float = 0) -> bool:
    """Whether the process of a process descriptor ends within some seconds."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def _pid(descriptor: int) -> int:
    """The process that a process descriptor stands for, as this machine numbers it; -1 if it is gone."""
    for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    raise IsolationError("this kernel does not tell which process a descriptor stands for")
