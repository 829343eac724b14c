"""Reads Python's syntax, in one thread at a time."""

import ast
import threading

ONE_AT_A_TIME = threading.RLock()
"""To be held while syntax is read: CPython counts the depth of trees for all threads together, and where two read at
once it raises a SystemError now and then (python/cpython issue 106905, mended in later releases)."""


def parsing_cost(source: str) -> int:
    """Returns what some source costs to parse, in characters: a `{` counts for ten, for the parts of an f-string."""
    return len(source) + 9 * source.count("{")


def parse(source: str) -> ast.Module:
    """Returns the syntax tree of some source.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: As `ast.parse` does.
    """
    with ONE_AT_A_TIME:
        return ast.parse(source)
