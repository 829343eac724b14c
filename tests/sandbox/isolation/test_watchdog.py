"""The watchdog: what boxes use together where no control group bounds it. Here none can be made, whoever runs this.

test_ordinary_user.py runs this file once more as an ordinary user.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.sandbox.isolation.boxes import RaisedError, ask, evaluator_server
from workbook.sandbox.isolation import cgroups, watchdog
from workbook.sandbox.isolation.box import BoxDied, IsolationError
from workbook.sandbox.isolation.limits import MIB, Limits
from workbook.sandbox.isolation.server import ForkServer

pytestmark = pytest.mark.usefixtures("sandboxes")

NO_GROUPS = cgroups.Hierarchy({}, 1, dict.fromkeys(cgroups.CONTROLLERS, "not in this test"))


@pytest.fixture(scope="module")
def watched(sandboxes: None) -> Iterator[ForkServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cgroups, "find", lambda: NO_GROUPS)
        server = evaluator_server()
    with server:
        yield server


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "watchdog"}


def end_of(server: ForkServer, limits: Limits, statements: str, timeout: float = 20) -> str:
    """Why a box ends that executes statements and then waits; "lives" if it does not."""
    with server.box(limits) as box:
        try:
            ask(box, "None", statements, timeout=timeout)
        except BoxDied as died:
            return died.reason
        except TimeoutError:
            return "lives"
    return "lives"


PRIVATE = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        kept = bytearray(80 << 20)
        break
"""

# No limit of a process's private memory applies to it.
SHARE = """
import mmap, os, time
def share(size):
    memory = mmap.mmap(-1, size << 20)
    for _ in range(size):
        memory.write(bytes(1 << 20))
    return memory
"""

# ---------------------------------------------------------------- memory


@pytest.mark.parametrize(
    "statements",
    [
        PRIVATE,
        "for i in range(25): open(f'/tmp/{i}', 'wb').write(bytes(10 << 20))",
        "for i in range(12): open(f'/tmp/{i}', 'wb').write(bytes(10 << 20))\n"
        "for i in range(12): open(f'/dev/shm/{i}', 'wb').write(bytes(10 << 20))",
        "import os\nfile = os.open('/tmp/x', os.O_CREAT | os.O_WRONLY)\nos.unlink('/tmp/x')\n"
        "for _ in range(25): os.write(file, bytes(10 << 20))",
        SHARE + "memory = share(250)",
        SHARE + "import threading\nif os.fork() == 0:\n"
        "    threading.Thread(target=lambda: (share(250), time.sleep(600))).start()\n"
        "    __import__('ctypes').CDLL(None).syscall(60, 0)",  # the first thread alone ends
    ],
    ids=["private", "files", "two file systems", "files without a name", "shared", "first thread ended"],
)
def test_a_box_is_ended_that_has_too_much_memory_in_total(watched: ForkServer, statements: str) -> None:
    if "syscall(60" in statements and os.uname().machine != "x86_64":
        pytest.skip("the number of a system call is that of x86-64")
    limits = Limits(memory=200 * MIB, temporary=400 * MIB, shared_memory=400 * MIB)
    statements += "\nimport time; time.sleep(20)"
    assert end_of(watched, limits, statements) == "out of memory"


@pytest.mark.parametrize(
    "statements",
    [
        SHARE + "memory = share(150)\nfor _ in range(5):\n    if os.fork() == 0:\n"
        "        seen = [memory[place] for place in range(0, 150 << 20, 4096)]\n        break",
        "import os\nfor _ in range(5):\n    kept = bytearray(150 << 20)\n    del kept",
        "import os\nfor _ in range(60):\n    if os.fork() == 0: break",
        "for i in range(15): open(f'/tmp/{i}', 'wb').write(bytes(10 << 20))\n"
        "import mmap\nfiles = [open(f'/tmp/{i}', 'r+b') for i in range(15)]\n"
        "maps = [mmap.mmap(file.fileno(), 0) for file in files]\n"
        "seen = [one[place] for one in maps for place in range(0, 10 << 20, 4096)]",
    ],
    ids=["what is shared", "one after the other", "what is the fork server's", "files that are mapped"],
)
def test_nothing_counts_twice(watched: ForkServer, statements: str) -> None:
    statements += "\nimport time; time.sleep(20)"
    assert end_of(watched, Limits(memory=200 * MIB), statements, timeout=1.5) == "lives"


