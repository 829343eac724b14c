"""Live probes of each layer: a box is made, things are tried from inside it, and this machine looks at it.

For a command that tells what a machine offers. What tries things inside is `inside`.
"""

import errno
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from workbook.sandbox.isolation import cgroups, linux, seccomp
from workbook.sandbox.isolation.box import Box, BoxDied, IsolationError
from workbook.sandbox.isolation.channel import ChannelError
from workbook.sandbox.isolation.filesystem import environment
from workbook.sandbox.isolation.limits import MIB, Limits
from workbook.sandbox.isolation.server import ForkServer, available, is_privileged

SANDBOX = "sandbox"
"""The name of the one probe there is where no box can be made at all."""

_LIMITS = Limits(memory=200 * MIB, processes=20, workspace=MIB, temporary=2 * MIB, shared_memory=3 * MIB)
_SHORT = replace(_LIMITS, cpu_seconds=1)
_CONTROLLERS = {"memory": "memory", "pids": "processes", "cpu": "processor"}
_NAMESPACES = {"PID": "pid", "mount": "mnt", "network": "net", "IPC": "ipc", "UTS": "uts", "user": "user"}
_OWN_MOUNTS = {"/proc", "/dev/pts", "/dev/shm", "/tmp", "/workspace"}
_AS_ROOT = "run as root"
_GROUPS = "run as root, where /sys/fs/cgroup can be written (in a container: with control groups of its own)"
_CONTAINER = "in a container: start it with --privileged, or grade outside of it"
_WAYS = {  # a step that may fail, and what to do then
    "coreutils": "install GNU coreutils 8.31 or newer",
    "namespaces": _CONTAINER,
    "mounting": _CONTAINER,
    "root": _CONTAINER,
    "watching": _CONTAINER,
    "filter": "grade on a kernel with seccomp filters, as any distribution's is",
}
_TIMEOUT = 60.0  # seconds for one trial
_PATIENCE = 20.0  # seconds in which a watchdog must end a box; it takes one, unless the machine is busy
_AT_ONCE = 6  # boxes
_NOT_BUILT = "a box was not built"  # how the errors of `server` begin
_TIMED = "watchdog: processor"


@dataclass(frozen=True)
class Probe:
    """What was found out about one layer.

    Attributes:
        layer: Its name.
        ok: Whether it holds.
        detail: What was seen.
        remedy: What to do where it does not hold; may be empty.
        needed: Whether boxes need it on this machine, since nothing else stands in for it.
    """

    layer: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = True


def probe(layers: Collection[str] | None = None) -> list[Probe]:
    """Tries layers; one probe where no box can be made at all. Raises nothing for what it finds.

    Args:
        layers: Their names; None is all.
    """
    if reason := available(filtered=False):
        return [Probe(SANDBOX, False, reason, "" if sys.platform == "linux" else "use Linux, or WSL 2 on Windows")]
    filtered = seccomp.unavailable() is None
    keys = set()
    with suppress(OSError):  # some containers hide them
        keys = {line.split()[0] for line in Path("/proc/keys").read_text().splitlines()}
    try:
        with (
            ForkServer("workbook.sandbox.isolation.inside", library={}, filtered=filtered) as server,
            ThreadPoolExecutor(_AT_ONCE) as pool,
        ):
            chosen = (layer for layer in _LAYERS if layers is None or layer in layers)
            found = list(pool.map(lambda layer: _try(layer, server, keys), chosen))
    except IsolationError as error:
        return [_no_sandbox(str(error))]
    if found and all(one.detail.startswith(_NOT_BUILT) for one in found):
        return [_no_sandbox(found[0].detail)]
    spared = _spared()
    return [replace(one, needed=one.layer not in spared) for one in found]


def _no_sandbox(error: str) -> Probe:
    ways = [way for word, way in _WAYS.items() if word in error]
    return Probe(SANDBOX, False, error, " or ".join([*[_AS_ROOT] * bool(os.geteuid()), *ways[:1]]))


