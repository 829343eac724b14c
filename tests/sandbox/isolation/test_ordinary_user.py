"""The tests of layers, deaths and the watchdog as an ordinary user: user namespaces stand in for root's rights."""

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.system import unavailable
from workbook.sandbox.isolation import server

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests run as an ordinary user already")
def test_boxes_of_an_ordinary_user() -> None:
    if reason := server.available() or server._no_user_namespaces():
        unavailable(reason)
    files = [str(HERE / f"test_{subject}.py") for subject in ("layers", "deaths", "watchdog")]
    with tempfile.TemporaryDirectory() as folder:  # pytest's own temporary folders are closed to others
        Path(folder).chmod(0o777)
        report = Path(folder) / "report.xml"
        options = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}"]
        environment = {**os.environ, "HOME": folder, "TMPDIR": folder, "PYTEST_ADDOPTS": ""}
        command = [sys.executable, str(HERE / "ordinary.py"), *options, *files]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        cases = list(ElementTree.parse(report).iter("testcase"))
    skipped = {case.get("name", "") for case in cases if case.find("skipped") is not None}
    assert skipped == {
        "test_it_has_its_own_user",
        "test_the_control_group_bounds_processes",
        "test_the_control_group_bounds_processor_time",
    }
    assert len(cases) > 60
