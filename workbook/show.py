"""Showing things to whoever reads along, in a notebook, in a terminal or in a log."""

import html
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass


def in_notebook() -> bool:
    """Says whether this process is a notebook's kernel, so that what is displayed appears under a cell."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


@dataclass(frozen=True)
class Table:
    """Rows under a header. A notebook shows it as Markdown, `print` as aligned text.

    A cell may be anything; it is shown as `str` gives it, on one line, with nothing in it taken for markup but
    `**bold**`.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[object]]

    def __str__(self) -> str:
        lines = [[_one_line(cell) for cell in row] for row in (self.header, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        return "\n".join(line.rstrip() for line in padded)

    def _repr_markdown_(self) -> str:
        lines = [[_escape(_one_line(cell)) for cell in row] for row in (self.header, *self.rows)]
        lines.insert(1, ["---"] * len(self.header))
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _one_line(cell: object) -> str:
    # Control characters would end the row, or speak to the terminal; surrogates cannot be printed.
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: repr(match[0])[1:-1], str(cell))
    return text.encode(errors="backslashreplace").decode()


def _escape(text: str) -> str:
    return re.sub(r"([\\|_`$\[~])", r"\\\1", html.escape(text, quote=False))
