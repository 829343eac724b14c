"""Real servers: how they start and end, and what of their sessions is there after they were killed."""

import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.sandbox.service import test_environments
from tests.sandbox.service.servers import Server, free_port, needs_boxes, wait_for
from tests.sandbox.service.stores import ROOT
from workbook.sandbox.client import (
    CellResult,
    ConnectionLost,
    EnvironmentChanged,
    EnvironmentUnavailable,
    Full,
    Session,
)

COUNTED = (
    "with open('count', 'a') as file: file.write('x')\nimport time; time.sleep({seconds})\nlen(open('count').read())"
)


def command(*options: str) -> "subprocess.CompletedProcess[str]":
    done = [sys.executable, "-m", "workbook.sandbox", *options]
    return subprocess.run(done, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


# Starting and ending.


def test_what_is_refused(tmp_path: Path) -> None:
    store = ("--store", f"sqlite:{tmp_path / 's'}", "--token-file", str(tmp_path / "token"))
    beyond = command("serve", *store, "--host", "0.0.0.0")
    assert (beyond.returncode, beyond.stdout) == (2, "")
    assert "--tenants" in beyond.stderr
    (tmp_path / "bad.toml").write_text("[[tenants]]\nname = 'a b'\n")
    for options in (
        ("--tenants", str(tmp_path / "bad.toml")),
        ("--tenants", str(tmp_path / "none.toml")),
        ("--port", "99999"),
        ("--mount", "x"),
        ("--metrics", "everybody"),
    ):
        refused = command("serve", *store, *options)
        assert refused.returncode == 2, (options, refused.stderr)
        assert "Traceback" not in refused.stderr
    assert command("serve", "--store", "nothing:x", "--token-file", str(tmp_path / "token")).returncode == 2
    (tmp_path / "damaged").write_bytes(b"no database" * 1000)
    damaged = command("serve", "--store", f"sqlite:{tmp_path / 'damaged'}", "--token-file", str(tmp_path / "token"))
    assert damaged.returncode == 1
    (tmp_path / "open").write_text("x" * 40)
    (tmp_path / "open").chmod(0o644)
    readable = command("serve", "--store", f"sqlite:{tmp_path / 's'}", "--token-file", str(tmp_path / "open"))
    assert readable.returncode == 2
    assert "chmod 600" in readable.stderr


def test_one_line_where_no_box_can_be_made(tmp_path: Path) -> None:
    code = """
import sys
from workbook.sandbox.isolation import server
server.available = lambda **_: "sandboxes need Linux; this is Plan 9"
sys.argv[0] = "sandbox"
from workbook.sandbox.__main__ import main
main()
"""
    arguments = [sys.executable, "-c", code, "serve", "--store", f"sqlite:{tmp_path / 's'}"]
    arguments += ["--token-file", str(tmp_path / "token")]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(errors) == 1
    assert errors[0].startswith("Error: no sandbox can be made here: sandboxes need Linux; this is Plan 9")


@needs_boxes
def test_the_token_is_kept_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    server = Server(tmp_path, "--ready", "0")
    with server:
        first, name = server.token, server.client().session().id
        mode = stat.S_IMODE((tmp_path / "token").stat().st_mode)
        assert (mode, (tmp_path / "token").read_text().strip()) == (0o600, first)
        assert stat.S_IMODE((tmp_path / "store.db.secret").stat().st_mode) == 0o600
        assert server.stop() == 0
        server.start()
        assert server.token == first
        assert server.client().sessions() == [name]
        assert first not in server.log.read_text()
        assert server.stop(signal.SIGINT) == 0


@needs_boxes
def test_a_server_that_ends_lets_requests_end(tmp_path: Path) -> None:
    with Server(tmp_path, "--ready", "0") as server, server.client(patience=0) as client:
        agent = client.session()
        agent.execute("x = 1")
        results: list[CellResult] = []
        thread = threading.Thread(target=lambda: results.append(agent.execute("import time; time.sleep(1.5); x")))
        thread.start()
        time.sleep(0.5)
        assert server.stop() == 0
        thread.join()
        assert results[0].text == "1"
        with pytest.raises(ConnectionLost):
            agent.execute("x")
        assert not [
            one
            for one in psutil.process_iter(["cmdline"])
            if "launcher" in str(one.info["cmdline"]) and one.ppid() == server.pid
        ]


@needs_boxes
def test_a_cell_that_outlasts_the_grace_is_executed_again(tmp_path: Path) -> None:
    server = Server(tmp_path, "--ready", "0", "--grace", "0", port=free_port())
    with server, server.client() as client:
        agent = client.session()
        results: list[CellResult] = []
        thread = threading.Thread(target=lambda: results.append(agent.execute(COUNTED.format(seconds=1.5))))
        thread.start()
        time.sleep(0.7)
        assert server.stop() == 0
        server.start()
        thread.join(30)
        assert (results[0].status, results[0].text) == ("ok", "1")


# Killing.


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, "--ready", "1", port=free_port()) as server:
        yield server


