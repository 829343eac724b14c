"""Runs a command so that neither it nor anything it started outlives the process that asked for it.

`start()` puts this file, as a script, between the two. It watches both: when the asking process goes away, even by
SIGKILL, or sends SIGTERM, it ends the command, then kills what is left of its descendants. (PR_SET_PDEATHSIG alone will
not do: it fires when the *thread* that started the child ends, and the child's own children know nothing of it.)
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

POLL_SECONDS = 0.1
GRACE_SECONDS = 5.0

# From linux/prctl.h.
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def start(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Starts a command under a guard.

    Args:
        command: The program and its arguments.
        environment: All of its environment variables.
        log: Takes what it writes to stdout and stderr.

    Returns:
        The guard: it ends when the command ends, with its exit status (128 and the signal's number where one ended it).
    """
    with log.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-P", __file__, str(os.getpid()), *command],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches the asking process alone, which then ends the command in an orderly way.
            start_new_session=True,
        )


def stop(guard: subprocess.Popen[bytes]) -> None:
    """Ends the command and its descendants, and waits for that."""
    if guard.poll() is None:
        guard.terminate()
    guard.wait()


def _main(arguments: list[str]) -> int:
    asker, command = int(arguments[0]), arguments[1:]
    asked_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_stop.append(number))
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc:
        # Descendants whose own parent died become children of the guard, so it finds all of them.
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    child = subprocess.Popen(
        command,
        # Should the guard itself be killed. It has one thread, so this is safe to do, and fires at the right time.
        preexec_fn=(lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)) if libc else None,  # noqa: PLW1509
    )
    while not asked_to_stop and os.getppid() == asker and child.poll() is None:
        time.sleep(POLL_SECONDS)
    _end(child)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    deadline = time.monotonic() + GRACE_SECONDS
    while (left := psutil.Process().children(recursive=True)) and time.monotonic() < deadline:
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=1)


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
