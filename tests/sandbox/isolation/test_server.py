"""The fork server: what it is told, what it refuses, and how it ends."""

import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.sandbox.isolation.boxes import EVALUATOR, ask, evaluator_server
from workbook.sandbox.isolation import cgroups, server
from workbook.sandbox.isolation.box import BoxDied, IsolationError
from workbook.sandbox.isolation.limits import MIB, Limits
from workbook.sandbox.isolation.server import ForkServer

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.usefixtures("sandboxes")


def wait_until(condition: Callable[[], object], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def entry(folder: Path, text: str) -> dict[str, Path]:
    (folder / "entry.py").write_text(text)
    return {"entry.py": folder / "entry.py"}


def groups() -> list[Path]:
    """The control groups that exist for boxes of this process's servers."""
    servers = {str(child.pid) for child in psutil.Process().children()}
    folders = {folder for parent in cgroups.find().parents.values() for folder in parent.glob("workbook-*")}
    return [folder for folder in folders if folder.name.split("-")[1] in servers]


# ---------------------------------------------------------------- what it is told


def test_files_lie_in_the_workspace(server: ForkServer) -> None:
    files = {"a.txt": b"a", "deep/er/ä b.bin": bytes(range(256)), "empty": b""}
    with server.box(files=files) as box:
        listed = "sorted(str(path) for path in pathlib.Path().rglob('*') if path.is_file())"
        assert ask(box, listed, "import os, pathlib") == sorted(files)
        assert ask(box, "os.getcwd()") == "/workspace"
        assert ask(box, "list(pathlib.Path('deep/er/ä b.bin').read_bytes())") == list(range(256))
        ask(box, "open('a.txt', 'a').write('more')")  # and are its own


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", "a\0b"])
def test_files_stay_in_the_workspace(server: ForkServer, path: str) -> None:
    with pytest.raises(ValueError, match="relative path"):
        server.box(files={path: b""})


def test_files_too_large_for_the_workspace_are_an_error(server: ForkServer) -> None:
    with pytest.raises(IsolationError, match=r"writing its files: .*No space left"):
        server.box(Limits(workspace=MIB), files={"large": bytes(2 * MIB)})
    with pytest.raises(IsolationError, match="too large"):
        server.box(files={"large": bytes(65 * MIB)})
    assert not [box for box in server._boxes if box.alive]


def test_the_environment_is_made_from_scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAK", "1")
    with evaluator_server(environment={"MINE": "2"}) as server, server.box() as box:
        ask(box, "None", "import os, subprocess, sys")
        assert ask(box, "os.environ.get('LEAK')") is None
        assert ask(box, "os.environ['MINE']") == "2"
        script = "import os, evaluator; print(os.environ['MINE'])"  # a child of it finds the library too
        assert ask(box, f"subprocess.check_output([sys.executable, '-c', {script!r}], text=True)") == "2\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user cannot give up a group")
def test_groups_of_this_process_are_given_up() -> None:
    script = """
import os
from tests.sandbox.isolation.boxes import ask, evaluator_server
with evaluator_server() as server, server.box() as box:
    print(os.getgroups(), ask(box, "os.getgroups()", "import os"))
"""
    command = [sys.executable, "-c", script]
    assert subprocess.check_output(command, cwd=ROOT, extra_groups=[4, 1000], text=True) == "[4, 1000] []\n"


def test_what_is_preloaded_is_there_before_a_box_is_made(tmp_path: Path) -> None:
    text = """
import os, sys
when = []
def prepare(): when.append("colorsys" in sys.modules)
def run(channel): channel.send({"when": when, "pid": os.getpid()})
"""
    with ForkServer("entry", library=entry(tmp_path, text), preload=["colorsys"]) as server, server.box() as box:
        assert box.receive(60)[0] == {"when": [True], "pid": 2}


def test_a_box_sees_nothing_of_another(server: ForkServer) -> None:
    with server.box() as one:
        ask(
            one,
            "None",
            "import os, sys\nopen('mine', 'w'); open('/tmp/mine', 'w'); os.environ['MINE'] = '1'; sys.mine = 1",
        )
        with server.box() as two:
            ask(two, "None", "import os, sys")
            assert (
                ask(
                    two,
                    "[os.path.exists('mine'), os.path.exists('/tmp/mine'), 'MINE' in os.environ, hasattr(sys, 'mine')]",
                )
                == [False] * 4
            )


