"""Ends boxes that use more than they may, where no control group sees to it: what all their processes use together.

It reads a box's own `/proc` and the sizes of its file systems from outside, a few times a second, so a box can use more
for a moment. It sees what an ordinary user can see: neither pages that no process has mapped any more, nor the
processor time of a process that lives for less than a moment and that nobody waits for.
"""

import os
import re
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

from workbook.sandbox.isolation.limits import Limits

PERIOD = 0.25  # seconds from one look to the next

# Processes come, go and grow while they are looked at: only what is seen several times in a row is believed.
_LOOKS = 3
_MOMENT = 0.02  # seconds between these

_FILE_SYSTEMS = ("tmp", "dev/shm", "workspace")
_SIZE = re.compile(rb"^(\w+):\s+(\d+) kB$", re.MULTILINE)
_GONE = (FileNotFoundError, ProcessLookupError)


class Watch:
    """One box under the eyes of a watchdog. Any thread may call any method.

    Attributes:
        exceeded: Why the box was ended; None where it was not.
    """

    def __init__(self, init: int, root: Path, limits: Limits, *, memory: bool, processor: bool) -> None:
        """Opens all that is looked at, so that no process number is used again later.

        Args:
            init: Process descriptor of the first process of the box.
            root: Its root, which has its `/proc`.
            limits: What it may use.
            memory: Whether to bound its memory.
            processor: Whether to bound its processor time.

        Raises:
            OSError: It cannot be watched; FileNotFoundError where it has ended.
        """
        self.exceeded: str | None = None
        self._limits, self._memory, self._processor = limits, memory, processor
        self._lock = threading.Lock()
        self._own: dict[tuple[str, int], int] = {}  # ticks that each process had used when it was last seen
        self._ended = 0  # ticks of those that have ended
        self._descriptors: list[int] = []
        try:
            for path in ("proc", *_FILE_SYSTEMS):
                self._descriptors.append(os.open(root / path, os.O_PATH | os.O_DIRECTORY))
            self._descriptors.append(os.dup(init))
        except OSError:
            self.close()
            raise
        proc, *self._file_systems, self._init = self._descriptors
        self._proc = Path(f"/proc/self/fd/{proc}")

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return not self._descriptors

    def look(self) -> None:
        """Ends the box if it uses more than it may; nothing once the watch is closed."""
        with self._lock:
            if self.closed or self.exceeded:
                return
            try:
                reason = self._reason()
            except Exception as error:  # noqa: BLE001  # whatever it is, a box that nobody watches must not go on
                reason = f"could not be watched: {error}"
            if reason:
                self.exceeded = reason
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._init, signal.SIGKILL)

    def close(self) -> None:
        """Lets go of the box. A second call does nothing."""
        with self._lock:
            while self._descriptors:
                os.close(self._descriptors.pop())

    def _reason(self) -> str | None:
        if self._processor and self._seconds() > self._limits.cpu_seconds:
            return f"used more than {self._limits.cpu_seconds} s of processor time"
        if self._memory and self._is_out_of_memory():
            return "out of memory"
        return None

    def _is_out_of_memory(self) -> bool:
        for _ in range(_LOOKS):
            # What is cheap to know is never less than the exact number.
            if self._resident() <= self._limits.memory or self._proportional() <= self._limits.memory:
                return False
            time.sleep(_MOMENT)
        return True

    def _resident(self) -> int:
        """Bytes that each process has, added up; what several share counts for each."""
        kinds = (b"RssAnon", b"RssShmem", b"VmSwap")
        found = [self._sizes(process, "status") for process in self._processes()]
        return 1024 * sum(sizes.get(kind, 0) for sizes in found for kind in kinds) + self._files()

    def _proportional(self) -> int:
        """Bytes that the processes have together, without the pages that they share with other boxes."""
        private, shared = 0, 0
        starting = False  # one at most: a child whose parent waits may as well have memory of its own
        for process in self._processes():
            sizes = self._sizes(process, "smaps_rollup")
            if not starting and self._is_starting(process):
                starting = True
                continue
            private += sizes.get(b"Pss_Anon", 0) + sizes.get(b"SwapPss", 0)
            shared += sizes.get(b"Pss_Shmem", 0)
        return 1024 * private + max(1024 * shared, self._files())  # what is shared may be files in a file system

    def _is_starting(self, process: Path) -> bool:
        """Whether a process is in the memory of its parent, of which a thread sleeps: until it executes its program."""
        parent = self._parent(process)
        # That is seen in `status`: what `smaps_rollup` says changes with what other boxes share of it.
        return self._sleeps(parent) and self._sizes(parent, "status") == self._sizes(process, "status")

    def _files(self) -> int:
        """Bytes that the file systems hold, also of files without a name."""
        states = map(os.fstatvfs, self._file_systems)
        return sum((state.f_blocks - state.f_bfree) * state.f_frsize for state in states)

    def _sizes(self, process: Path, file: str) -> dict[bytes, int]:
        """What a file in `/proc` says of a process, in KiB; nothing where it has ended."""
        # A first thread that has ended has no memory any more; the others may have it.
        for thread in _threads(process):
            with suppress(*_GONE):
                if sizes := {name: int(size) for name, size in _SIZE.findall((thread / file).read_bytes())}:
                    return sizes
        return {}

    def _parent(self, process: Path) -> Path:
        with suppress(*_GONE):
            return self._proc / _fields(process / "stat")[1].decode()
        return self._proc / "0"

    def _sleeps(self, process: Path) -> bool:
        """Whether a thread of a process is in uninterruptible sleep."""
        for thread in _threads(process):
            with suppress(*_GONE):
                if _fields(thread / "stat")[0] == b"D":
                    return True
        return False

    def _seconds(self) -> float:
        """Processor time of all processes, as far as it has been seen; never more than it was."""
        own: dict[tuple[str, int], int] = {}
        reaped = 0
        for process in self._processes():
            with suppress(*_GONE):
                fields = _fields(process / "stat")
                user, system, childrens_user, childrens_system = map(int, fields[11:15])
                own[process.name, int(fields[19])] = user + system
                reaped += childrens_user + childrens_system
        self._ended += sum(ticks for process, ticks in self._own.items() if process not in own)
        self._own = own
        # Of those that have ended, what was seen of them is one way to count, what their parents were told another.
        return (sum(own.values()) + max(self._ended, reaped)) / os.sysconf("SC_CLK_TCK")

    def _processes(self) -> list[Path]:
        return [path for path in self._proc.iterdir() if path.name.isdigit()]


