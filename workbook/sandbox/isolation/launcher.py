"""Builds the fork server's root and becomes the zygote in it, by executing a fresh interpreter there.

Runs as a process of its own that nothing untrusted ever sees. It stays, to end the zygote with the process that asked
for it: that process may be killed, and threads of it come and go.
"""

import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from workbook.sandbox.isolation import filesystem, linux
from workbook.sandbox.isolation.confinement import StepError, step

_ZYGOTE = "from workbook.sandbox.isolation.zygote import main; main()"


def main() -> None:
    """Reads on stdin, as JSON, what to build; the argument is the number of the socket to the process that asked."""
    control = socket.socket(fileno=int(sys.argv[1]))
    what = json.load(sys.stdin)
    asker = os.pidfd_open(os.getppid())
    try:
        with step("making namespaces"):
            if not what["privileged"]:  # an ordinary user is root in a user namespace only
                ids = os.getuid(), os.getgid()
                linux.unshare(linux.CLONE_NEWUSER)
                linux.map_ids(0, *ids)
            linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWIPC)
        zygote = os.fork()
        if zygote == 0:
            _become_zygote(control, what)
    except StepError as error:
        control.send(json.dumps({"error": f"the fork server was not built: {error}"}).encode())
        raise SystemExit(1) from None
    control.close()
    _wait(os.pidfd_open(zygote), asker)


def _wait(zygote: int, asker: int) -> None:
    """Waits for the zygote; kills it, and so all that it has forked, when the process that asked for it has ended."""
    poll = select.poll()
    poll.register(zygote, select.POLLIN)
    poll.register(asker, select.POLLIN)
    poll.poll()
    signal.pidfd_send_signal(zygote, signal.SIGKILL)
    os.waitid(os.P_PIDFD, zygote, os.WEXITED)


def _become_zygote(control: socket.socket, what: dict[str, Any]) -> None:
    with step("preparing its process"):
        linux.die_with_parent()
        os.setsid()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whoever asked may block SIGINT; cells are interrupted by it
    with step("building its root"):
        first, count = what["uids"]
        users = {f"box{slot}": first + slot for slot in range(count)}
        filesystem.build_root(Path(what["root"]), what["library"], users)
    with step("executing the interpreter in its root"):
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        environment = {
            "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "PYTHONPATH": filesystem.LIBRARY,
            "OMP_NUM_THREADS": "1",  # a fork of a process with threads hangs where it needs one that is not there
            "OPENBLAS_NUM_THREADS": "1",
            **what["environment"],
        }
        told = json.dumps({name: what[name] for name in ("entry", "preload", "privileged", "filtered", "bounded")})
        arguments = [sys.executable, "-P", "-c", _ZYGOTE, str(control.fileno()), told]
        os.execve(sys.executable, arguments, environment)


if __name__ == "__main__":
    main()
