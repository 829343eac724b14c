"""One line of progress, wherever one looks from."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat

ROOT = Path(__file__).parents[2]

SCRIPT = """
import os, time
from workbook.serving.environment import quiet
from workbook.serving.progress import loading
with loading("a model"), quiet():
    time.sleep(1.5)
    os.write(2, b"noise")
"""


def test_in_a_terminal_it_shows_through_the_silence_and_ends_in_one_line() -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stderr=theirs, env=environment, cwd=ROOT) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:  # how a terminal whose other end is closed says so
            pass
    os.close(ours)
    assert process.returncode == 0
    assert b"a model" in shown
    assert b"0:00:01" in shown
    assert b"noise" not in shown
    assert shown.count(b"a model: ready in") == 1


def test_nothing_is_written_where_nobody_watches() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_a_notebook_keeps_one_output_a_cell() -> None:
    failing = "with loading('another model'):\n    raise ValueError('no')"
    cells = [nbformat.v4.new_code_cell(source) for source in (SCRIPT, failing)]
    cells[1].metadata["tags"] = ["raises-exception"]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    ).execute()
    (ready,) = notebook.cells[0].outputs
    assert ready["output_type"] == "display_data"
    assert ready["data"]["text/plain"].startswith("a model: ready in ")
    stopped, error = notebook.cells[1].outputs
    assert stopped["data"]["text/plain"].startswith("another model: stopped after ")
    assert error["output_type"] == "error"