def _threads(process: Path) -> list[Path]:
    with suppress(*_GONE):
        return list((process / "task").iterdir())
    return []


def _fields(stat: Path) -> list[bytes]:
    """What is said of a process or thread after its name, which may hold anything. First come its state and parent."""
    return stat.read_bytes().rpartition(b")")[2].split()


class Watchdog:
    """Looks at boxes in a thread of its own, which runs from the first box that is to be watched until `close`."""

    def __init__(self) -> None:
        self._watches: list[Watch] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, watch: Watch) -> None:
        """Begins to look at a box; ends when the watch is closed."""
        with self._changed:
            self._watches.append(watch)
            if self._thread is None and not self._closed:  # a box that comes later ends with its fork server
                self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Ends the thread. A second call does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while watches := self._open():
            began = time.monotonic()
            for watch in watches:
                watch.look()
            took = time.monotonic() - began
            with self._changed:  # a look that takes long must not take up a processor
                self._changed.wait_for(lambda: self._closed, max(PERIOD, took))

    def _open(self) -> list[Watch]:
        """Waits for boxes to look at; gives none at the end."""
        with self._changed:
            while not self._closed:
                self._watches = [watch for watch in self._watches if not watch.closed]
                if self._watches:
                    return list(self._watches)
                self._changed.wait()
        return []
