"""The tests of layers and deaths once more, as an ordinary user: user namespaces stand in for root's rights."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.system import unavailable
from workbook.sandbox.isolation import server

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent


def test_boxes_of_an_ordinary_user(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the tests run as an ordinary user already")
    if reason := server.available() or server._no_user_namespaces():
        unavailable(reason)
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:3]:  # pytest's own folders are closed to others
        if parent.owner() == "root" and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    report = tmp_path / "report.xml"
    files = [str(HERE / "test_layers.py"), str(HERE / "test_deaths.py")]
    command = [
        sys.executable,
        str(HERE / "ordinary.py"),
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--junit-xml={report}",
        *files,
    ]
    environment = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    cases = list(ElementTree.parse(report).iter("testcase"))
    skipped = {case.get("name", "") for case in cases if case.find("skipped") is not None}
    assert skipped == {
        "test_it_has_its_own_user",
        "test_the_control_group_bounds_processes",
        "test_files_count_as_memory",
    }
    assert len(cases) > 60
