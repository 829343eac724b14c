"""Fixtures of all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

LONGEST = (
    "test_exercises.py",
    "attacks/test_attacks.py",
    "test_chapters.py",
    "attacks/test_workbook.py",
    "browser/test_exercises.py",
)
"""Files that take minutes, the longest first. One worker runs a file: for what begins last, the other one waits."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Has the longest files begin first; all others follow in their order."""
    root = Path(__file__).parent
    places = {root / name: place for place, name in enumerate(LONGEST)}
    if missing := [str(path) for path in places if not path.exists()]:
        raise pytest.UsageError(f"tests/conftest.py names what is not there: {', '.join(missing)}")
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session", autouse=True)
def graders_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is graded in tests is signed with a key of theirs, and not with the user's."""
    before = os.environ.get("AUTOGRADER_KEY")
    os.environ["AUTOGRADER_KEY"] = str(tmp_path_factory.mktemp("key") / "grader.pem")
    yield
    if before is None:
        del os.environ["AUTOGRADER_KEY"]
    else:
        os.environ["AUTOGRADER_KEY"] = before
