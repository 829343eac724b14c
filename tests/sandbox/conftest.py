"""Fixtures of the tests of `workbook.sandbox`."""

from collections.abc import Iterator

import pytest

from tests.sandbox.kernels import QUICK, ROOT
from workbook.sandbox.kernel import Kernel


@pytest.fixture(scope="package")
def kernel() -> Iterator[Kernel]:
    """A kernel for tests that do not care about its state; they may kill it."""
    with Kernel(cwd=ROOT, limits=QUICK) as shared:
        yield shared
