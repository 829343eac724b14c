"""JupyterLab on this repository in headless Chromium, as `make lab` would serve it."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from playwright.sync_api import Locator, Page, expect

ROOT = Path(__file__).parents[2]
TOKEN = "test"
CHROMIUM_ARGS = [  # without these Chromium calls home at each start
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {  # no question about news; every cell in the page, so that all of them can be read
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
}


def environment(home: Path) -> dict[str, str]:
    """An environment in which Jupyter reads and writes nothing of this user's, but for the model's cache."""
    for name, value in SETTINGS.items():
        file = home / "settings" / f"{name}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "run",
        "IPYTHONDIR": "ipython",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **{name: str(home / folder) for name, folder in folders.items()}}


@contextlib.contextmanager
def serve_lab(home: Path, root: Path = ROOT) -> Iterator[str]:
    """Serves `root` with JupyterLab; yields its address. On exit the server and its kernels are gone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = home / "lab.log"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={root}"]
    with log.open("w") as stream:
        server = subprocess.Popen(
            command, cwd=root, env=environment(home), stdout=stream, stderr=stream, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if server.poll() is not None:
                raise RuntimeError(f"JupyterLab ended with status {server.returncode}:\n{log.read_text()[-2000:]}")
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"{url}/api/status", params={"token": TOKEN}, timeout=5).raise_for_status()
                break
            time.sleep(0.2)
        else:
            raise TimeoutError(f"JupyterLab did not answer in 90 s:\n{log.read_text()[-2000:]}")
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def open_notebook(page: Page, url: str, path: str) -> Locator:
    """Opens a notebook in a fresh workspace; returns its panel when the kernel is idle."""
    page.goto(f"{url}/lab/workspaces/test/tree/{path}?token={TOKEN}&reset")
    panel = page.locator(".jp-NotebookPanel:visible")
    panel.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(timeout=90_000)
    return panel


def run_all(page: Page, panel: Locator, timeout: float) -> None:
    """Runs all cells and waits up to `timeout` seconds until none is pending and the kernel is idle."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator('li[data-command="runmenu:run-all"]').click()
    # Idle alone is true before the run starts as well: first see a prompt, then none pending, then idle.
    prompts = panel.locator(".jp-InputPrompt")
    prompts.filter(has_text=re.compile(r"\[(\d+|\*)\]")).first.wait_for(timeout=30_000)
    expect(prompts.filter(has_text="[*]")).to_have_count(0, timeout=timeout * 1000)
    panel.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(timeout=30_000)