@pytest.fixture
def agent(server: Server) -> Iterator[Session]:
    with server.client() as client:
        yield client.session()


def in_background(call: Any) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    return thread, results


@needs_boxes
def test_the_server_is_killed_between_cells_and_within_them(server: Server, agent: Session) -> None:
    agent.execute("import random; x = random.random(); first = x")
    agent.filesystem.write("kept/file", b"\0content")
    before = agent.execute("x").text
    server.kill()
    server.start()
    assert agent.execute("x").text == before
    assert agent.filesystem.read("kept/file") == b"\0content"
    for moment in (0.0, 0.1, 0.4):
        agent.filesystem.write("count", "")
        outputs: list[Any] = []
        code = COUNTED.format(seconds=0.5)
        thread, results = in_background(lambda: agent.execute(code, on_output=lambda *one: outputs.append(one)))  # noqa: B023
        time.sleep(moment)
        server.kill()
        server.start()
        thread.join(30)
        assert (results[0].status, results[0].text) == ("ok", "1"), moment
        assert agent.filesystem.read("count") == b"x"
    log = agent.events()
    finished = [one for one in log if one["kind"] == "cell.finished"]
    assert len({one["data"]["cell"] for one in finished}) == len(finished)


@needs_boxes
def test_a_cells_calls_are_made_once_though_the_server_is_killed(server: Server, agent: Session) -> None:
    code = """
from workbook.sandbox.service.calls import http_fetch, CallError
try:
    http_fetch('http://denied.example/')
except CallError as error:
    found = str(error)
import time; time.sleep(1)
found
"""
    thread, results = in_background(lambda: agent.execute(code))
    wait_for(lambda: any(one["kind"] == "call.finished" for one in agent.events()))
    server.kill()
    server.start()
    thread.join(30)
    assert "allow-list" in results[0].text
    assert sum(one["kind"] == "call.started" for one in agent.events()) == 1


@needs_boxes
def test_what_was_done_with_a_key_is_not_done_again_by_a_server_that_is_started_again(
    server: Server, agent: Session
) -> None:
    path, keys = f"/v1/sessions/{agent.id}", [{"Idempotency-Key": key} for key in ("append", "folder", "program")]
    program = {"command": ["sh", "-c", "echo x >> begun"]}

    def ask() -> list[Any]:
        with server.http() as http:
            answers = [
                http.put(f"{path}/files/log", params={"append": "true"}, content=b"x", headers=keys[0]),
                http.post(f"{path}/folders", json={"path": "folder"}, headers=keys[1]),
                http.post(f"{path}/processes", json=program, headers=keys[2]),
            ]
            return [answer.raise_for_status().json() for answer in answers]

    first = ask()
    wait_for(lambda: any(one["kind"] == "program.ended" for one in agent.events()))
    server.kill()
    server.start()
    again = ask()
    assert again[:2] == first[:2]
    assert again[2]["id"] == first[2]["id"]
    assert (agent.filesystem.read("log"), agent.filesystem.read("begun")) == (b"x", b"x\n")


@needs_boxes
def test_programs_are_lost_and_said_to_be(server: Server, agent: Session) -> None:
    program = agent.run(["sh", "-c", "echo begun; sleep 60"])
    wait_for(lambda: any(one["kind"] == "program.started" for one in agent.events()))
    thread, results = in_background(program.wait)
    time.sleep(0.3)
    server.kill()
    server.start()
    thread.join(30)
    assert results == [None]
    assert "brought back without it" in program.lost


@needs_boxes
def test_the_kernel_and_the_worker_are_killed(server: Server, agent: Session) -> None:
    agent.execute("x = 41")
    died = agent.execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert (died.status, died.state_lost) == ("died", False)
    agent.execute("y = x - 40")
    agent.run(["sh", "-c", "kill -9 -1"]).wait()  # the whole box, by its own hand
    assert agent.execute("y + 1").text == "2"
    children = psutil.Process(server.pid).children(recursive=True)
    for child in children:  # the fork server, with all boxes
        with suppress(psutil.NoSuchProcess):
            child.kill()
    assert agent.execute("y + 1").text == "2"
    wait_for(lambda: httpx.get(f"{server.url}/readyz").is_success)
    assert server.metric("sandbox_box_deaths_total") >= 2
    assert server.metric('sandbox_session_restore_seconds_count{outcome="ok"}') >= 2


@needs_boxes
def test_a_kernel_is_killed_between_two_cells(agent: Session) -> None:
    number = agent.execute("import os; open('log', 'a').write('x'); x = 41; os.getpid()").text
    other = agent.context("other")
    assert other.execute(f"import os; os.kill({number}, 9)").ok
    time.sleep(0.3)  # or it dies within the next cell, which then says so
    assert agent.execute("x + 1, open('log').read()").text == "(42, 'x')"


@needs_boxes
def test_a_supervisor_that_is_stopped_holds_nothing_up(agent: Session) -> None:
    agent.execute("x = 1")
    code = "import os, signal; os.kill(os.getppid(), signal.SIGSTOP)"
    assert agent.execute(code, timeout=0.5).status == "died"
    assert agent.execute("1").text == "1"