def test_a_process_that_is_being_started_does_not_count_twice(watched: ForkServer) -> None:
    """Until it executes its program it is in its parent's memory; here it has to wait before it can."""
    statements = """
import os, time
os.mkfifo("/tmp/wait")
if os.fork() == 0:
    time.sleep(1.5)
    open("/tmp/wait", "w")
    os._exit(0)
kept = bytearray(120 << 20)
began = time.monotonic()
os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/tmp/wait", os.O_RDONLY, 0)])
"""
    with watched.box(Limits(memory=200 * MIB)) as box:
        assert ask(box, "time.monotonic() - began > 1", statements) is True


def test_one_child_at_most_is_in_the_memory_of_its_parent(tmp_path: Path) -> None:
    """A parent can wait for a child with a memory of its own, too; children that look like the parent count then."""

    def process(number: int, parent: int, kib: int, *states: str) -> None:
        folder = tmp_path / str(number)
        for place, state in [
            (folder, "S"),
            *((folder / f"task/{number + thread}", s) for thread, s in enumerate(states)),
        ]:
            place.mkdir(parents=True)
            (place / "stat").write_text(f"{number} (name) {state} {parent} 0")
            (place / "smaps_rollup").write_text(f"header\nPss_Anon: {kib} kB\n")

    process(100, 1, 5000, "S", "D", "D", "D")
    for number in (200, 201, 202):
        process(number, 100, 5000, "S")
    for number in (300, 301, 302):
        process(number, 100, 10, "S")
    watch = watchdog.Watch.__new__(watchdog.Watch)
    watch._proc, watch._file_systems = tmp_path, []
    assert watch._proportional() == 1024 * (3 * 5000 + 3 * 10)


@pytest.mark.parametrize("call", ["os.memfd_create('x')", "libc.shmget(0, 100 << 20, 0o1600)"])
def test_there_is_no_memory_that_nobody_has_mapped(watched: ForkServer, call: str) -> None:
    """No list would show it."""
    statements = f"""
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
try:
    result = {call}
    error = ctypes.get_errno()
except OSError as raised:
    result, error = -1, raised.errno
"""
    with watched.box() as box:
        assert ask(box, "[result, error == errno.ENOSYS]", statements) == [-1, True]


# ---------------------------------------------------------------- processor time


@pytest.mark.parametrize(
    "statements",
    [
        "for _ in range(4):\n    if os.fork() == 0:\n        while True: pass",
        "while True:\n    if os.fork() == 0: work(0.05)\n    os.wait()",
        "for _ in range(5):\n    if os.fork() == 0:\n        os.fork() or work(0.6)\n        os._exit(0)\n"
        "    os.wait()\n    time.sleep(0.7)\n",
    ],
    ids=["at once", "one after the other", "without parents"],
)
def test_a_box_is_ended_that_uses_too_much_processor_time_in_total(watched: ForkServer, statements: str) -> None:
    work = """
import os, signal, time
def work(seconds):
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    end = time.process_time() + seconds
    while time.process_time() < end: pass
    os._exit(0)
"""
    reason = end_of(watched, Limits(cpu_seconds=1), f"{work}{statements}\ntime.sleep(20)")
    assert reason == "used more than 1 s of processor time"


def test_processor_time_does_not_count_twice(watched: ForkServer) -> None:
    """What a process used that has ended and was waited for is in its parent's account, too."""
    statements = """
import os, time
for _ in range(2):
    if os.fork() == 0:
        end = time.process_time() + 0.7
        while time.process_time() < end: pass
        time.sleep(0.4)
        os._exit(0)
    os.wait()
time.sleep(20)
"""
    assert end_of(watched, Limits(cpu_seconds=2), statements, timeout=4) == "lives"


