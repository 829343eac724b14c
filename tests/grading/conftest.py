"""Fixtures."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.grading.course import Course


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Ctrl-C is heard, as in a terminal; a shell's background job ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def released_course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    """A course with the toy exercise, released and registered. To copy, not to use."""
    from autograder.course.release import release

    course = Course(tmp_path_factory.mktemp("released") / "course")
    assert release(course.add_exercise()).problems == []
    return course


@pytest.fixture
def course(released_course: Course, tmp_path: Path) -> Course:
    """A course of the test's own, with the toy exercise released and registered."""
    return Course(Path(shutil.copytree(released_course.root, tmp_path / "course")))
