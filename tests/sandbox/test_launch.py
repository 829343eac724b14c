"""The service as a process that is started, killed and started again; and notebooks on machines without it."""

import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.sandbox.service.servers import needs_boxes
from workbook.sandbox.client import SandboxClient
from workbook.sandbox.isolation import server
from workbook.sandbox.launch import LaunchError, LocalService

ROOT = Path(__file__).parents[2]


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@needs_boxes
def test_it_comes_back_at_its_place_with_its_sessions_after_sigkill() -> None:
    with LocalService("--ready", "0") as service, SandboxClient(service.url, service.token) as client:
        session = client.session()
        session.execute("x = 42")
        url, token, pid = service.url, service.token, service.pid
        children = psutil.Process(pid).children(recursive=True)
        service.kill()
        assert not service.alive
        psutil.wait_procs(children, timeout=10)
        assert not any(alive(child.pid) for child in children), "its boxes end with it"
        service.start()
        assert (service.url, service.token) == (url, token)
        assert service.pid != pid
        assert session.execute("x").text == "42"


@needs_boxes
def test_it_ends_with_its_block_and_leaves_nothing() -> None:
    with LocalService("--ready", "1") as service:
        assert httpx.get(f"{service.url}/healthz").status_code == 200
        assert service.start() is service, "it runs already"
        pid, folder = service.pid, service.folder
        assert service.log.exists()
    assert not service.alive
    assert not alive(pid)
    assert not folder.exists()
    service.kill()
    service.close()


@needs_boxes
def test_a_folder_that_was_given_stays(tmp_path: Path) -> None:
    with LocalService("--ready", "0", folder=tmp_path) as service:
        token = service.token
        assert service.stop() == 0
    assert (tmp_path / "token").read_text().strip() == token
    with LocalService("--ready", "0", folder=tmp_path) as service:
        assert service.token == token


@needs_boxes
def test_what_serve_says_is_the_reason() -> None:
    service = LocalService("--mount", "no-folder")
    with pytest.raises(LaunchError, match="NAME=FOLDER"):
        service.__enter__()
    assert not service.folder.exists()


@needs_boxes
def test_it_does_not_outlive_whoever_started_it() -> None:
    code = "from workbook.sandbox.launch import LocalService\nprint(LocalService('--ready', '0').start().pid)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not alive(int(done.stdout))


def test_the_reason_where_there_are_no_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "available", lambda: "sandboxes need Linux; this is Plan 9")
    service = LocalService()
    with pytest.raises(LaunchError, match="Plan 9"):
        service.__enter__()
    assert not service.folder.exists()
    assert (service.pid, service.stop()) == (0, 0)