@needs_boxes
def test_an_idle_session_gives_its_room_away(tmp_path: Path) -> None:
    with Server(tmp_path, "--ready", "0", "--idle", "0.5", "--capacity", "1") as server, server.client() as client:
        one = client.session()
        one.execute("x = 1")
        two = client.session()
        assert two.execute("2").text == "2"
        assert one.execute("x").text == "1"
        program = one.run(["sh", "-c", "sleep 1.5; echo done"])  # it is not idle while a program runs
        assert program.output() == (b"done\n", b"")
        assert program.status == 0


# What sessions begin with.

add_wheel = test_environments.add_wheel


@needs_boxes
def test_an_environment_and_a_mount_are_there_after_a_restart(
    tmp_path: Path, add_wheel: test_environments.AddWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for folder in ("locks", "data"):
        (tmp_path / folder).mkdir()
    (tmp_path / "locks/third.txt").write_text(add_wheel({"tiny/__init__.py": "X = 7\n"}))
    (tmp_path / "locks/broken.txt").write_text("tiny==9.0 --hash=sha256:" + "0" * 64 + "\n")
    for number in range(1500):  # more than one event holds
        (tmp_path / f"data/{number}").write_text(str(number))
    options = ("--environments", str(tmp_path / "locks"), "--mount", f"data={tmp_path / 'data'}", "--ready", "0")
    with Server(tmp_path, *options, port=free_port()) as server, server.client(patience=10) as client:
        assert client.environments() == ["broken", "default", "third"]
        with pytest.raises(EnvironmentUnavailable):
            client.session(environment="broken")
        agent = client.session(environment="third", mounts={"data": "in"})
        check = "import os, tiny; tiny.X, len(os.listdir('in')), open('in/1400').read()"
        assert agent.execute(check).text == "(7, 1500, '1400')"
        server.kill()
        server.start()
        assert agent.execute(check).text == "(7, 1500, '1400')"
        assert client.sessions() == [agent.id]


@needs_boxes
def test_a_session_comes_back_with_the_environment_that_it_had(
    tmp_path: Path, add_wheel: test_environments.AddWheel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lock = tmp_path / "locks/third.txt"
    lock.parent.mkdir()
    lock.write_text(add_wheel({"tiny/__init__.py": "X = 7\n"}))
    options = ("--environments", str(lock.parent), "--ready", "0")
    with Server(tmp_path, *options, port=free_port()) as server, server.client(patience=10) as client:
        agent = client.session(environment="third")
        assert agent.execute("import tiny; tiny.X").text == "7"
        lock.write_text(add_wheel({"tiny/__init__.py": "X = 8\n"}, version="2.0"))
        other = client.session(environment="third")
        assert other.execute("import tiny; tiny.X").text == "8"
        server.kill()
        server.start()
        assert agent.execute("tiny.X, __import__('tiny').X").text == "(7, 7)"
        with server.http() as http:
            assert http.get(f"/v1/sessions/{agent.id}").json()["environment"] == "third"
        server.kill()
        (tmp_path / "cache").rename(tmp_path / "gone")
        server.start()
        with pytest.raises(EnvironmentChanged, match="another lock by now"):
            agent.execute("1")
        assert other.execute("tiny.X").text == "8"


# Room.


@needs_boxes
def test_room_and_the_queue(tmp_path: Path) -> None:
    options = ("--ready", "0", "--capacity", "1", "--queue", "1", "--patience", "1.5")
    with Server(tmp_path, *options) as server, server.client(patience=0) as client, server.http() as http:
        assert httpx.get(f"{server.url}/readyz").is_success
        first = client.session()
        ready = httpx.get(f"{server.url}/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert "room" in ready.json()["problems"][0]
        assert httpx.get(f"{server.url}/healthz").is_success
        thread, results = in_background(lambda: http.post("/v1/sessions", json={}))
        wait_for(lambda: server.metric("sandbox_sessions_waiting") == 1)
        refused = httpx.post(f"{server.url}/v1/sessions", json={}, headers=http.headers)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        first.close()
        thread.join()
        assert results[0].status_code == 201  # it had waited
        with pytest.raises(Full):
            client.session()
        assert server.metric('sandbox_refusals_total{reason="full"}') == 2
        client.attach(results[0].json()["id"]).close()
        assert client.session().execute("1").text == "1"


@needs_boxes
def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    with Server(tmp_path, "--ready", "1", port=free_port()) as server, server.client() as client:
        agent = client.session()
        agent.execute("x = 0")
        lock = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        lock.execute("begin immediate")
        try:
            wait_for(lambda: httpx.get(f"{server.url}/readyz", timeout=30).status_code == 503)
            thread, results = in_background(lambda: agent.execute("x += 1; x"))
            time.sleep(1)
            assert not results  # nobody is told what is not written down
        finally:
            lock.execute("rollback")
            lock.close()
        thread.join(60)
        assert results[0].text == "1"
        assert agent.execute("x").text == "1"
