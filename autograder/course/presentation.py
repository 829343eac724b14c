"""Keeps a graded notebook fit to be shown: no submission may hold up feedback for all, or put a script into a page."""

from typing import Any

from autograder.exercises import is_judged

LONGEST_MARKUP = 80_000
"""Characters of a submission's Markdown and HTML together: a cleaner takes up to 20 s for as many, and its square."""

LONGEST_CODE = 1_000_000
"""Characters of its code together: highlighting takes up to 12 s for as many."""

CUT = "\n… [shortened: the rest is in the submission]"
_MARKUP = ("text/html", "text/markdown")


def make_presentable(notebook: Any) -> None:
    """Shortens what a submission has beyond bounds, and drops its outputs' metadata.

    Templates write some of that metadata into tags without quotes: a picture's width could be a script.
    """
    cells = [cell for cell in notebook.cells if not cell.metadata.get("nbgrader", {}).get("locked")]
    markup = _shorten([cell for cell in cells if cell.cell_type != "code"], LONGEST_MARKUP)
    _shorten([cell for cell in cells if cell.cell_type == "code"], LONGEST_CODE)
    for cell in notebook.cells:
        for output in [] if is_judged(cell) else cell.get("outputs", []):
            if "data" in output:
                output.metadata = {}
                for kind in _MARKUP:
                    size = len(output.data.get(kind, ""))
                    if size > markup:
                        del output.data[kind]
                    else:
                        markup -= size


def _shorten(cells: list[Any], left: int) -> int:
    """Returns what is left of `left` characters."""
    for cell in cells:
        if len(cell.source) > left:
            cell.source = cell.source[:left] + CUT
        left = max(left - len(cell.source), 0)
    return left