def test_it_can_be_imported_where_it_cannot_run() -> None:
    code = "import os; del os.sysconf; import workbook.sandbox.isolation.watchdog"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ---------------------------------------------------------------- the thread


def test_it_runs_only_where_it_is_needed() -> None:
    before, needed = threads(), not {"memory", "cpu"} <= set(cgroups.find().parents)
    with evaluator_server() as server, server.box():
        assert len(threads() - before) == needed
    assert threads() == before


def test_there_is_one_thread_a_server_and_none_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "find", lambda: NO_GROUPS)
    monkeypatch.setattr(watchdog.Watch, "look", lambda _: time.sleep(0.3))
    before = threads(), psutil.Process().num_fds()
    with evaluator_server() as server:
        assert threads() == before[0]
        with server.box(), server.box():
            assert len(threads() - before[0]) == 1
        with server.box() as box:
            assert len(threads() - before[0]) == 1
            assert ask(box, "1 + 1") == 2
    assert threads() == before[0]
    server.close()
    assert (threads(), psutil.Process().num_fds()) == before


def test_it_rests_while_there_is_no_box(watched: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[watchdog.Watch] = []

    def look(watch: watchdog.Watch) -> None:
        looks.append(watch)

    monkeypatch.setattr(watchdog, "PERIOD", 0.01)
    monkeypatch.setattr(watchdog.Watch, "look", look)
    with watched.box():
        time.sleep(0.3)
    assert looks
    time.sleep(0.3)
    looks.clear()
    time.sleep(0.3)
    assert looks == []


def test_boxes_come_and_go_under_its_eyes(watched: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors are used again at once: a look at one that was closed would be one at another box's."""
    monkeypatch.setattr(watchdog, "PERIOD", 0.0)
    before, problems = psutil.Process().num_fds(), []

    def use() -> None:
        try:
            for _ in range(15):
                with watched.box() as box:
                    assert ask(box, "1 + 1") == 2
                    watch = box._watch
                    assert watch is not None
                assert watch.exceeded is None
        except BaseException as error:  # noqa: BLE001
            problems.append(error)

    users = [threading.Thread(target=use) for _ in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert problems == []
    assert psutil.Process().num_fds() == before


def test_only_the_box_that_exceeds_is_ended(watched: ForkServer) -> None:
    with watched.box() as other:
        assert end_of(watched, Limits(memory=200 * MIB), f"{PRIVATE}\ntime.sleep(20)") == "out of memory"
        time.sleep(2 * watchdog.PERIOD)
        assert ask(other, "1 + 1") == 2


def test_a_box_that_cannot_be_watched_is_ended(watched: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: watchdog.Watch) -> list[Path]:
        raise PermissionError(13, "Permission denied")

    with watched.box() as box:
        monkeypatch.setattr(watchdog.Watch, "_processes", fail)
        with pytest.raises(BoxDied, match=r"could not be watched: .*Permission denied"):
            ask(box, "None", "import time; time.sleep(20)")


def test_a_box_that_cannot_be_put_under_it_is_not_made(watched: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    before = psutil.Process().num_fds()

    def fail(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "dup", fail)
    with pytest.raises(IsolationError, match=r"a box was not built: watching it: .*Too many open files"):
        watched.box()
    assert psutil.Process().num_fds() == before


def test_a_look_at_a_closed_box_is_none(watched: ForkServer) -> None:
    with watched.box() as box:
        watch = box._watch
    assert watch is not None
    assert watch.closed
    watch.look()
    watch.close()
    assert watch.exceeded is None


def test_other_deaths_keep_their_reasons(watched: ForkServer) -> None:
    assert end_of(watched, Limits(), "import os, signal; os.kill(os.getpid(), signal.SIGKILL)") == "SIGKILL"
    assert end_of(watched, Limits(cpu_seconds=1), "import os\nos._exit(3)") == "exit status 3"


def test_private_memory_of_one_process_is_refused_at_once(watched: ForkServer) -> None:
    with watched.box(Limits(memory=100 * MIB)) as box, pytest.raises(RaisedError, match="MemoryError"):
        ask(box, "None", "kept = bytearray(200 << 20)")
