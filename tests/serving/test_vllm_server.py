"""What is particular to the server: a process, a port, a log, and nothing left of them.

Most of it is tested with a stand-in for vLLM's server that starts at once and fails as it is told to; one test kills
the parent of the real one.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.system import unavailable
from workbook import serving

ROOT = Path(__file__).parents[2]
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]

STAND_IN = """
import http.server, os, signal, subprocess, sys, time
behaviour = os.environ["STAND_IN"]
print("INFO arguments:", *sys.argv[1:], flush=True)
print("INFO settings:", *(name for name in os.environ if name.startswith(("OMP", "VLLM"))), flush=True)
# An engine core that neither signals nor its parent's death would end, in a session of its own.
engine = "import signal, time; signal.signal(15, signal.SIG_IGN); print('core is up', flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", engine], start_new_session=True)
if behaviour == "dies at once":
    print("ValueError: the cause of it")
    print("\\n".join(f"nanobind: leaked {i} instances!" for i in range(100)))
    sys.exit(3)
if behaviour == "loses its port":
    sys.exit("OSError: [Errno 98] Address already in use")
if behaviour == "never gets ready":
    time.sleep(600)
if behaviour == "is stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        print("INFO a request came", flush=True)
        if behaviour == "dies in use":
            os.kill(os.getpid(), signal.SIGKILL)
        self.send_response(500)
        self.end_headers()
        self.wfile.write(b'{"error": {"message": "a bug"}}')


port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""

ASKER = """
import time
from workbook import serving
with serving.serve(device="cpu") as server:
    print("ready", flush=True)
    time.sleep(600)
"""

