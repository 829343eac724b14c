"""The notebooks of this repository, as they are committed."""

from pathlib import Path

import pytest

from autograder.chapters import find_chapters, find_solutions
from autograder.notebooks import problems

ROOT = Path(__file__).parents[1]
SOURCES = [*find_chapters(ROOT), *find_solutions(ROOT)]


def test_there_are_chapters() -> None:
    assert SOURCES


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_notebook_is_as_its_source_says_without_outputs_and_with_short_cells(source: Path) -> None:
    assert problems(source) == []
