"""Fixtures."""

import random
from pathlib import Path

import pytest

from autograder.course.signing import VARIABLE
from tests.reporting.sample import EXERCISES, add, make_course, record_of

FIRST, SECOND, THIRD = EXERCISES


@pytest.fixture(autouse=True)
def _key(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of the tests' own signs records."""
    monkeypatch.setenv(VARIABLE, str(tmp_path_factory.getbasetemp() / "key.pem"))


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A course of three exercises, of which nothing is submitted."""
    make_course(tmp_path / "course")
    return tmp_path / "course"


@pytest.fixture
def one_student(course: Path) -> Path:
    """A course in which one student has done one exercise, badly."""
    add(course, record_of("Ada Abel", FIRST, "empty", random.Random(0)))
    return course
