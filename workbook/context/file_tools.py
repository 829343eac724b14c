"""Tools on real files: list, read, search, write, run Python. What an agent is given, and what it does to its context.

They work in one folder, answer with text, and never name where that folder lies, so that what they say is the same on
each machine. What goes wrong is a `ToolError`, whose text is for the agent.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workbook.context.trace import File

READ_LINES = 120
SEARCH_LINES = 60


class ToolError(Exception):
    """A tool could not do what was asked; the text begins with the name of what went wrong."""


class FileTools:
    """The tools, over one folder. No sandbox: `python_run` runs what it is given with this process's rights.

    Args:
        root: The folder.
        timeout: Seconds that a Python program may take.
    """

    def __init__(self, root: Path, timeout: float = 10.0) -> None:
        self._root, self._timeout = root.resolve(), timeout

    def names(self) -> Mapping[str, Callable[..., str]]:
        """Returns the tools by name."""
        return {
            "file_list": self.file_list,
            "file_read": self.file_read,
            "file_search": self.file_search,
            "file_write": self.file_write,
            "python_run": self.python_run,
            "todo_write": self.todo_write,
        }

    def file_list(self, folder: str = ".") -> str:
        """Lists a folder: names and sizes."""
        path = self._path(folder)
        if not path.is_dir():
            raise ToolError(f"NotADirectoryError: {folder} is no folder")
        entries = sorted(path.iterdir(), key=lambda entry: entry.name)
        return "\n".join(f"{one.name}/" if one.is_dir() else f"{one.name}  {one.stat().st_size}" for one in entries)

    def file_read(self, path: str, first: int = 1) -> str:
        """Returns numbered lines of a file, from one on, 120 at the most."""
        lines = self._text(path).splitlines()
        if not 1 <= first <= max(len(lines), 1):
            raise ToolError(f"IndexError: {path} has {len(lines)} lines, and none is number {first}")
        shown = [f"{number:>4} {line}" for number, line in enumerate(lines, 1)][first - 1 : first - 1 + READ_LINES]
        left = len(lines) - first + 1 - len(shown)
        return "\n".join(shown) + (f"\n({left} more lines)" if left else "")

    def file_search(self, pattern: str, folder: str = ".") -> str:
        """Returns the lines below a folder that a regular expression finds, 60 at the most."""
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise ToolError(f"re.error: {error}") from None
        found = [
            f"{path.relative_to(self._root)}:{number}:{line.strip()[:160]}"
            for path in sorted(self._path(folder).rglob("*"))
            if path.is_file()
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
            if expression.search(line)
        ]
        if not found:
            raise ToolError(f"LookupError: no line below {folder} matches {pattern}")
        left = len(found) - SEARCH_LINES
        return "\n".join(found[:SEARCH_LINES]) + (f"\n({left} more matches)" if left > 0 else "")

    def file_write(self, path: str, text: str) -> str:
        """Writes a file."""
        target = self._path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return f"wrote {len(text.encode())} bytes to {path}"

    def python_run(self, code: str) -> str:
        """Runs a Python program in the folder, and returns what it prints."""
        command = [sys.executable, "-I", "-c", code]
        environment = {"PATH": os.defpath, "PYTHONHASHSEED": "0"}
        try:
            done = subprocess.run(
                command,
                cwd=self._root,
                env=environment,
                capture_output=True,
                text=True,
                timeout=self._timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ToolError(f"TimeoutError: the program ran for more than {self._timeout:g} s") from None
        if done.returncode:
            # Where the standard library lies is this machine's business.
            text = re.sub(r'File "/[^"]*/([^"/]+)"', r'File "\1"', done.stderr.strip())
            raise ToolError(f"{text.splitlines()[-1] if text else f'exit status {done.returncode}'}\n{text}")
        return done.stdout.strip() or "(nothing printed)"

    def todo_write(self, items: list[str]) -> str:
        """Keeps the list of what is to be done."""
        return json.dumps(items, ensure_ascii=False)

    def files(self, name: str, arguments: Mapping[str, Any]) -> list[File]:
        """Says which files a call uses."""
        how = {"file_list": "list", "file_read": "read", "file_search": "search", "file_write": "write"}.get(name)
        path = arguments.get("path", arguments.get("folder", "."))
        return [File(path=str(path), how=how)] if how else []

    def _path(self, path: str) -> Path:
        target = (self._root / path).resolve()
        if not target.is_relative_to(self._root):
            raise ToolError(f"PermissionError: {path} is outside")
        if not target.exists() and target.parent != self._root / "notes":
            raise ToolError(f"FileNotFoundError: there is no {path}")
        return target

    def _text(self, path: str) -> str:
        target = self._path(path)
        if not target.is_file():
            raise ToolError(f"FileNotFoundError: {path} is no file")
        return target.read_text(errors="replace")


def _definition(name: str, description: str, **properties: dict[str, Any]) -> dict[str, Any]:
    optional = {"folder", "first"}
    schema = {
        "type": "object",
        "properties": properties,
        "required": [one for one in properties if one not in optional],
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


_TEXT = {"type": "string"}
DEFINITIONS = [
    _definition("file_list", "Lists a folder: names and sizes.", folder=_TEXT),
    _definition("file_read", "Reads lines of a text file, 120 at the most.", path=_TEXT, first={"type": "integer"}),
    _definition("file_search", "Finds lines that a regular expression matches.", pattern=_TEXT, folder=_TEXT),
    _definition("file_write", "Writes a file below notes/.", path=_TEXT, text=_TEXT),
    _definition("python_run", "Runs a Python program and returns what it prints.", code=_TEXT),
    _definition("todo_write", "Keeps the list of what is to be done.", items={"type": "array", "items": _TEXT}),
]
"""The tools as a chat API takes them."""
