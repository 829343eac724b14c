"""Live probes of each layer: a box is made, things are tried from inside it, and this machine looks at it.

For a command that tells what a machine offers. What tries things inside is `inside`.
"""

import errno
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from workbook.sandbox.isolation import cgroups, linux
from workbook.sandbox.isolation.box import Box, BoxDied, IsolationError
from workbook.sandbox.isolation.channel import ChannelError
from workbook.sandbox.isolation.filesystem import environment
from workbook.sandbox.isolation.limits import MIB, Limits
from workbook.sandbox.isolation.server import ForkServer, available

_LIMITS = Limits(memory=200 * MIB, processes=20, workspace=MIB, temporary=2 * MIB, shared_memory=3 * MIB)
_NAMESPACES = {"PID": "pid", "mount": "mnt", "network": "net", "IPC": "ipc", "UTS": "uts", "user": "user"}
_OWN_MOUNTS = {"/proc", "/dev/pts", "/dev/shm", "/tmp", "/workspace"}
_AS_ROOT = "run as root"
_GROUPS = "run as root, where /sys/fs/cgroup can be written (in a container: with control groups of its own)"
_TIMEOUT = 60.0  # seconds for one trial


@dataclass(frozen=True)
class Probe:
    """What was found out about one layer.

    Attributes:
        layer: Its name.
        ok: Whether it holds.
        detail: What was seen.
        remedy: What to do where it does not hold; may be empty.
    """

    layer: str
    ok: bool
    detail: str
    remedy: str = ""


def probe() -> list[Probe]:
    """Tries every layer; one probe where no box can be made at all. Raises nothing for what it finds."""
    if reason := available():
        return [Probe("sandbox", False, reason, "" if sys.platform == "linux" else "use Linux, or WSL 2 on Windows")]
    try:
        with ForkServer("workbook.sandbox.isolation.inside", library={}) as server:
            return [_try(layer, look, server) for layer, look in _LAYERS.items()]
    except IsolationError as error:
        return [Probe("sandbox", False, str(error), _AS_ROOT if os.geteuid() else "")]


