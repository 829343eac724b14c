"""JupyterLab, as `make lab` serves it, in headless Chromium."""

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
CHROMIUM_ARGS = [  # without these Chromium calls home at each start
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {  # no question about news; nothing saved unasked; every cell in the page, so that all can be read
    "@jupyterlab/docmanager-extension/plugin.jupyterlab-settings": {"autosave": False},
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
}


def environment(home: Path) -> dict[str, str]:
    """An environment in which Jupyter reads and writes nothing of this user's, but for the model's cache."""
    for name, value in SETTINGS.items():
        file = home / "settings" / name
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
    # What `make test` hands to its children is not for another make; a display would open a browser of its own.
    dropped = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "DISPLAY", "WAYLAND_DISPLAY"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, **{name: str(home / folder) for name, folder in folders.items()}}


@contextlib.contextmanager
def serve_lab(home: Path) -> Iterator[httpx.URL]:
    """Runs `make lab`; yields the address that it prints, token included. On exit all of it is gone."""
    log = home / "lab.log"
    command = ["make", "--no-print-directory", "lab", f"PORT={_free_port()}", f"VENV={sys.prefix}"]
    with log.open("w") as stream:
        server = subprocess.Popen(
            command, cwd=ROOT, env=environment(home), stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        yield _address(server, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _address(server: "subprocess.Popen[bytes]", log: Path) -> httpx.URL:
    """Waits until the server has printed its address and answers there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"`make lab` ended with status {server.returncode}:\n{log.read_text()[-2000:]}")
        if printed := re.search(r"http://127\.0\.0\.1:\d+/lab\S*[?&]token=\w+", log.read_text()):
            address = httpx.URL(printed[0])
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(address.copy_with(path="/api/status"), timeout=5).raise_for_status()
                return address
        time.sleep(0.2)
    raise TimeoutError(f"`make lab` printed no address that answers in 120 s:\n{log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def open_notebook(page: Page, address: httpx.URL, path: str) -> Locator:
    """Opens a notebook in a fresh workspace; returns its panel when the kernel is idle."""
    fresh = address.copy_with(path=f"/lab/workspaces/test/tree/{path}").copy_merge_params({"reset": ""})
    page.goto(str(fresh))
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
