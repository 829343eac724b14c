"""The warm fork server: makes boxes, each of them a fork of one process that has imported what they need.

    this process --socket--> zygote (own root and PID namespace) --fork--> worker (its box)

The zygote is a fresh interpreter in a root of its own: nothing of this process is in its memory, environment or
arguments, for its forks can read all of it.
"""

import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any, Self

import psutil

from workbook.sandbox.isolation import cgroups, linux, seccomp
from workbook.sandbox.isolation.box import Box, BoxDied, IsolationError, OnOutput
from workbook.sandbox.isolation.channel import ChannelError
from workbook.sandbox.isolation.limits import Limits
from workbook.sandbox.isolation.watchdog import Watchdog

__all__ = ["Box", "BoxDied", "ForkServer", "IsolationError", "OnOutput", "available", "is_privileged"]

BOXES = 256  # boxes of one server that may be open at once; each has its own user ID

_FIRST_UID = 1 << 30  # above all that people, services and containers usually have; 2^22 servers of 256 end at 2^31
_LIMITS = Limits()
_PACKAGE = Path(__file__).parent
_PROJECT = _PACKAGE.parents[2]
_START_TIMEOUT = 300.0  # seconds to build the root and import what is to be warm: torch on a cold disk
_BOX_TIMEOUT = 60.0  # seconds to build a box


def available(*, filtered: bool = True) -> str | None:
    """None where boxes can be made, as far as a cheap look tells; otherwise one line that says why not.

    Args:
        filtered: With a system call filter, which needs a library.
    """
    if sys.platform != "linux":
        return f"sandboxes need Linux; this is {platform.system()}"
    if not linux.supported():
        return f"sandboxes know the system calls of x86_64 and aarch64, not of {platform.machine()}"
    release = platform.release()
    if tuple(int(part) for part in release.split("-")[0].split("+")[0].split(".")[:2]) < (5, 14):
        return f"sandboxes need Linux 5.14 or newer; this is {release}"
    if filtered and (reason := seccomp.unavailable()):
        return reason
    return None if is_privileged() else _no_user_namespaces()


def is_privileged() -> bool:
    """Whether boxes get user IDs of their own: this process is root, and not in name only."""
    return linux.is_privileged(_FIRST_UID)


