"""Fixtures."""

from pathlib import Path

import pytest

from tests.autograder.book import Book


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)
