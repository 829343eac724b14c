"""Cells that need what there is not are skipped."""

from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell

from workbook.skipping import skip_cells_without


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    shell = InteractiveShell()
    skip_cells_without(["service"], "no box here", shell)
    yield shell
    InteractiveShell.clear_instance()


def run(shell: InteractiveShell, code: str, capsys: pytest.CaptureFixture[str]) -> str:
    shell.run_cell(code).raise_error()
    return capsys.readouterr().out.strip()


def test_cells_without_what_they_need_say_why(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shell, "x = 1\nprint(x)", capsys) == "1"
    assert (
        run(shell, "url = service.url\ndef ask():\n    return url\nimport json as j", capsys) == "Skipped: no box here"
    )
    for reads in ("url", "ask()", "print(j)", "def f():\n    return [ask() for _ in range(3)]"):
        assert run(shell, reads, capsys) == "Skipped: no box here", reads
    assert "url" not in shell.user_ns
    assert run(shell, "print(x + 1)", capsys) == "2"


def test_a_name_that_is_made_after_all_is_there(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shell, "found = service.url", capsys) == "Skipped: no box here"
    assert run(shell, "found = 3", capsys) == ""
    assert run(shell, "print(found)", capsys) == "3"
    assert run(shell, "'service'; print('a text is no name')", capsys) == "a text is no name"


def test_names_of_functions_of_their_own_are_others(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(shell, "for name in service: found = [one for one in name]", capsys) == "Skipped: no box here"
    assert run(shell, "def f(name):\n    found = name\n    return found\nprint(f(3))", capsys) == "3"
    assert run(shell, "print([name for name in 'ab'], (lambda found: found)(4))", capsys) == "['a', 'b'] 4"
    assert run(shell, "print(f'{name}')", capsys) == "Skipped: no box here"
    assert run(shell, "class A:\n    def g(self):\n        return name", capsys) == "Skipped: no box here"
    assert run(shell, "A", capsys) == "Skipped: no box here"