def _spared() -> set[str]:
    """The layers for which something else stands in on this machine."""
    missing = cgroups.find().missing
    spared = {"user namespace" if is_privileged() else "user ID"}
    spared |= {f"control group: {_CONTROLLERS[name]}" for name in missing}
    return spared | {f"watchdog: {_CONTROLLERS[name]}" for name in ("memory", "cpu") if name not in missing}


class _Trials:
    """A box, what can be tried in it, and the keys that were there before it."""

    def __init__(self, box: Box, keys_before: set[str]) -> None:
        self.box, self.keys_before = box, keys_before
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


def _try(layer: str, server: ForkServer, keys_before: set[str]) -> Probe:
    try:
        with server.box(_SHORT if layer == _TIMED else _LIMITS) as box:
            return Probe(layer, *_LAYERS[layer](_Trials(box, keys_before)))
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
        if kind == "user" and ours == its and is_privileged():
            return False, "root makes the boxes, and each has a user ID of its own"
        return its not in (ours, server), f"this process is in {ours}, the fork server in {server}, the box in {its}"

    return look


for _name, _kind in _NAMESPACES.items():
    _layer(f"{_name} namespace")(_namespace(_kind))


@_layer("user ID")
def _user(trials: _Trials) -> _Found:
    user = psutil.Process(trials.box.pid).uids().real
    if user in (0, os.getuid()):
        return False, f"boxes share your user ID, {user}: one that broke out of them would have your rights", _AS_ROOT
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
    if reason := seccomp.unavailable():
        return False, reason
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
        bound = "nothing bounds memory" if large else "only the watchdog bounds memory of all processes, with a delay"
        return False, f"{bound}: {cgroups.find().missing['memory']}", _GROUPS
    killed = not large and trials.box.group.out_of_memory()
    return killed, f"twice a box's {_LIMITS.memory // MIB} MiB {'was refused' if killed else 'could be had'}"


@_layer("control group: processes")
def _processes(trials: _Trials) -> _Found:
    return _bounded(trials, "pids", "resource limits bound them instead")


@_layer("control group: processor")
def _processor(trials: _Trials) -> _Found:
    return _bounded(trials, "cpu", "a box may use every processor, and the watchdog bounds its time")


def _bounded(trials: _Trials, controller: str, otherwise: str) -> _Found:
    """Whether the worker is in its group of a controller, as the kernel tells."""
    folder = trials.box.group.folders.get(controller)
    if folder is None:
        return False, f"{otherwise}: {cgroups.find().missing[controller]}", _GROUPS
    members = (folder / "cgroup.procs").read_text().split()
    return str(trials.box.pid) in members, f"{folder} holds {len(members)} process"


@_layer("watchdog: memory")
def _watched_memory(trials: _Trials) -> _Found:
    if "memory" in trials.box.group.folders:
        return False, "the control group bounds it"
    trial = partial(trials.share_out, 4, _LIMITS.memory // 3, _PATIENCE)
    return _is_ended(trial, "out of memory", "which together had more memory than one box may")


@_layer(_TIMED)
def _watched_processor(trials: _Trials) -> _Found:
    if "cpu" in trials.box.group.folders:
        return False, "the control group bounds it"
    return _is_ended(partial(trials.burn, 4, _PATIENCE), "processor time", "which together used more than one box may")


def _is_ended(trial: Callable[[], None], reason: str, what: str) -> _Found:
    """Whether a box in which several processes exceed a bound together, and none alone, is ended for this reason."""
    try:
        trial()
    except BoxDied as died:
        return reason in died.reason, f"a box of several processes {what}: {died.reason}"
    return False, f"a box of several processes {what}, went on for {_PATIENCE:g} s"


@_layer("first to end where memory runs out")
def _first_to_end(trials: _Trials) -> _Found:
    score = Path(f"/proc/{trials.box.pid}/oom_score_adj").read_text().strip()
    return score == "1000", f"the kernel's score is {score} of 1000"


@_layer("keyring")
def _keyring(trials: _Trials) -> _Found:
    if set(trials.keyrings()) - trials.keys_before:
        return True, "the box has one that was not there before"
    return False, "the box has none of its own"


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
