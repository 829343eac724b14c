"""How a box closes around its own process, step by step. Each failure raises, before anything untrusted runs."""

import os
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from workbook.sandbox.isolation import filesystem, linux
from workbook.sandbox.isolation.limits import MIB, Limits

_GRACE = 5  # seconds of processor time between SIGXCPU, which can be ignored, and SIGKILL


class StepError(Exception):
    """A step of building a sandbox failed; the text names it."""


@contextmanager
def step(name: str) -> Iterator[None]:
    """Names the step in whatever goes wrong in the block."""
    try:
        yield
    except Exception as error:
        raise StepError(f"{name}: {error}") from error


def confine(
    limits: Limits, uid: int, program: bytes | None, groups: Sequence[int], *, privileged: bool, bounded: bool
) -> None:
    """Closes the box. For a process with one thread, the first but init in a PID namespace of its own.

    Args:
        limits: What the box may use.
        uid: Its user ID; an ordinary user's box has it in its own user namespace only.
        program: The compiled seccomp filter; None for none.
        groups: Descriptors that take it into its control groups.
        privileged: Whether this process is root, rather than an ordinary user who is root in a user namespace.
        bounded: Whether a control group bounds its memory.

    Raises:
        StepError: The box is half built, and must run nothing.
    """
    with step("making namespaces"):
        os.setsid()
        linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS)
    with step("mounting its file systems"):
        filesystem.mount_box(limits, f",uid={uid},gid={uid}" if privileged else "")
    with step("naming its host and starting its loopback interface"):
        linux.set_hostname("sandbox")
        linux.bring_up_loopback()
    with step("entering its control groups"):
        for descriptor in groups:
            os.write(descriptor, b"0")
            os.close(descriptor)
    with step("leaving the keyring"):
        linux.join_new_keyring()
    with step("offering itself where this machine runs out of memory"):
        Path("/proc/self/oom_score_adj").write_text("1000")
    if not privileged:
        # Not earlier, for mounting /proc needs the outer one; not later, for the limit of processes counts in it.
        with step("making its user namespace"):
            linux.unshare(linux.CLONE_NEWUSER)
            linux.map_ids(uid, 0, 0)
    with step("setting resource limits"):
        _limit(limits, bounded=bounded)
    with step("dropping capabilities"):
        linux.drop_bounding_set()
        if privileged:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        linux.drop_capabilities()
        linux.set_dumpable()
        linux.forbid_new_privileges()
    if program is not None:
        with step("loading the system call filter"):
            linux.load_seccomp(program)
    with step("entering its workspace"):
        os.chdir(filesystem.WORKSPACE)


def _limit(limits: Limits, *, bounded: bool) -> None:
    cpu = limits.cpu_seconds
    wanted = {
        resource.RLIMIT_CPU: (cpu, cpu + _GRACE),
        resource.RLIMIT_CORE: (1,) * 2,  # none at all; with 0 this machine's crash handler would be sent the memory
        resource.RLIMIT_FSIZE: (max(limits.workspace, limits.temporary, limits.shared_memory),) * 2,
        resource.RLIMIT_MEMLOCK: (8 * MIB,) * 2,
        resource.RLIMIT_NOFILE: (1024,) * 2,
        resource.RLIMIT_NPROC: (limits.processes,) * 2,
    }
    if not bounded:
        wanted[resource.RLIMIT_DATA] = (limits.memory,) * 2
    for which, bounds in wanted.items():
        highest = resource.getrlimit(which)[1]
        soft, hard = (min(bound, sys.maxsize if highest == resource.RLIM_INFINITY else highest) for bound in bounds)
        resource.setrlimit(which, (soft, hard))
