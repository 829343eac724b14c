"""A small workbook to test on: chapters made of a few lines."""

import json
from pathlib import Path
from typing import Any

from autograder.notebooks import make_notebook

HEADER = (
    "# ---\n# jupyter:\n#   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}\n# ---\n"
)


class Book:
    """A folder with `chapters/` in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.chapters = root / "chapters"
        self.copies = root / "build" / "chapters"
        self.chapters.mkdir()
        (root / "pyproject.toml").touch()

    def source(self, name: str, *cells: str) -> Path:
        """Writes a chapter's `.py`; a cell that does not begin with `# %%` is a code cell without tags."""
        marked = (cell if cell.startswith("# %%") else f"# %%\n{cell}" for cell in cells)
        path = self.chapters / f"{name}.py"
        path.write_text(HEADER + "\n" + "\n\n".join(marked) + "\n")
        return path

    def chapter(self, name: str, *cells: str) -> Path:
        """Writes a chapter's `.py` and makes its `.ipynb`."""
        path = self.source(name, *cells)
        make_notebook(path, force=True)
        return path


def load(source: Path) -> dict[str, Any]:
    """The `.ipynb` beside a `.py`."""
    notebook: dict[str, Any] = json.loads(source.with_suffix(".ipynb").read_text())
    return notebook


def store(source: Path, notebook: dict[str, Any]) -> None:
    """Saves an edited `.ipynb` beside a `.py`, as an editor would."""
    source.with_suffix(".ipynb").write_text(json.dumps(notebook, indent=1) + "\n")


def text(source: str | list[str]) -> str:
    """A cell's source, which JSON may hold in lines."""
    return source if isinstance(source, str) else "".join(source)
