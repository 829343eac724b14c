"""Fixtures of all tests."""

import os
from collections.abc import Iterator

import pytest


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
