"""The system calls that a box may not make.

It is a list of what is denied: the boxes run arbitrary Python, torch and compilers, so a list of what is allowed would
be most of the kernel. Denied is what reaches the kernel's least tried corners, what undoes the other layers, and what
acts on the whole machine. A call made in the tongue of another machine (32-bit, x32) kills the process.
"""

import errno
import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from workbook.sandbox.isolation import linux

_DENIED = """
    mount umount2 pivot_root chroot move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick mount_setattr
    unshare setns ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd
    bpf perf_event_open userfaultfd keyctl add_key request_key io_uring_setup io_uring_enter io_uring_register
    init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff acct quotactl quotactl_fd
    settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname iopl ioperm modify_ldt
    open_by_handle_at name_to_handle_at fanotify_init syslog vhangup nfsservctl lookup_dcookie
"""

# Memory that no process need have mapped: where no control group counts it, nobody does.
_UNCOUNTED = "memfd_create memfd_secret shmget"

_NAMESPACES = (
    linux.CLONE_NEWNS,
    linux.CLONE_NEWCGROUP,
    linux.CLONE_NEWUTS,
    linux.CLONE_NEWIPC,
    linux.CLONE_NEWUSER,
    linux.CLONE_NEWPID,
    linux.CLONE_NEWNET,
)
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_NETLINK_ROUTE = 0
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # put text into a terminal's input
_NEWER = {"open_tree_attr": 467}  # numbers of calls that libseccomp may be too old to know


def unavailable() -> str | None:
    """None where a filter can be compiled; otherwise what is missing, and how to get it."""
    if find_spec("pyseccomp") is None:
        return "the Python package pyseccomp is missing: install it with pip, or run `make setup`"
    try:
        import pyseccomp  # noqa: F401  # it looks for its C library when it is imported
    except (RuntimeError, OSError) as error:
        return f"{error}: install the Debian package libseccomp2"
    return None


def compile_filter(*, bounded: bool) -> bytes:
    """Compiles the filter into the program that the kernel takes.

    Args:
        bounded: Whether a control group bounds the memory of a box.

    Raises:
        OSError: libseccomp refused a rule.
    """
    import pyseccomp

    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    uncounted = [] if bounded else [(name, errno.ENOSYS) for name in _UNCOUNTED.split()]
    for name, error, *conditions in (*_rules(pyseccomp), *uncounted):
        number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
        if number == -1:
            number = _NEWER.get(name, -1)
        if number != -1:  # otherwise this kind of machine has no such call
            rules.add_rule(pyseccomp.ERRNO(error), number, *conditions)
    with os.fdopen(os.memfd_create("seccomp"), "rb") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def _rules(pyseccomp: Any) -> Iterator[tuple[Any, ...]]:
    """Yields the name of a call, the error that it gives, and the conditions on its arguments under which it does."""
    argument, ge, masked = pyseccomp.Arg, pyseccomp.GE, pyseccomp.MASKED_EQ
    for name in _DENIED.split():
        yield name, errno.EPERM
    # New namespaces would bring new capabilities. A filter cannot look into clone3's arguments: where it does not
    # exist, the C library falls back to clone.
    yield "clone3", errno.ENOSYS
    for flag in _NAMESPACES:
        yield "clone", errno.EPERM, argument(0, masked, flag, flag)
    # Some families, AF_VSOCK for one, pay no heed to network namespaces.
    low = (1 << 32) - 1  # the kernel takes 32 bits of a family, so a filter must look at no more
    for family in range(_AF_NETLINK):
        if family not in (_AF_UNIX, _AF_INET, _AF_INET6):
            yield "socket", errno.EAFNOSUPPORT, argument(0, masked, low, family)
    yield "socket", errno.EAFNOSUPPORT, argument(0, ge, _AF_NETLINK + 1)
    yield (
        "socket",
        errno.EPROTONOSUPPORT,
        argument(0, masked, low, _AF_NETLINK),
        argument(2, pyseccomp.NE, _NETLINK_ROUTE),
    )
    for family in range(_AF_NETLINK + 1):
        if family != _AF_UNIX:
            yield "socketpair", errno.EAFNOSUPPORT, argument(0, masked, low, family)
    yield "socketpair", errno.EAFNOSUPPORT, argument(0, ge, _AF_NETLINK + 1)
    for request in (_TIOCSTI, _TIOCLINUX):
        yield "ioctl", errno.EPERM, argument(1, masked, low, request)
