"""JupyterLab, in the repository or in a course's folder, in headless Chromium."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from playwright.sync_api import Locator, Page, expect

from tests.browser.descendants import Descendants

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "screenshots"
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


@dataclass(frozen=True)
class Lab:
    """A JupyterLab that runs.

    Attributes:
        address: With its token.
        log: What it has printed so far.
        descendants: The processes that it has started.
    """

    address: httpx.URL
    log: Path
    descendants: Descendants


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
def serve_lab(home: Path) -> Iterator[Lab]:
    """Runs `make lab`. On exit all of it is gone, or this raises."""
    command = ["make", "--no-print-directory", "lab", f"PORT={_free_port()}", f"VENV={sys.prefix}"]
    with _serve(command, ROOT, home) as lab:
        yield lab


@contextlib.contextmanager
def serve_course(course: Path, home: Path) -> Iterator[Lab]:
    """Runs JupyterLab in a course's folder, where nbgrader finds its configuration; otherwise like `serve_lab`."""
    command = [f"{sys.prefix}/bin/jupyter", "lab", "--no-browser", f"--port={_free_port()}"]
    command += ["--allow-root", f"--ServerApp.root_dir={course}"]
    with _serve(command, course, home) as lab:
        yield lab


@contextlib.contextmanager
def _serve(command: list[str], folder: Path, home: Path) -> Iterator[Lab]:
    home.mkdir(exist_ok=True)
    log = home / "lab.log"
    variables = {**environment(home), "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"}
    with log.open("w") as stream:
        server = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=stream, stderr=stream, start_new_session=True
        )
    with Descendants(server.pid) as descendants:
        try:
            yield Lab(_address(server, log), log, descendants)
        finally:
            descendants.ever()  # a last look, since what loses its parent is not found any more
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()
            left = descendants.left()
            for process in left:
                process.kill()
    assert not left, f"JupyterLab has left processes behind: {left}"


def _address(server: "subprocess.Popen[bytes]", log: Path) -> httpx.URL:
    """Waits until the server has printed its address and answers there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"JupyterLab ended with status {server.returncode}:\n{log.read_text()[-2000:]}")
        if printed := re.search(r"http://127\.0\.0\.1:\d+/lab\S*[?&]token=\w+", log.read_text()):
            address = httpx.URL(printed[0])
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(address.copy_with(path="/api/status"), timeout=5).raise_for_status()
                return address
        time.sleep(0.2)
    raise TimeoutError(f"JupyterLab printed no address that answers in 120 s:\n{log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def open_lab(page: Page, address: httpx.URL, path: str = "") -> None:
    """Opens JupyterLab in a fresh workspace, on a notebook where `path` names one."""
    tree = f"/tree/{path}" if path else ""
    page.goto(str(address.copy_with(path=f"/lab/workspaces/test{tree}").copy_merge_params({"reset": ""})))


def open_notebook(page: Page, address: httpx.URL, path: str) -> Locator:
    """Opens a notebook in a fresh workspace; returns its panel when the kernel is idle."""
    open_lab(page, address, path)
    # The notebook's own indicator says idle before there is a kernel.
    page.locator("#jp-main-statusbar").get_by_text("(ipykernel) | Idle").wait_for(timeout=90_000)
    return page.locator(".jp-NotebookPanel:visible")


def write_cells(page: Page, panel: Locator, sources: Mapping[int, str]) -> None:
    """Types over cells: new text by the cell's place in the notebook."""
    for place, source in sources.items():
        cell = panel.locator(".jp-Notebook .jp-Cell").nth(place)
        if "jp-MarkdownCell" in (cell.get_attribute("class") or ""):
            cell.locator(".jp-RenderedMarkdown").click()
            page.keyboard.press("Enter")
        else:
            cell.locator(".cm-content").click()
        cell.locator(".cm-editor.cm-focused").wait_for()
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(source)  # as if pasted: the editor adds no indents and no brackets


def run_all(page: Page, panel: Locator, timeout: float, *, above: int | None = None) -> None:
    """Runs all cells, or those above one, and waits until none is pending and the kernel is idle.

    Args:
        page: Where the notebook is open.
        panel: The notebook.
        timeout: Seconds that it may take.
        above: The place of the first cell that is not run.
    """
    # An idle kernel, and numbers from before, are there before the run starts as well. So blank the first number: when
    # there is one again, all cells are marked as pending.
    prompts = panel.locator(".jp-CodeCell .jp-InputPrompt")
    prompts.first.evaluate("prompt => { prompt.textContent = '' }")
    if above is not None:
        panel.locator(".jp-Notebook .jp-Cell").nth(above).locator(".jp-InputPrompt").click()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    command = "runmenu:run-all" if above is None else "notebook:run-all-above"
    page.locator(f'li[data-command="{command}"]').click()
    expect(prompts.first).to_have_text(re.compile(r"\[(\*|\d+)\]"), timeout=30_000)
    expect(prompts.filter(has_text="[*]")).to_have_count(0, timeout=timeout * 1000)
    panel.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(timeout=30_000)


def outputs(panel: Locator, place: int) -> Locator:
    """What is shown under a cell, by its place in the notebook."""
    return panel.locator(".jp-Notebook .jp-Cell").nth(place).locator(".jp-OutputArea-output")


def errors(panel: Locator) -> Locator:
    """The exceptions that cells show, and what they printed on stderr: JupyterLab marks both alike."""
    return panel.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]')


def validate(page: Page, panel: Locator, shot: str, timeout: float) -> tuple[bool, str]:
    """Presses nbgrader's Validate, which saves the notebook; returns whether it is content, and what it says.

    Args:
        page: Where the notebook is open.
        panel: The notebook.
        shot: Name of the screenshot of what it says.
        timeout: Seconds that it may take.
    """
    panel.locator(".validate-button").first.click()
    dialog = page.locator(".nbgrader-SuccessDialog, .nbgrader-ErrorDialog")
    dialog.wait_for(timeout=timeout * 1000)
    page.screenshot(path=SHOTS / shot)
    content = page.locator(".nbgrader-SuccessDialog").count() == 1
    text = dialog.locator(".jp-Dialog-body").inner_text()
    dialog.locator("button.jp-Dialog-button").first.click()
    dialog.wait_for(state="detached")
    return content, text
