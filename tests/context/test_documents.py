"""What docs/context.md says of the library is so."""

import importlib
import re
from pathlib import Path
from typing import Any

from typer.main import get_command

from workbook.context.__main__ import app

TEXT = (Path(__file__).parents[2] / "docs/context.md").read_text()


def test_its_python_does_what_it_says() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    contents = [message["content"] for message in names["messages"]]
    assert names["name"] in contents[2]
    assert "line 250" not in "".join(contents)
    assert "TimeoutError: the search took too long" in contents[3]
    assert contents[-1] == "Todo:\n- [x] read the log\n- [ ] find the line"
    assert "line 500: disk full" in names["found"]


def test_all_that_it_names_is_there() -> None:
    rows = re.findall(r"^\| [^|]+ \| (`[^|]+) \|$", TEXT, re.M)
    named = [name for row in rows for name in re.findall(r"`([\w.]+)`", row)]
    assert len(named) > 15
    for name in named:
        module, _, attribute = name.partition(".")
        found = importlib.import_module(f"workbook.context.{module}")
        assert not attribute or hasattr(found, attribute), name


def test_its_commands_exist() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for command, rest in re.findall(r"python -m workbook\.context (\w+)(.*)", TEXT):
        options = {option for one in commands[command].params for option in one.opts}
        assert set(re.findall(r"--[\w-]+", rest)) <= options
    assert set(re.findall(r"`(--[\w-]+)", TEXT)) <= {
        option for one in commands["profile"].params for option in one.opts
    }
