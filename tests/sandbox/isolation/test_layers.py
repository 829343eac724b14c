"""Each layer of a box, tried from inside it and seen from outside.

test_ordinary_user.py runs this file once more as an ordinary user.
"""

import errno
import os
import re
import secrets
import socket
import sys
from pathlib import Path

import psutil
import pytest

from tests.sandbox.isolation.boxes import RaisedError, ask, evaluator_server
from tests.system import unavailable
from workbook.sandbox.isolation import cgroups
from workbook.sandbox.isolation.box import Box, BoxDied
from workbook.sandbox.isolation.limits import MIB, Limits
from workbook.sandbox.isolation.server import ForkServer

ROOT = Path(__file__).parents[3]
AS_ROOT = os.geteuid() == 0

only_as_root = pytest.mark.skipif(not AS_ROOT, reason="an ordinary user's boxes do not have this layer")

SYSTEM_CALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def system_call(name, *arguments):
    result = libc.syscall(name, *arguments) if isinstance(name, int) else getattr(libc, name)(*arguments)
    return ctypes.get_errno() if result < 0 else 0
"""


def status(box: Box) -> dict[str, str]:
    lines = Path(f"/proc/{box.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("kind", ["pid", "mnt", "ipc", "uts", "net", *([] if AS_ROOT else ["user"])])
def test_it_has_its_own_namespaces(server: ForkServer, box: Box, kind: str) -> None:
    with server.box() as other:
        found = {Path(f"/proc/{process}/ns/{kind}").stat().st_ino for process in ("self", box.pid, other.pid)}
    assert len(found) == 3


def test_it_sees_itself_alone(box: Box) -> None:
    processes = ask(box, "sorted(name for name in os.listdir('/proc') if name.isdigit())", "import os")
    assert processes == ["1", "2"]  # its init, and itself
    assert ask(box, "os.getpid()") == 2


@only_as_root
def test_it_has_its_own_user(server: ForkServer, box: Box) -> None:
    with server.box() as second, evaluator_server() as another, another.box() as third:
        users = [psutil.Process(one.pid).uids() for one in (box, second, third)]
        assert len({user.real for user in users}) == 3
        assert all(user.real == user.effective == user.saved >= 1 << 30 for user in users)
        assert ask(box, "[os.getuid(), os.getgid(), *os.getgroups()]", "import os") == [users[0].real] * 2


def test_its_user_has_a_name(box: Box) -> None:
    assert re.fullmatch(r"box\d+", ask(box, "pwd.getpwuid(os.getuid()).pw_name", "import os, pwd"))
    assert ask(box, "os.environ['USER'] == os.environ['LOGNAME'] == pwd.getpwuid(os.getuid()).pw_name") is True


def test_it_cannot_reach_its_init(box: Box) -> None:
    with pytest.raises(RaisedError, match="PermissionError"):
        ask(box, "os.listdir('/proc/1/root')", "import os")
    ask(box, "None", "import signal\ntry: os.kill(1, signal.SIGKILL)\nexcept PermissionError: pass")
    assert box.alive


WRITABLE = {"/proc", "/dev/pts", "/tmp", "/dev/shm", "/workspace"}


def test_its_system_is_read_only(box: Box) -> None:
    top: dict[str, str] = {}  # options of the mount that is seen at each place
    for line in Path(f"/proc/{box.pid}/mountinfo").read_text().splitlines():
        fields = line.split()
        top[fields[4]] = fields[5]
    assert {place for place, options in top.items() if "rw" in options.split(",")} == WRITABLE
    assert all("nosuid" in options for options in top.values())
    for folder in ("/", "/usr", "/etc", "/dev", "/library", "/library/workbook", sys.prefix, "/sys/devices/system/cpu"):
        with pytest.raises(RaisedError, match=r"Read-only file system|Permission denied"):
            ask(box, f"open({folder + '/made-in-a-box'!r}, 'w')")
    with pytest.raises(RaisedError, match=r"Read-only file system|Permission denied"):
        ask(box, "open('/etc/passwd', 'a')")
    with pytest.raises(RaisedError, match=r"Read-only file system|Permission denied"):
        ask(box, "open('/proc/sys/kernel/hostname', 'w').write('mine')")


@pytest.mark.parametrize("place", ["workspace", "temporary", "shared_memory"])
def test_its_file_systems_have_sizes(server: ForkServer, place: str) -> None:
    path = {"workspace": "/workspace", "temporary": "/tmp", "shared_memory": "/dev/shm"}[place]
    with server.box(Limits(**{place: MIB})) as box:
        ask(box, f"open({path + '/fits'!r}, 'wb').write(bytes(500_000))")
        with pytest.raises(RaisedError, match="No space left on device"):
            ask(box, f"open({path + '/large'!r}, 'wb').write(bytes(2 << 20))")


def test_a_file_has_a_size(server: ForkServer) -> None:
    with (
        server.box(Limits(workspace=MIB, temporary=MIB, shared_memory=2 * MIB)) as box,
        pytest.raises(RaisedError, match="File too large"),
    ):
        ask(box, "os.truncate('/dev/shm/x', 3 << 20)", "import os; open('/dev/shm/x', 'w')")


def test_it_has_no_capabilities_and_gains_none(box: Box) -> None:
    seen = status(box)
    assert {seen[f"Cap{kind}"].strip("0") for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {""}
    assert seen["NoNewPrivs"] == "1"


def test_system_calls_are_denied(box: Box) -> None:
    assert status(box)["Seccomp"] == "2"
    # Each of these needs no rights: without the filter it works, or fails in another way.
    new_user_namespace, trace_me, no_such_thing = 0x10000000, 0, -1
    ask(box, "None", SYSTEM_CALL)
    assert ask(box, f"system_call('unshare', {new_user_namespace})") == errno.EPERM
    assert ask(box, f"system_call('ptrace', {trace_me}, 0, 0, 0)") == errno.EPERM
    assert ask(box, f"system_call('setns', {no_such_thing}, 0)") == errno.EPERM
    assert ask(box, f"system_call(425, 1, {no_such_thing})") == errno.EPERM  # io_uring_setup
    assert ask(box, "system_call(435, None, 0)") == errno.ENOSYS  # clone3
    assert ask(box, f"system_call(467, {no_such_thing}, None, 0, None, 0)") == errno.EPERM  # open_tree_attr
    assert ask(box, f"system_call('ioctl', 0, {0x5412}, b'x')") == errno.EPERM  # TIOCSTI
    if os.uname().machine == "x86_64":
        assert ask(box, f"system_call(56, {new_user_namespace | 17}, 0, 0, 0, 0)") == errno.EPERM  # clone


@pytest.mark.parametrize(
    ("family", "kind", "protocol", "allowed"),
    [
        (socket.AF_UNIX, socket.SOCK_STREAM, 0, True),
        (socket.AF_INET, socket.SOCK_STREAM, 0, True),
        (socket.AF_INET6, socket.SOCK_DGRAM, 0, True),
        (socket.AF_NETLINK, socket.SOCK_RAW, 0, True),
        (socket.AF_NETLINK, socket.SOCK_RAW, 9, False),  # the audit system
        (socket.AF_VSOCK, socket.SOCK_STREAM, 0, False),  # it would reach the host of a virtual machine
        (socket.AF_ALG, socket.SOCK_SEQPACKET, 0, False),
    ],
)
def test_only_some_kinds_of_sockets_exist(box: Box, family: int, kind: int, protocol: int, allowed: bool) -> None:
    ask(box, "None", "import socket")
    expression = f"socket.socket({int(family)}, {int(kind)}, {protocol}).close()"
    if allowed:
        ask(box, expression)
    else:
        with pytest.raises(RaisedError, match="not supported"):
            ask(box, expression)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="only x86-64 has 32-bit calls beside its own")
def test_programs_of_another_machine_are_killed(box: Box) -> None:
    """The 32-bit calls of x86-64 go past a filter that looks at 64-bit numbers alone."""
    code = "b8 14 00 00 00 cd 80 c3"  # mov eax, 20 (getpid); int 0x80; ret
    statements = f"""
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex({code!r}))
function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
"""
    with pytest.raises(BoxDied, match="SIGSYS"):
        ask(box, "function()", statements)


def test_resource_limits(server: ForkServer) -> None:
    with server.box(Limits(cpu_seconds=7, processes=9, temporary=600 * MIB)) as box:
        lines = Path(f"/proc/{box.pid}/limits").read_text().splitlines()[1:]
    soft, hard = ({line[:26].strip(): line[start : start + 21].strip() for line in lines} for start in (26, 47))
    assert (soft["Max cpu time"], hard["Max cpu time"]) == ("7", "12")
    for name, value in {"processes": 9, "file size": 600 * MIB, "core file size": 1}.items():
        assert soft[f"Max {name}"] == hard[f"Max {name}"] == str(value)
    assert int(hard["Max open files"]) <= 1024


FORK_BOMB = """
import os, signal, time
count = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        count += 1
except OSError:
    pass
