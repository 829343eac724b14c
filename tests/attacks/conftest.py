"""Fixtures."""

import pytest

from autograder.exercises import Exercise
from tests.attacks.course import make_course
from tests.system import unavailable
from workbook.sandbox.isolation.server import available


@pytest.fixture(scope="session")
def exercises(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exercise]:
    """One exercise of each shape, released, by shape."""
    if reason := available():
        unavailable(reason)
    return make_course(tmp_path_factory.mktemp("attacks") / "course")