def test_a_package_of_the_library_is_hidden_in_the_environment(tmp_path: Path) -> None:
    """As where this project is installed beside what it needs: a module left out of the library is nowhere."""
    text = """
import psutil, sys
def prepare(): pass
def run(channel): channel.send({"file": psutil.__file__, "path": sys.path})
"""
    (tmp_path / "psutil.py").write_text("")
    with (
        ForkServer("entry", library={**entry(tmp_path, text), "psutil.py": tmp_path / "psutil.py"}) as server,
        server.box() as box,
    ):
        message, _ = box.receive(60)
        assert message["file"] == "/library/psutil.py"
        environment = Path(psutil.__file__).parent
        assert str(environment.parent) in message["path"]
    with (
        ForkServer("evaluator", library={**EVALUATOR, "psutil.py": tmp_path / "psutil.py"}) as server,
        server.box() as box,
    ):
        assert ask(box, f"os.listdir({str(environment)!r})", "import os") == []
    with evaluator_server() as server, server.box() as box:
        assert "__init__.py" in ask(box, f"os.listdir({str(environment)!r})", "import os")


# ---------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nowhere_to_be_found", "preparing entry: No module named 'nowhere_to_be_found'"),
        ("def prepare(): raise ValueError('not ready')", "preparing entry: not ready"),
        ("def run(channel): pass", "preparing entry: .*has no attribute 'prepare'"),
        (
            "import threading, time\ndef prepare(): threading.Thread(target=time.sleep, args=[600]).start()",
            "looking for threads: 1 started",
        ),
        ("import os\ndef prepare(): os._exit(5)", "the fork server has ended"),
        ("import os\ndef prepare(): os.write(2, b'why it failed'); os.abort()", "it printed:\nwhy it failed"),
    ],
)
def test_a_server_that_cannot_start_says_why(tmp_path: Path, text: str, message: str) -> None:
    before = psutil.Process().num_fds(), psutil.Process().children()
    with pytest.raises(IsolationError, match=message):
        ForkServer("entry", library=entry(tmp_path, text))
    assert (psutil.Process().num_fds(), psutil.Process().children()) == before


def test_a_preload_that_is_missing_is_named() -> None:
    with pytest.raises(IsolationError, match="importing nowhere_to_be_found: No module"):
        evaluator_server(preload=["nowhere_to_be_found"])


def test_a_library_file_that_is_missing_is_named() -> None:
    with pytest.raises(IsolationError, match=r"evaluator\.py is to be /nowhere, which is no file"):
        ForkServer("evaluator", library={"evaluator.py": Path("/nowhere")})
    with pytest.raises(ValueError, match="relative path"):
        ForkServer("evaluator", library={"../evaluator.py": Path("/nowhere")})


def test_a_library_that_boxes_could_read_whole_is_refused() -> None:
    """A checkout in such a folder would show its solutions to the boxes."""
    inside = Path(psutil.__file__)
    with pytest.raises(IsolationError, match=r"psutil/__init__\.py lies in a folder of the system or of Python"):
        ForkServer("evaluator", library={**EVALUATOR, "other.py": inside})


def test_limits_are_above_zero() -> None:
    with pytest.raises(ValueError, match="memory must be above zero, not 0"):
        Limits(memory=0)


STEPS = {
    "making namespaces": "linux.unshare",
    "mounting its file systems": "filesystem.mount_box",
    "naming its host": "linux.bring_up_loopback",
    "leaving the keyring": "linux.join_new_keyring",
    "setting resource limits": "_limit",
    "dropping capabilities": "linux.drop_capabilities",
    "loading the system call filter": "linux.load_seccomp",
}


@pytest.mark.parametrize("step", STEPS)
def test_a_half_built_box_runs_nothing(tmp_path: Path, step: str) -> None:
    """Each layer that fails stops the box, before the entry module runs."""
    text = f"""
from workbook.sandbox.isolation import confinement
def fails(*arguments, **options): raise OSError("on purpose")
def prepare():
    *path, name = {STEPS[step]!r}.split(".")
    place = getattr(confinement, path[0]) if path else confinement
    if name == "unshare":
        original, calls = place.unshare, []
        place.unshare = lambda flags: original(flags) if flags == place.CLONE_NEWPID else fails()
    else:
        setattr(place, name, fails)
def run(channel): channel.send({{"ran": True}})
"""
    with ForkServer("entry", library=entry(tmp_path, text)) as server:
        with pytest.raises(IsolationError, match=f"a box was not built: {step}.*: on purpose"):
            server.box()
        assert not server._boxes
        assert len(server._slots) == len(set(server._slots)) == 256
        assert not groups()