"""


def test_a_fork_bomb_fills_only_its_box(server: ForkServer, box: Box) -> None:
    with server.box(Limits(processes=20)) as bomb:
        assert 5 <= ask(bomb, "count", FORK_BOMB) < 20
        started = bomb.processes()
        assert 5 < len(started) <= 20
        assert ask(box, "1 + 1") == 2
    assert not any(process.is_running() for process in started)


@only_as_root
def test_the_control_group_bounds_processes(server: ForkServer) -> None:
    if "pids" not in cgroups.find().parents:
        unavailable("no control group can be made here")
    with server.box(Limits(processes=20)) as bomb:
        name = re.findall(r"workbook-\d+-\d+", Path(f"/proc/{bomb.pid}/cgroup").read_text())[0]
        group = cgroups.find().parents["pids"] / name
        assert (group / "pids.max").read_text().strip() == "20"
        ask(bomb, "count", FORK_BOMB)
        assert int((group / "pids.current").read_text()) <= 20
    assert not group.exists()


@only_as_root
def test_the_control_group_bounds_processor_time(server: ForkServer) -> None:
    if "cpu" not in cgroups.find().parents:
        unavailable("no control group can be made here")
    statements = """
import time
start = time.monotonic()
while time.monotonic() < start + 1:
    pass