class _Trials:
    """A box, and what can be tried in it."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{box.pid}/status").read_text().splitlines() if ":\t" in line
        )

    def __getattr__(self, trial: str) -> Callable[..., Any]:
        def ask(*arguments: Any) -> Any:
            self.box.send({"trial": trial, "arguments": arguments})
            return self.box.receive(_TIMEOUT)[0]["seen"]

        return ask


_Found = tuple[bool, str] | tuple[bool, str, str]
_LAYERS: dict[str, Callable[[_Trials], _Found]] = {}


def _try(layer: str, look: Callable[[_Trials], _Found], server: ForkServer) -> Probe:
    try:
        with server.box(_LIMITS) as box:
            return Probe(layer, *look(_Trials(box)))
    except (IsolationError, BoxDied, ChannelError, TimeoutError, OSError) as error:
        return Probe(layer, False, str(error))


def _layer(name: str) -> Callable[[Callable[[_Trials], _Found]], Callable[[_Trials], _Found]]:
    """Registers what looks at a layer; it returns whether that holds, what it saw, and a remedy."""

    def register(look: Callable[[_Trials], _Found]) -> Callable[[_Trials], _Found]:
        _LAYERS[name] = look
        return look

    return register


def _namespace(kind: str) -> Callable[[_Trials], _Found]:
    def look(trials: _Trials) -> _Found:
        fork_server = psutil.Process(trials.box.pid).ppid()
        processes = (os.getpid(), fork_server, trials.box.pid)
        ours, server, its = (Path(f"/proc/{process}/ns/{kind}").readlink() for process in processes)
        if kind == "user" and ours == its and os.geteuid() == 0:
            return True, "not needed: root makes the boxes, and each has a user ID of its own"
        return its not in (ours, server), f"this process is in {ours}, the fork server in {server}, the box in {its}"

    return look


for _name, _kind in _NAMESPACES.items():
    _layer(f"{_name} namespace")(_namespace(_kind))


@_layer("user ID")
def _user(trials: _Trials) -> _Found:
    user = psutil.Process(trials.box.pid).uids().real
    if user in (0, os.getuid()):
        return False, f"boxes share your user ID, {user}", _AS_ROOT
    return True, f"the box is user {user}"


@_layer("read-only system")
def _read_only(trials: _Trials) -> _Found:
    options: dict[str, str] = {}  # the last mount at a place is the one that is seen
    for line in Path(f"/proc/{trials.box.pid}/mountinfo").read_text().splitlines():
        fields = line.split()
        options[fields[4]] = fields[5]
    writable = {place for place, text in options.items() if "rw" in text.split(",")} - _OWN_MOUNTS
    folders = ("/", "/usr", "/etc", "/library", sys.prefix)
    writable |= {folder for folder in folders if trials.write(f"{folder}/probe", 1) is None}
    return (
        not writable,
        f"writable: {', '.join(sorted(writable))}" if writable else "nothing of the system can be written",
    )


@_layer("Python environment")
def _python(trials: _Trials) -> _Found:
    if error := trials.python():
        return False, f"a program in a box cannot use it: {error}", f"chmod -R a+rX {sys.prefix} {sys.base_prefix}"
    return True, f"programs in a box can use {sys.prefix}"


@_layer("file systems of bounded size")
def _sizes(trials: _Trials) -> _Found:
    sizes = {"/workspace": _LIMITS.workspace, "/tmp": _LIMITS.temporary, "/dev/shm": _LIMITS.shared_memory}
    for folder, size in sizes.items():
        if error := trials.write(f"{folder}/fits", size // 2):
            return False, f"{folder}: {error}"
        if trials.write(f"{folder}/large", size) is None:
            return False, f"{folder} takes more than {size} bytes"
    return True, f"{', '.join(sizes)} are full when they should be"


@_layer("no capabilities")
def _capabilities(trials: _Trials) -> _Found:
    held = {name: value for name, value in trials.status.items() if name.startswith("Cap") and value.strip("0")}
    return not held, f"the box holds {held}" if held else "the box holds none, and can gain none"


@_layer("no new privileges")
def _no_new_privileges(trials: _Trials) -> _Found:
    return trials.status["NoNewPrivs"] == "1", f"the kernel says {trials.status['NoNewPrivs']}"


@_layer("system call filter")
def _filter(trials: _Trials) -> _Found:
    allowed = []
    if trials.unshare(linux.CLONE_NEWUSER) != os.strerror(errno.EPERM):
        allowed.append("new user namespaces")
    if trials.make_socket(socket.AF_VSOCK) != os.strerror(errno.EAFNOSUPPORT):
        allowed.append("sockets to a virtual machine's host")
    if error := trials.make_socket(socket.AF_INET):
        return False, f"a box can make no socket at all: {error}"
    filtered = trials.status["Seccomp"] == "2" and not allowed
    return filtered, f"allowed: {', '.join(allowed)}" if allowed else f"the kernel says {trials.status['Seccomp']}"


@_layer("resource limits")
def _resources(trials: _Trials) -> _Found:
    lines = Path(f"/proc/{trials.box.pid}/limits").read_text().splitlines()
    if not any(line.split()[:4] == ["Max", "processes", *[str(_LIMITS.processes)] * 2] for line in lines):
        return False, "the box may start as many processes as this machine allows"
    children = trials.fork(2 * _LIMITS.processes)
    return children < _LIMITS.processes, f"a box of {_LIMITS.processes} processes started {children} more"


@_layer("control group: memory")
def _memory(trials: _Trials) -> _Found:
    fits, large = trials.allocate(_LIMITS.memory // 4), trials.allocate(2 * _LIMITS.memory)
    if not fits:
        return False, f"a quarter of a box's {_LIMITS.memory // MIB} MiB cannot be had"
    if "memory" not in trials.box.group.folders:
        bound = "nothing bounds memory" if large else "only the private memory of each process is bounded"
        return False, f"{bound}: {cgroups.find().missing['memory']}", _GROUPS
    killed = not large and trials.box.group.out_of_memory()
    return killed, f"twice a box's {_LIMITS.memory // MIB} MiB {'was refused' if killed else 'could be had'}"


@_layer("control group: processes")
def _processes(trials: _Trials) -> _Found:
    return _bounded(trials, "pids")


@_layer("control group: processor")
def _processor(trials: _Trials) -> _Found:
    return _bounded(trials, "cpu")


def _bounded(trials: _Trials, controller: str) -> _Found:
    """Whether the worker is in its group of a controller, as the kernel tells."""
    folder = trials.box.group.folders.get(controller)
    if folder is None:
        return False, cgroups.find().missing[controller], _GROUPS
    members = (folder / "cgroup.procs").read_text().split()
    return str(trials.box.pid) in members, f"{folder} holds {len(members)} process"


@_layer("network out of reach")
def _network(trials: _Trials) -> _Found:
    with socket.create_server(("127.0.0.1", 0)) as here:
        if trials.connect("127.0.0.1", here.getsockname()[1]) is None:
            return False, "a box reaches servers of this machine"
    elsewhere = trials.connect("192.0.2.1", 80)  # an address that no machine has: it is the route that counts
    return elsewhere == os.strerror(errno.ENETUNREACH), f"this machine refuses it; other machines: {elsewhere}"


@_layer("files of this machine out of reach")
def _files(trials: _Trials) -> _Found:
    with tempfile.NamedTemporaryFile() as here:
        places = [Path(here.name), Path(__file__), Path("/var"), Path("/etc/shadow"), *_home()]
        seen = [str(place) for place in places if trials.exists(str(place))]
    return not seen, f"a box sees {', '.join(seen)}" if seen else "a box sees no file but the system's and Python's"


def _home() -> Iterator[Path]:
    """What is in the user's folder, but for the way to a Python environment that lies there."""
    with suppress(OSError):
        for path in Path.home().iterdir():
            if not any(below.is_relative_to(path) for below in environment()):
                yield path