def _no_user_namespaces() -> str | None:
    for file, forbidden in (
        ("kernel/unprivileged_userns_clone", "0"),
        ("user/max_user_namespaces", "0"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
    ):
        path = Path("/proc/sys", file)
        if path.exists() and path.read_text().strip() == forbidden:
            setting = file.replace("/", ".")
            return f"only root may make user namespaces here ({setting} is {forbidden}): run as root, or change that"
    return None


class ForkServer:
    """A process that makes boxes. A context manager; `box` may be called from several threads.

    It ends with this process, however that ends, and takes all its boxes along.
    """

    def __init__(
        self,
        entry: str,
        *,
        library: Mapping[str, Path],
        preload: Sequence[str] = (),
        environment: Mapping[str, str] = {},
        filtered: bool = True,
    ) -> None:
        """Starts it, and returns when boxes can be made.

        Args:
            entry: A module of the library. Its `prepare()` is called once, before any box is made; its `run(channel)`
                is what a box runs, in `/workspace`. Neither it nor `preload` may leave a thread running.
            library: What boxes can import besides the environment's packages: a path inside `/library`, which comes
                first in `sys.path`, and the file that is copied there. The modules of this package are added.
            preload: Modules that are imported before any box is made.
            environment: Variables of the boxes, besides those that every box has.
            filtered: Whether boxes are under a system call filter. Without one they are weaker, and need no library.

        Raises:
            IsolationError: It could not be built; says which step failed.
        """
        if reason := available(filtered=filtered):
            raise IsolationError(reason)
        files = {**_own_files(), **library}
        for inside, source in files.items():
            _check_relative(inside)
            if not source.is_file():
                raise IsolationError(f"the library's {inside} is to be {source}, which is no file")
        self._hierarchy = cgroups.find()
        self._hierarchy.sweep()
        self._asking, self._slots = threading.Lock(), set(range(BOXES))
        self._boxes: set[Box] = set()
        self._watchdog = Watchdog()
        with ExitStack() as undo:
            self._log = undo.enter_context(tempfile.TemporaryFile())
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.callback(self._control.close)
            with tempfile.TemporaryDirectory() as root, theirs:
                self._process = self._launch(theirs)
                undo.callback(self._end)
                self._first_uid = _FIRST_UID + self._process.pid * BOXES
                self._tell_launcher(
                    {
                        "root": root,
                        "library": {inside: str(source) for inside, source in files.items()},
                        "entry": entry,
                        "preload": list(preload),
                        "environment": dict(environment),
                        "privileged": is_privileged(),
                        "filtered": filtered,
                        "bounded": "memory" in self._hierarchy.parents,
                        "uids": [self._first_uid, BOXES],
                    }
                )
                theirs.close()
                self._answer(_START_TIMEOUT)
            undo.pop_all()

    def box(self, limits: Limits = _LIMITS, files: Mapping[str, bytes] = {}) -> Box:
        """Makes a box, and returns when its entry module runs.

        Args:
            limits: What it may use.
            files: What is in `/workspace` at the start: relative paths and contents.

        Raises:
            IsolationError: It could not be built, and nothing ran in it; says which step failed.
        """
        for path in files:
            _check_relative(path)
        if self._log.closed:
            raise IsolationError("the fork server is closed")
        try:
            slot = self._slots.pop()
        except KeyError:
            raise IsolationError(f"{BOXES} boxes are open, which is as many as there can be") from None
        with ExitStack() as undo:
            undo.callback(self._slots.add, slot)
            try:
                group = self._hierarchy.make(f"{self._process.pid}-{slot}", limits)
            except OSError as error:
                raise IsolationError(f"making the control groups: {error}") from error
            undo.callback(group.remove)
            box = self._fork(slot, limits, group)
            undo.pop_all()
        try:
            self._furnish(box, files)
            box.put_under(self._watchdog)
        except BaseException:
            box.close()
            raise
        return box

    def processes(self) -> list[psutil.Process]:
        """Returns all that runs in its boxes, orphans too; where no box is open there should be nothing."""
        with suppress(psutil.NoSuchProcess):
            for zygote in psutil.Process(self._process.pid).children():
                return zygote.children(recursive=True)
        return []

    @property
    def alive(self) -> bool:
        """Whether it runs, as far as this process has heard."""
        return self._process.poll() is None

    def abort(self) -> None:
        """Ends all its boxes, from any thread: who asks one then hears of its death. `close` is still due."""
        with suppress(OSError):  # it is closed
            self._control.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends it, with all its boxes. A second call does nothing."""
        for box in list(self._boxes):
            box.close()
        self._watchdog.close()
        self._end()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _launch(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "workbook.sandbox.isolation.launcher", str(theirs.fileno())],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            pass_fds=[theirs.fileno()],
            env={"PYTHONPATH": str(_PROJECT), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            cwd="/",
            start_new_session=True,  # a Ctrl-C at the terminal is for this process to handle
        )

    def _tell_launcher(self, what: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            with self._process.stdin as pipe:
                pipe.write(json.dumps(what).encode())
        except BrokenPipeError:
            pass  # its end is reported where its answer is read

    def _answer(self, timeout: float) -> list[int]:
        """Waits for what the launcher or the zygote says; returns the descriptors that came along."""
        self._control.settimeout(timeout)
        try:
            data, descriptors = linux.receive_descriptors(self._control)
        except TimeoutError:
            self._control.close()  # or a late answer would be taken for the next one
            raise IsolationError(f"the fork server did not answer within {timeout:g} s{self._logged()}") from None
        except OSError as error:
            raise IsolationError(f"the fork server is closed: {error}") from error
        if not data:
            raise IsolationError(f"the fork server has ended{self._logged()}")
        if refusal := json.loads(data).get("error"):
            raise IsolationError(f"{refusal}{self._logged()}")
        return descriptors

    def _logged(self) -> str:
        """The end of what the fork server's process has printed."""
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), 4000, max(0, size - 4000)).decode(errors="replace").strip()
        return f"; it printed:\n{text}" if text else ""

    def _fork(self, slot: int, limits: Limits, group: cgroups.Group) -> Box:
        with ExitStack() as theirs, ExitStack() as undo:
            channel, far = socket.socketpair()
            undo.callback(channel.close)
            theirs.callback(far.close)
            read, write = [], [far.fileno()]
            for _ in ("stdout", "stderr", "status"):
                pipe = os.pipe()
                undo.callback(os.close, pipe[0])
                theirs.callback(os.close, pipe[1])
                read.append(pipe[0])
                write.append(pipe[1])
            for descriptor in group.open():
                theirs.callback(os.close, descriptor)
                write.append(descriptor)
            request = {"slot": slot, "uid": self._first_uid + slot, "limits": asdict(limits)}
            with self._asking:
                try:
                    socket.send_fds(self._control, [json.dumps(request).encode()], write)
                except OSError as error:
                    raise IsolationError(f"the fork server has ended ({error}){self._logged()}") from error
                init, worker = self._answer(_BOX_TIMEOUT)
            for descriptor in (init, worker):
                undo.callback(os.close, descriptor)
            stdout, stderr, status = read
            box = Box(
                channel=channel,
                pipes={stdout: "stdout", stderr: "stderr"},
                status=status,
                init=init,
                worker=worker,
                group=group,
                limits=limits,
                on_close=lambda box: self._closed(box, slot),
            )
            self._boxes.add(box)
            undo.pop_all()
        return box

    def _furnish(self, box: Box, files: Mapping[str, bytes]) -> None:
        """Sends a box its files and waits until it is closed in. Nothing untrusted has run in it before that."""
        printed: list[bytes] = []
        try:
            with suppress(BoxDied):  # it may have failed already; what it said is read below
                box.send({"files": list(files)}, list(files.values()))
            message, _ = box.receive(_BOX_TIMEOUT, lambda _, data: printed.append(data))
        except (BoxDied, ChannelError, TimeoutError) as error:
            text = b"".join(printed).decode(errors="replace").strip()
            raise IsolationError(f"a box was not built: {error}{text and f'; it printed: {text}'}") from error
        if failed := message.get("failed"):
            raise IsolationError(f"a box was not built: {failed}")

    def _closed(self, box: Box, slot: int) -> None:
        self._boxes.discard(box)
        self._slots.add(slot)

    def _end(self) -> None:
        """Hangs up, and waits for the process to end; what hangs is killed."""
        self._control.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _own_files() -> dict[str, Path]:
    packages = [_PROJECT / "workbook/__init__.py", _PROJECT / "workbook/sandbox/__init__.py"]
    return {str(file.relative_to(_PROJECT)): file for file in (*packages, *_PACKAGE.glob("*.py"))}


def _check_relative(path: str) -> None:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
        raise ValueError(f"{path!r} is not a relative path that stays where it is")