"""
    with server.box(Limits(cpus=0.1)) as box:
        assert ask(box, "time.process_time() / (time.monotonic() - start)", statements) < 0.5


def test_a_memory_bomb_fills_only_its_box(server: ForkServer, box: Box) -> None:
    with server.box(Limits(memory=100 * MIB)) as bomb:
        statements = "keep = []\nfor _ in range(40): keep.append(bytearray(10 << 20))"
        if "memory" in cgroups.find().parents:
            with pytest.raises(BoxDied, match="out of memory"):
                ask(bomb, "None", statements)
        else:
            with pytest.raises(RaisedError, match="MemoryError"):
                ask(bomb, "None", statements)
        assert ask(box, "1 + 1") == 2


def test_files_count_as_memory(server: ForkServer) -> None:
    statements = "import time\nfor i in range(40): open(f'/tmp/{i}', 'wb').write(bytes(10 << 20))\ntime.sleep(20)"
    with (
        server.box(Limits(memory=100 * MIB, temporary=500 * MIB)) as bomb,
        pytest.raises(BoxDied, match="out of memory"),
    ):
        ask(bomb, "None", statements)


def test_it_reaches_no_network(box: Box) -> None:
    with socket.create_server(("127.0.0.1", 0)) as here, socket.socket(socket.AF_UNIX) as abstract:
        name = f"\0{secrets.token_hex(8)}"
        abstract.bind(name)
        abstract.listen()
        ask(box, "None", "import socket")
        with pytest.raises(RaisedError, match="ConnectionRefusedError"):
            ask(box, f"socket.create_connection(('127.0.0.1', {here.getsockname()[1]}), 5)")
        with pytest.raises(RaisedError, match="Network is unreachable"):
            ask(box, "socket.create_connection(('192.0.2.1', 80), 5)")
        with pytest.raises(RaisedError, match="ConnectionRefusedError"):
            ask(box, f"socket.socket(socket.AF_UNIX).connect({name!r})")
    interfaces = ask(box, "[name for _, name in socket.if_nameindex()]")
    assert "lo" in interfaces
    assert not set(interfaces) & {name for _, name in socket.if_nameindex() if name.startswith(("e", "w"))}


def test_its_own_loopback_works(box: Box) -> None:
    statements = (
        "import socket\nserver = socket.create_server(('127.0.0.1', 0))\nsocket.create_connection(server.getsockname())"
    )
    assert ask(box, "server.accept()[1][0]", statements) == "127.0.0.1"


def test_files_of_this_machine_are_nowhere(box: Box, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    for path in (
        tmp_path / "secret",
        tmp_path,
        ROOT / "pyproject.toml",
        ROOT / "solutions",
        "/home",
        "/var",
        "/etc/shadow",
        "/run",
    ):
        assert ask(box, f"os.path.exists({str(path)!r})", "import os") is False


def test_the_library_holds_what_it_was_given(box: Box) -> None:
    found = ask(box, "sorted(str(path) for path in pathlib.Path('/library').rglob('*.py'))", "import pathlib")
    own = {f"/library/{path.relative_to(ROOT)}" for path in (ROOT / "workbook/sandbox/isolation").glob("*.py")}
    assert set(found) == own | {
        "/library/evaluator.py",
        "/library/workbook/__init__.py",
        "/library/workbook/sandbox/__init__.py",
    }
    for name in ("workbook.sandbox.kernel", "workbook.serving", "autograder", "tests"):
        with pytest.raises(RaisedError, match="ModuleNotFoundError"):
            ask(box, f"importlib.import_module({name!r})", "import importlib")


SEARCH_MEMORY = """
def occurrences(half):
    for line in open("/proc/self/maps"):
        if line.split()[1].startswith("r") and "[v" not in line:
            start, end = (int(text, 16) for text in line.split()[0].split("-"))
            with open("/proc/self/mem", "rb", 0) as memory:
                try:
                    memory.seek(start)
                    data = memory.read(end - start)
                except OSError:
                    continue
            found = data.find(half)
            while found >= 0:
                yield data[found + len(half):found + 2 * len(half)]
                found = data.find(half, found + 1)