INTERRUPTED = """
import time, httpx
from workbook import serving
with serving.serve(device="cpu") as server:
    try:
        print("ready", flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        time.sleep(1)
        print(httpx.get(f"http://127.0.0.1:{server.port}/health", trust_env=False).status_code)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Puts the stand-in in vLLM's place, and sees that no process of it is left afterwards."""
    module = tmp_path / "vllm" / "entrypoints" / "openai" / "api_server.py"
    module.parent.mkdir(parents=True)
    module.write_text(STAND_IN)
    for package in module.relative_to(tmp_path).parents[:-1]:
        (tmp_path / package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    monkeypatch.setenv("MARK", str(tmp_path))
    # The logs of those that die are kept.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(serving, "vllm_built_for", lambda: "cpu")
    yield lambda behaviour: monkeypatch.setenv("STAND_IN", behaviour)
    assert gone()


def marked() -> list[psutil.Process]:
    """The processes that descend from this one, by an environment variable that they keep wherever they go."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("MARK") == os.environ["MARK"]:
                found.append(process)
        except psutil.Error:
            continue
    return found


def gone() -> bool:
    deadline = time.monotonic() + 60
    while marked():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_a_server_that_dies_at_once_says_why(stand_in: Callable[[str], None]) -> None:
    stand_in("dies at once")
    with pytest.raises(serving.ServerDiedError) as death:
        serving.serve(device="cpu", num_gpu_blocks_override=17, enable_prefix_caching=False, hf_overrides={"a": 1})
    message = str(death.value)
    assert "exit status 3" in message
    assert "ValueError: the cause of it" in message
    assert "nanobind" not in message
    log = Path(message.partition("Its log is ")[2].splitlines()[0])
    arguments = log.read_text()
    assert "--num-gpu-blocks-override 17 --no-enable-prefix-caching --hf-overrides {" in arguments
    assert "--host 127.0.0.1" in arguments


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_settings_for_a_cpu_stay_away_from_a_gpu(
    stand_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.setattr(serving, "vllm_built_for", lambda: device)
    monkeypatch.setattr("workbook.device.select", lambda device: device)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    stand_in("fails")
    with serving.serve(device=device) as server:
        log = server.log.read_text()
    assert "VLLM_NO_USAGE_STATS" in log
    assert "VLLM_CPU_KVCACHE_SPACE" not in log
    for setting in ("OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND", "--enforce-eager", "--block-size 32"):
        assert (setting in log) == (device == "cpu")


def test_a_server_that_dies_in_use_says_so(stand_in: Callable[[str], None]) -> None:
    stand_in("dies in use")
    with serving.serve(device="cpu") as server:
        with pytest.raises(serving.ServerDiedError, match="while it was in use") as death:
            server.chat(FRANCE)
        assert "INFO a request came" in str(death.value)
        with pytest.raises(serving.ServerDiedError):
            server.chat_batch([FRANCE, FRANCE])
    assert server.log.exists()


def test_a_server_that_fails_but_lives_is_told_from_a_dead_one(
    stand_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbook.serving.vllm_server.DEATH_SECONDS", 0.5)
    stand_in("fails")
    with serving.serve(device="cpu") as server, pytest.raises(serving.ServingError, match="500: a bug") as failure:
        server.chat(FRANCE)
    assert not isinstance(failure.value, serving.ServerDiedError)


def test_a_server_that_never_gets_ready_is_given_up(stand_in: Callable[[str], None]) -> None:
    stand_in("never gets ready")
    with pytest.raises(serving.ServingError, match="not ready after 2 s") as failure:
        serving.serve(device="cpu", timeout=2)
    assert "core is up" in str(failure.value)


def test_a_stubborn_server_is_killed_and_its_files_removed(stand_in: Callable[[str], None]) -> None:
    stand_in("is stubborn")
    with serving.serve(device="cpu") as server:
        assert len(marked()) == 3
        assert server.log.exists()
    assert not marked()
    assert not server.log.parent.exists()


def test_a_port_in_use_is_refused_at_once(stand_in: Callable[[str], None]) -> None:
    stand_in("fails")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(serving.PortInUseError, match=f"port {port} is in use"):
            serving.serve(device="cpu", port=port)
    for port in (-1, 65536, True, "8000"):
        with pytest.raises(ValueError, match="port"):
            serving.serve(device="cpu", port=port)  # type: ignore[arg-type]
    with serving.serve(device="cpu", port=taken_and_free()) as server:
        assert server.base_url == f"http://127.0.0.1:{server.port}/v1"
        with pytest.raises(serving.PortInUseError):
            serving.serve(device="cpu", port=server.port)
    # Free again, at once.
    serving.serve(device="cpu", port=server.port).close()


def taken_and_free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_port_that_is_lost_while_the_server_starts_is_reported_as_such(stand_in: Callable[[str], None]) -> None:
    stand_in("loses its port")
    with pytest.raises(serving.PortInUseError):
        serving.serve(device="cpu")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("ready", [True, False])
def test_it_ends_with_the_process_that_asked_for_it(
    stand_in: Callable[[str], None], end: signal.Signals, ready: bool
) -> None:
    stand_in("fails" if ready else "never gets ready")
    with subprocess.Popen(
        [sys.executable, "-c", ASKER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
    ) as asker:
        assert asker.stdout is not None
        if ready:
            assert asker.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 30
        while len(marked()) < 4:  # the asker, the guard, the server, its engine core
            assert time.monotonic() < deadline
            time.sleep(0.1)
        asker.send_signal(end)
        assert asker.wait(30) != 0
    assert gone()


def test_it_outlives_an_interrupted_cell(stand_in: Callable[[str], None]) -> None:
    stand_in("fails")
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True
    ) as asker:
        assert asker.stdout is not None
        assert asker.stdout.readline() == b"ready\n"
        # As Jupyter does it: to the kernel and whatever shares its process group.
        os.killpg(asker.pid, signal.SIGINT)
        assert asker.stdout.read() == b"200\n"


def test_it_ends_with_its_guard(stand_in: Callable[[str], None]) -> None:
    stand_in("fails")
    with serving.serve(device="cpu") as server:
        guards = [process for process in psutil.Process().children() if "guard.py" in " ".join(process.cmdline())]
        (server_process,) = guards[0].children()
        guards[0].kill()
        psutil.wait_procs([server_process], timeout=30)
        assert not server_process.is_running()
        with pytest.raises(serving.ServerDiedError):
            server.chat(FRANCE)
    # Nobody is left to look after the stand-in's engine core, which outlives anything; vLLM's ends with its server.
    for process in marked():
        process.kill()


def test_a_thread_may_start_it_and_end(stand_in: Callable[[str], None]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    stand_in("fails")
    with ThreadPoolExecutor(1) as threads:
        server = threads.submit(serving.serve, device="cpu").result()
    time.sleep(1)
    with server:
        assert len(marked()) == 3


@pytest.mark.llm
def test_vllm_ends_with_a_killed_parent() -> None:
    if serving.vllm_built_for() != "cpu":
        unavailable("vLLM for CPUs is not installed: requirements/cpu.txt has it, for Linux on x86-64")
    with (
        # A short path: it is part of the names of sockets.
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        subprocess.Popen(
            [sys.executable, "-c", ASKER], stdout=subprocess.DEVNULL, cwd=ROOT, env={**os.environ, "TMPDIR": folder}
        ) as asker,
    ):
        deadline = time.monotonic() + 120
        started: list[psutil.Process] = []
        # The guard, the server, its multiprocessing resource tracker, and the engine core.
        while len(started) < 4:
            assert asker.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
            started = psutil.Process(asker.pid).children(recursive=True)
        assert any("spawn_main" in argument for process in started for argument in process.cmdline())
        asker.kill()
        _, left = psutil.wait_procs(started, timeout=60)
        assert not left
