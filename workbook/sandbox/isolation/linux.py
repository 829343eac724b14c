"""Linux system calls that Python has no function for. Each failure is an OSError that names the call."""

import ctypes
import os
import socket
import struct
from array import array
from collections.abc import Iterable
from functools import cache
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID = 1, 2

# Numbers of calls that the C library has no function for, as x86_64 and aarch64 have them; the other calls have one
# number everywhere. Those of aarch64 are not tested.
_NUMBERS = {"pivot_root": (155, 41), "keyctl": (250, 219), "capset": (126, 91)}
_COMMON = {"mount_setattr": 442, "close_range": 436}
_MACHINES = ("x86_64", "aarch64")

_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
_CAPABILITY_VERSION_3 = 0x20080522
_ROOTS_WORK = 1 << 6 | 1 << 7 | 1 << 12 | 1 << 21  # CAP_SETGID, CAP_SETUID, CAP_NET_ADMIN, CAP_SYS_ADMIN
_LAST_DESCRIPTOR = 0xFFFFFFFF
_MOST_DESCRIPTORS = 16  # in one message
_LAST_UID = 1 << 31
_KEYCTL_JOIN_SESSION_KEYRING = 1
_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 0x1, 0x40


def supported() -> bool:
    """Whether this machine is one whose system call numbers are known here."""
    return os.uname().machine in _MACHINES


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int | str | bytes | None) -> None:
    values = [
        value.encode() if isinstance(value, str) else ctypes.c_long(value) if isinstance(value, int) else value
        for value in arguments
    ]
    if name in _NUMBERS or name in _COMMON:
        number = _COMMON.get(name) or _NUMBERS[name][_MACHINES.index(os.uname().machine)]
        result = _libc().syscall(ctypes.c_long(number), *values)
    else:
        result = getattr(_libc(), name)(*values)
    if result < 0:
        error = ctypes.get_errno()
        shown = ", ".join(repr(value) for value in arguments if isinstance(value, int | str))
        raise OSError(error, f"{name}({shown}): {os.strerror(error)}")


def unshare(flags: int) -> None:
    """Leaves the namespaces of these kinds for new ones."""
    _call("unshare", flags)


def setns(fd: int, kind: int) -> None:
    """Enters the namespace that `fd` stands for."""
    _call("setns", fd, kind)


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    """Mounts a file system, as the system call does."""
    _call("mount", source, target, kind, flags, options)


def set_mount_attributes(path: str, on: int = 0, off: int = 0, *, recursive: bool = False) -> None:
    """Sets and clears MOUNT_ATTR_* of a mount, and of all mounts below it if `recursive`."""
    attributes = struct.pack("QQQQ", on, off, 0, 0)
    _call("mount_setattr", _AT_FDCWD, path, _AT_RECURSIVE if recursive else 0, attributes, len(attributes))


def pivot_root() -> None:
    """Makes the current directory the root, and lets go of the old root with all that is mounted there."""
    _call("pivot_root", ".", ".")
    _call("umount2", ".", MNT_DETACH)
    os.chdir("/")


def die_with_parent() -> None:
    """Has the kernel kill this process when the thread that started it ends."""
    _call("prctl", _PR_SET_PDEATHSIG, 9, 0, 0, 0)


def set_hostname(name: str) -> None:
    """Names the machine in this UTS namespace."""
    _call("sethostname", name, len(name))


def bring_up_loopback() -> None:
    """Starts the interface `lo` of this network namespace."""
    import fcntl

    with socket.socket() as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP | _IFF_RUNNING))


def join_new_keyring() -> None:
    """Leaves the session keyring for an empty one."""
    _call("keyctl", _KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)


def drop_bounding_set() -> None:
    """Gives up, for good, every capability that a program could still bring."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        _call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)


def drop_capabilities() -> None:
    """Gives up all effective, permitted and inheritable capabilities."""
    _call("capset", struct.pack("Ii", _CAPABILITY_VERSION_3, 0), bytes(24))


def set_dumpable() -> None:
    """Gives a process that changed its user its own files in /proc back."""
    _call("prctl", _PR_SET_DUMPABLE, 1, 0, 0, 0)


def forbid_new_privileges() -> None:
    """No program started from here on gains rights by being executed."""
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def load_seccomp(program: bytes) -> None:
    """Puts this thread, and all that it starts, under a compiled seccomp filter."""
    instructions = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("H6xP", len(program) // 8, ctypes.addressof(instructions))
    _call("prctl", _PR_SET_SECCOMP, 2, header, 0, 0)


def is_privileged(uid: int) -> bool:
    """Whether this process may make namespaces as it is, and become the user `uid`: root, and not one in name only."""
    if os.geteuid() != 0:
        return False
    status = Path("/proc/self/status").read_text().splitlines()
    effective = int(next(line.split()[1] for line in status if line.startswith("CapEff:")), 16)
    maps = [map(int, line.split()) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    mapped = any(first <= uid and first + count >= _LAST_UID for first, _, count in maps)
    return mapped and effective & _ROOTS_WORK == _ROOTS_WORK


def map_ids(inside: int, uid: int, gid: int) -> None:
    """Gives the user `uid` and the group `gid` of the outer user namespace the number `inside` in this new one."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{inside} {uid} 1"), ("gid_map", f"{inside} {gid} 1")):
        Path("/proc/self", name).write_text(text)


def close_all_but(kept: Iterable[int]) -> None:
    """Closes all file descriptors but these."""
    first = 0
    for descriptor in sorted(kept):
        if descriptor > first:
            _call("close_range", first, descriptor - 1, 0)
        first = descriptor + 1
    _call("close_range", first, _LAST_DESCRIPTOR, 0)


def receive_descriptors(end: socket.socket) -> tuple[bytes, list[int]]:
    """Receives a message and the file descriptors that came with it. No program started from here inherits them.

    `socket.recv_fds` takes flags, but pays no heed to them.
    """
    received = array("i")
    space = socket.CMSG_LEN(_MOST_DESCRIPTORS * received.itemsize)
    data, ancillary, _, _ = end.recvmsg(1 << 16, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            received.frombytes(content[: len(content) - len(content) % received.itemsize])
    return data, list(received)
