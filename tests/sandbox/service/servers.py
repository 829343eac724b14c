"""Real servers for tests, as their users start them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest

from tests.sandbox.service.stores import ROOT
from workbook.sandbox.client import SandboxClient
from workbook.sandbox.isolation.server import available
from workbook.sandbox.service.auth import digest_of

needs_boxes = pytest.mark.skipif(available() is not None, reason=available() or "")

TOKENS = {"ada": "token-of-ada-for-tests", "bob": "token-of-bob-for-tests", "root": "token-of-root-for-tests"}
TENANTS = f"""
[[tenants]]
name = "ada"
token_sha256 = "{digest_of(TOKENS["ada"])}"
allow = ["allowed.example"]

[[tenants]]
name = "bob"
token_sha256 = ["{digest_of("old-token-of-bob")}", "{digest_of(TOKENS["bob"])}"]
sessions = 2

[[tenants]]
name = "root"
token_sha256 = "{digest_of(TOKENS["root"])}"
admin = true
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


class Server:
    """A server in a process of its own. A context manager.

    Attributes:
        url: Where it is.
        token: Of its one tenant, where it has made one.
        log: The file with its log.
    """

    def __init__(
        self, folder: Path, *options: str, port: int = 0, name: str = "server", tenants: bool = False, store: str = ""
    ) -> None:
        self.log = folder / f"{name}.log"
        store = store or f"sqlite:{folder / 'store.db'}"
        self._command = [sys.executable, "-m", "workbook.sandbox", "serve", "--store", store]
        self._command += ["--port", str(port or free_port()), "--token-file", str(folder / "token"), *options]
        if tenants:
            (folder / "tenants.toml").write_text(TENANTS)
            self._command += ["--tenants", str(folder / "tenants.toml")]
        self._process: subprocess.Popen[str] | None = None
        self.url, self.token = "", ""

    def start(self) -> Self:
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, env=dict(os.environ)
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("url "), self.log.read_text()[-3000:]
        self.url = line.split()[1]
        if "--tenants" not in self._command:
            self.token = self._process.stdout.readline().split()[1]
        return self

    def kill(self) -> None:
        """Ends it as nothing expects it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Asks it to end; returns its exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(30)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self, tenant: str = "", **options: Any) -> SandboxClient:
        return SandboxClient(self.url, TOKENS.get(tenant, self.token), **options)

    def http(self, tenant: str = "", **headers: str) -> httpx.Client:
        """A client that shows what the service really says."""
        token = TOKENS.get(tenant, self.token)
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}", **headers}, timeout=60)

    def lines(self) -> list[dict[str, Any]]:
        """Its log."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def metric(self, start: str) -> float:
        """The sum of all metrics whose line begins so."""
        found = [line for line in httpx.get(f"{self.url}/metrics").text.splitlines() if line.startswith(start)]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    def __enter__(self) -> Self:
        return self if self._process else self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.05)