"""


def test_nothing_of_this_process_is_in_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = secrets.token_hex(16)
    monkeypatch.setenv("SECRET", secret)
    monkeypatch.setattr(sys, "argv", [*sys.argv, secret])
    half, rest = secret[:16].encode(), secret[16:]
    with evaluator_server(environment={"KNOWN": "known-to-boxes"}) as server, server.box() as box:
        ask(box, "None", SEARCH_MEMORY)
        assert ask(box, f"any(after == {rest!r}.encode() for after in occurrences({half!r}))") is False
        # What is there, is found:
        assert ask(box, "any(after == b'to-box' for after in occurrences(b'known-'))") is True
        names = ask(box, "sorted(os.environ)", "import os")
    expected = "HOME KNOWN LANG LOGNAME OMP_NUM_THREADS OPENBLAS_NUM_THREADS PATH PYTHONPATH USER"
    assert names == expected.split()


def test_it_inherits_no_descriptors(server: ForkServer) -> None:
    with server.box(), server.box(), server.box() as box:
        found = {
            process: sorted(str(link.readlink()).split(":")[0] for link in Path(f"/proc/{process}/fd").iterdir())
            for process in (box.pid, box._init_pid)
        }
    assert found[box.pid] == ["/dev/null", "pipe", "pipe", "socket"]
    assert found[box._init_pid] == ["/dev/null", "/dev/null", "/dev/null"]


def test_random_numbers_differ() -> None:
    with evaluator_server(preload=["numpy.random", "random"]) as server, server.box() as one, server.box() as two:
        for draw in ("random.random()", "numpy.random.random()"):
            assert ask(one, draw, "import numpy, random") != ask(two, draw, "import numpy, random")
