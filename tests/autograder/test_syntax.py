"""Syntax is read in one thread at a time."""

import ast
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from autograder import syntax


def test_it_is_the_tree() -> None:
    assert ast.dump(syntax.parse("a = 1")) == ast.dump(ast.parse("a = 1"))
    with pytest.raises(SyntaxError):
        syntax.parse("a = ")


def test_two_threads_do_not_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, most = 0, 0
    entered = threading.Barrier(2)

    def slow(source: str) -> ast.Module:
        nonlocal reading, most
        reading += 1
        most = max(most, reading)
        threading.Event().wait(0.05)
        reading -= 1
        return ast.Module([], [])

    def read() -> None:
        entered.wait(5)
        syntax.parse("")

    monkeypatch.setattr("ast.parse", slow)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: read(), range(2)))
    assert most == 1