def test_a_box_that_dies_while_it_is_built_is_an_error(tmp_path: Path) -> None:
    text = """
import os
from workbook.sandbox.isolation import confinement
def dies(*arguments, **options):
    os.write(2, b"last words")
    os.abort()
def prepare(): confinement._limit = dies
def run(channel): pass
"""
    with (
        ForkServer("entry", library=entry(tmp_path, text)) as server,
        pytest.raises(IsolationError, match=r"not built: .*SIGABRT; it printed: last words"),
    ):
        server.box()


def test_control_groups_that_cannot_be_made_are_an_error(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_hierarchy", cgroups.Hierarchy({"memory": Path("/nowhere")}, 1, {}))
    with pytest.raises(IsolationError, match=r"making the control groups: .*No such file"):
        server.box()


def test_as_many_boxes_as_there_are_users(server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_slots", {7})
    with server.box(), pytest.raises(IsolationError, match="boxes are open"):
        server.box()
    with server.box() as again:
        assert ask(again, "1 + 1") == 2


# ---------------------------------------------------------------- many boxes


def test_nothing_is_left_of_fifty_boxes(server: ForkServer) -> None:
    zygote = psutil.Process(server._process.pid).children()[0]

    def count() -> tuple[int, int, int]:
        return psutil.Process().num_fds(), zygote.num_fds(), len(groups())

    server.box().close()
    assert wait_until(lambda: not zygote.children())
    before = count()
    for number in range(50):
        with server.box() as box:
            if number % 2:
                with pytest.raises(BoxDied):
                    ask(box, "None", "import os; os.fork(); os._exit(1)")
    assert wait_until(lambda: not zygote.children())
    assert wait_until(lambda: count() == before), f"{before} became {count()}"


def test_threads_make_boxes_at_once(server: ForkServer) -> None:
    def use(number: int) -> tuple[int, int]:
        with server.box(files={"number": str(number).encode()}) as box:
            return ask(box, "int(open('number').read())"), box.pid

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(use, range(40)))
    assert [number for number, _ in results] == list(range(40))
    assert len({pid for _, pid in results}) == 40


def test_the_death_of_one_box_is_not_that_of_another(server: ForkServer) -> None:
    with server.box() as one, server.box() as two:
        with pytest.raises(BoxDied, match="SIGKILL"):
            ask(one, "None", "import os; os.kill(os.getpid(), 9)")
        one.close()
        assert ask(two, "1 + 1") == 2


# ---------------------------------------------------------------- how it ends


def test_closing_the_server_closes_its_boxes() -> None:
    server = evaluator_server()
    box = server.box()
    process = psutil.Process(server._process.pid)
    family = [process, *process.children(recursive=True)]
    assert len(family) == 4  # launcher, zygote, init, worker
    server.close()
    server.close()
    assert not box.alive
    assert not [one for one in family if one.is_running()]
    with pytest.raises(IsolationError, match="the fork server is closed"):
        server.box()


@pytest.mark.parametrize("victim", ["launcher", "zygote"])
def test_boxes_end_with_a_server_that_is_killed(victim: str) -> None:
    with evaluator_server() as server:
        box = server.box()
        process = psutil.Process(server._process.pid)
        family = [process, *process.children(recursive=True)]
        family[0 if victim == "launcher" else 1].kill()
        with pytest.raises(BoxDied, match=r"fork server has ended|SIGKILL"):
            box.receive(60)
        assert wait_until(lambda: not [one for one in family[1:] if one.is_running()])
        with pytest.raises(IsolationError, match="fork server has ended"):
            server.box()
        box.close()


HOST = """
import sys, time
from tests.sandbox.isolation.boxes import ask, evaluator_server
server = evaluator_server()
box = server.box()
ask(box, "None", "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)")
if "forked" in sys.argv:  # a child that holds all descriptors, and outlives this process
    import os
    if os.fork() == 0:
        time.sleep(600)
print(server._process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("how", ["alone", "forked"])
def test_kill_9_of_this_process_leaves_no_box(how: str) -> None:
    host = subprocess.Popen([sys.executable, "-c", HOST, how], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    launcher = psutil.Process(int(host.stdout.readline()))
    family = [launcher, *launcher.children(recursive=True)]
    others = [child for child in psutil.Process(host.pid).children() if child != launcher]
    assert len(family) == 5  # launcher, zygote, init, worker, its child
    host.send_signal(signal.SIGKILL)
    host.wait(60)
    try:
        assert wait_until(lambda: not [process for process in family if process.is_running()])
    finally:
        for process in others:
            process.kill()
        host.stdout.close()
    with evaluator_server():  # the next server removes the control groups that were left
        for parent in cgroups.find().parents.values():
            assert not list(parent.glob(f"workbook-{launcher.pid}-*"))


def test_the_thread_that_made_it_may_end() -> None:
    made: list[ForkServer] = []
    thread = threading.Thread(target=lambda: made.append(evaluator_server()))
    thread.start()
    thread.join()
    with made[0] as server, server.box() as box:
        time.sleep(0.2)
        assert ask(box, "1 + 1") == 2


# ---------------------------------------------------------------- where the environment lies


def test_an_environment_and_a_checkout_under_tmp(tmp_path: Path) -> None:
    """A box has a /tmp of its own; the environment that it runs in stays where it was."""
    if not str(tmp_path).startswith("/tmp/"):
        pytest.skip("the folder for temporary files lies elsewhere")
    venv.create(tmp_path / "environment", symlinks=True)
    packages = next((tmp_path / "environment/lib").glob("python*/site-packages"))
    for name in ("psutil", "pyseccomp.py"):
        source = Path(psutil.__file__).parents[1] / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, packages / name)
    shutil.copytree(ROOT / "workbook/sandbox/isolation", tmp_path / "checkout/workbook/sandbox/isolation")
    for name in ("workbook/__init__.py", "workbook/sandbox/__init__.py"):
        shutil.copyfile(ROOT / name, tmp_path / "checkout" / name)
    text = """
import os, sys
def prepare(): pass
def run(channel): channel.send({"prefix": sys.prefix, "tmp": os.listdir("/tmp")})
"""
    entry(tmp_path, text)
    script = """
import sys
from pathlib import Path
from workbook.sandbox.isolation.server import ForkServer
with ForkServer("entry", library={"entry.py": Path(sys.argv[1])}) as server, server.box() as box:
    print(box.receive(60)[0])
"""
    command = [str(tmp_path / "environment/bin/python"), "-c", script, str(tmp_path / "entry.py")]
    done = subprocess.run(command, cwd=tmp_path / "checkout", capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == str(
        {"prefix": str(tmp_path / "environment"), "tmp": [tmp_path.relative_to("/tmp").parts[0]]}
    ), done.stderr


# ---------------------------------------------------------------- where there can be none


def test_off_linux_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert server.available() == "sandboxes need Linux; this is Darwin"
    with pytest.raises(IsolationError, match="need Linux"):
        evaluator_server()


@pytest.mark.parametrize(
    ("release", "fine"),
    [("5.13.9-1-amd64", False), ("4.19", False), ("5.14.0", True), ("6.18.44+deb", True), ("10.0-rc1", True)],
)
def test_the_kernel_is_new_enough(monkeypatch: pytest.MonkeyPatch, release: str, fine: bool) -> None:
    monkeypatch.setattr(platform, "release", lambda: release)
    assert ("5.14 or newer" in (server.available() or "")) is not fine


def test_without_libseccomp_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pyseccomp", raising=False)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None if name == "seccomp" else "libc.so.6")
    assert "libseccomp2" in (server.available() or "")


def test_it_can_be_imported_off_linux() -> None:
    """No module that the host side needs asks for what only Linux has when it is imported."""
    script = """
import psutil, sys
for name in ("fcntl", "resource", "pyseccomp"):
    sys.modules[name] = None
import workbook.sandbox.isolation.server, workbook.sandbox.isolation.channel, workbook.sandbox.isolation.limits
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)


def test_what_runs_in_boxes_is_seen(server: ForkServer) -> None:
    orphan = "import os, time\nif os.fork() == 0:\n    if os.fork(): os._exit(0)\n    time.sleep(600)\nos.wait()"
    with server.box() as box:
        ask(box, "None", orphan)
        seen = {process.pid for process in server.processes()}
        assert {process.pid for process in box.processes()} <= seen
        assert box.pid in seen
        assert len(seen) == 3, "its init, the worker, the orphan"
    assert server.processes() == []
