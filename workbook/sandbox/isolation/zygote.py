"""The process that boxes are forked from: a fresh interpreter that has imported what they need, and holds no secret.

It is PID 1 of the fork server's PID namespace: when it ends, all boxes do.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from workbook.sandbox.isolation import linux, seccomp
from workbook.sandbox.isolation.channel import Channel, ChannelClosed
from workbook.sandbox.isolation.confinement import StepError, confine, step
from workbook.sandbox.isolation.limits import Limits

# The first process of a box's PID namespace, which inherits its orphans: it does nothing, and ignores SIGCHLD, so that
# the kernel reaps them. This process cannot ignore it in its place: it would not learn how its workers end.
_IGNORING = ["/usr/bin/env", "--ignore-signal=CHLD"]
_INIT = [*_IGNORING, "sleep", "infinity"]


def main() -> NoReturn:
    """Prepares, then serves; the arguments are the number of the socket to the server, and a JSON object."""
    control, what = socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2])
    control.set_inheritable(False)
    sys.argv[:] = [what["entry"]]
    try:
        with step("trying env, of GNU coreutils 8.31 or newer"):
            subprocess.run([*_IGNORING, "true"], check=True)
        with step("compiling the system call filter"):
            program = seccomp.compile_filter(bounded=what["bounded"]) if what["filtered"] else None
        for name in what["preload"]:
            with step(f"importing {name}"):
                importlib.import_module(name)
        with step(f"preparing {what['entry']}"):
            entry = importlib.import_module(what["entry"])
            entry.prepare()
        with step("looking for threads"):
            if (threads := len(list(Path("/proc/self/task").iterdir()))) > 1:
                raise RuntimeError(f"{threads - 1} started; a fork lacks them, and hangs where it needs one")
    except StepError as error:
        traceback.print_exception(error.__cause__)
        sys.stderr.flush()
        control.send(json.dumps({"error": f"the fork server was not built: {error}"}).encode())
        os._exit(1)
    gc.collect()
    gc.freeze()  # a collection in a box would write to, and so copy, pages that all share
    control.send(b"{}")
    Zygote(control, entry, program, privileged=what["privileged"], bounded=what["bounded"]).serve()


class Zygote:
    """Forks a box on each request, and tells how its worker ended."""

    def __init__(
        self, control: socket.socket, entry: ModuleType, program: bytes | None, *, privileged: bool, bounded: bool
    ) -> None:
        self._control, self._entry, self._program = control, entry, program
        self._privileged, self._bounded = privileged, bounded
        self._namespace = os.open("/proc/self/ns/pid", os.O_RDONLY)
        self._null = os.open("/dev/null", os.O_RDWR)
        self._children: dict[int, int | None] = {}  # each child's process descriptor, and where to tell how it ended

    def serve(self) -> NoReturn:
        """Serves until the server hangs up."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor != self._control.fileno():
                    poll.unregister(descriptor)
                    self._reap(descriptor)
                    continue
                data, received = linux.receive_descriptors(self._control)
                if not data:
                    os._exit(0)
                for child in self._answer(json.loads(data), received):
                    poll.register(child, select.POLLIN)

    def _reap(self, child: int) -> None:
        """Takes the exit status of a child that has ended, and passes a worker's on."""
        ended = os.waitid(os.P_PIDFD, child, os.WEXITED)
        assert ended is not None
        os.close(child)
        if (status := self._children.pop(child)) is not None:
            code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
            with suppress(BrokenPipeError):
                os.write(status, str(code).encode())
            os.close(status)

    def _answer(self, request: dict[str, Any], received: list[int]) -> list[int]:
        """Makes a box, and hands the process descriptors of its init and its worker to the server, and back."""
        channel, stdout, stderr, status, *groups = received
        try:
            init, worker = self._fork(request, channel, stdout, stderr, groups)
        except OSError as error:
            os.close(status)
            self._control.send(json.dumps({"error": f"a box was not built: forking: {error}"}).encode())
            return []
        finally:
            for descriptor in (channel, stdout, stderr, *groups):
                os.close(descriptor)
        self._children |= {init: None, worker: status}
        socket.send_fds(self._control, [b"{}"], [init, worker])
        return [init, worker]

    def _fork(
        self, request: dict[str, Any], channel: int, stdout: int, stderr: int, groups: Sequence[int]
    ) -> tuple[int, int]:
        linux.unshare(linux.CLONE_NEWPID)  # the next child is the first process of a new PID namespace
        try:
            quiet = [(os.POSIX_SPAWN_DUP2, self._null, descriptor) for descriptor in range(3)]
            init = os.posix_spawn(_INIT[0], _INIT, {"PATH": "/usr/bin:/bin"}, file_actions=quiet)
            try:
                worker = os.fork()
            except OSError:
                os.kill(init, signal.SIGKILL)
                os.waitpid(init, 0)
                raise
            if worker == 0:
                self._work(request, channel, stdout, stderr, groups)
        finally:
            linux.setns(self._namespace, linux.CLONE_NEWPID)
        return os.pidfd_open(init), os.pidfd_open(worker)

    def _work(self, request: dict[str, Any], channel: int, stdout: int, stderr: int, groups: Sequence[int]) -> NoReturn:
        """What the new process does, from here to its end: it never returns into the code of its parent."""
        status = 1
        try:
            self._control.detach()
            for number, descriptor in enumerate((self._null, stdout, stderr)):
                os.dup2(descriptor, number)
            linux.close_all_but({0, 1, 2, channel, *groups})
            status = self._run(request, Channel(socket.socket(fileno=channel)), groups)
        except BaseException:  # noqa: BLE001  # as an interpreter ends
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status & 0xFF)

    def _run(self, request: dict[str, Any], channel: Channel, groups: Sequence[int]) -> int:
        """Closes the box, and runs the entry module in it; gives the exit status."""
        try:
            self._enter(request, channel, groups)
        except StepError as error:
            channel.send({"failed": str(error)})
            return 1
        try:
            self._entry.run(channel)
        except ChannelClosed:
            return 1  # nobody is there any more to be told anything
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else int(end.code is not None)
        return 0

    def _enter(self, request: dict[str, Any], channel: Channel, groups: Sequence[int]) -> None:
        limits, user = Limits(**request["limits"]), f"box{request['slot']}"
        confine(
            limits,
            request["uid"],
            self._program,
            groups,
            privileged=self._privileged,
            bounded=self._bounded,
        )
        os.environ.update(HOME=str(Path.cwd()), USER=user, LOGNAME=user)
        with step("seeding its random numbers"):
            _reseed()
        with step("writing its files"):
            message, contents = channel.receive()
            for name, content in zip(message["files"], contents, strict=True):
                path = Path(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        channel.send({})


def _reseed() -> None:
    """Gives each fork random numbers of its own. Python's own `random` sees to that itself."""
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed()
    if torch := sys.modules.get("torch"):
        torch.seed()
