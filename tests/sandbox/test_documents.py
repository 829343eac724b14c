"""What documents say of the sandbox's service is so: the options of `serve`, and the README's use of the client."""

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tests.sandbox.service.servers import Server, needs_boxes
from tests.sandbox.service.stores import ROOT
from workbook.sandbox.__main__ import app


def shown(default: Any) -> str:
    """A default as the table has it."""
    if default in (None, "", [], ()):
        return ""
    return "" if default is False else f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def test_the_table_of_options_is_what_serve_takes() -> None:
    command = get_command(app).commands["serve"]  # type: ignore[attr-defined]
    rows = [
        f"| `{max(option.opts, key=len)}` | {shown(option.default)} | {option.help} |"
        for option in command.params
        if option.name != "help"
    ]
    text = (ROOT / "docs/sandbox.md").read_text()
    table = text.partition("| option | default | |\n|---|---|---|\n")[2].partition("\n\n")[0]
    assert table == "\n".join(rows), "docs/sandbox.md has another table than this:\n" + "\n".join(rows)


@needs_boxes
def test_the_readmes_python_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (ROOT / "README.md").read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "SandboxClient" in block)
    monkeypatch.chdir(tmp_path)
    with Server(tmp_path, "--ready", "0") as server:
        exec(code.replace("http://127.0.0.1:8070", server.url), {})
    assert capsys.readouterr().out == r"'a,b\n1,2\n'" + "\n"
