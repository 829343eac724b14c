"""A fork server that all tests of a file share, and whether this machine can have one."""

from collections.abc import Iterator

import pytest

from tests.sandbox.isolation.boxes import evaluator_server
from tests.system import unavailable
from workbook.sandbox.isolation.box import Box
from workbook.sandbox.isolation.server import ForkServer, available


@pytest.fixture(scope="session")
def sandboxes() -> None:
    """Skips the test where no box can be made."""
    if reason := available():
        unavailable(reason)


@pytest.fixture(scope="session")
def server(sandboxes: None) -> Iterator[ForkServer]:
    with evaluator_server() as server:
        yield server


@pytest.fixture
def box(server: ForkServer) -> Iterator[Box]:
    with server.box() as box:
        yield box
