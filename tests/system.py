"""What tests ask of the machine beyond the Python environment."""

import os
import shutil
from typing import NoReturn

import pytest


def need(command: str, package: str) -> str:
    """Returns the path of `command`, from the Debian package `package`.

    Where it is missing the test is skipped, and the skip names the package; with REQUIRE_ALL=1 (CI) it fails instead,
    so that nothing goes untested unseen.
    """
    path = shutil.which(command)
    if path is None:
        unavailable(f"`{command}` is missing: install the Debian package {package} (apt.txt lists all of them)")
    return path


def unavailable(reason: str) -> NoReturn:
    """Skips the test for want of something on this machine; with REQUIRE_ALL=1 fails it."""
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"REQUIRE_ALL=1: {reason}")
    pytest.skip(reason)
