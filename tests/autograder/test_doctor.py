"""`autograder doctor`: shows what the probes find, and its exit status says whether every needed layer holds."""

import json
import re

import pytest
from typer.testing import CliRunner

from autograder.cli import app
from tests.system import unavailable
from workbook.sandbox.isolation import probes
from workbook.sandbox.isolation.probes import Probe
from workbook.sandbox.isolation.server import available

HOLDS = Probe("PID namespace", True, "its own")
SPARED = Probe("keyring", False, "none", needed=False)
MISSING = Probe("user ID", False, "shared", "run as root")


@pytest.mark.parametrize(
    ("found", "status"), [([HOLDS, MISSING], 1), ([HOLDS], 0), ([HOLDS, SPARED], 0), ([HOLDS, SPARED, MISSING], 1)]
)
def test_status_and_json(monkeypatch: pytest.MonkeyPatch, found: list[Probe], status: int) -> None:
    monkeypatch.setattr(probes, "probe", lambda: found)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    report = json.loads(result.stdout)
    assert result.exit_code == status
    assert report["holds"] is (status == 0)
    assert report["probes"][0] == {
        "layer": "PID namespace", "ok": True, "detail": "its own", "remedy": "", "needed": True
    }  # fmt: skip
    assert [probe["needed"] for probe in report["probes"]] == [one is not SPARED for one in found]


def test_the_table_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "probe", lambda: [HOLDS, SPARED, MISSING])
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    columns = [re.split(" {2,}", line.strip()) for line in result.stdout.splitlines() if line]
    assert columns[1:] == [
        ["PID namespace", "yes", "its own"],
        ["keyring", "not needed", "none"],
        ["user ID", "no", "shared (run as root)"],
        ["grading is refused: user ID"],
    ]
    monkeypatch.setattr(probes, "probe", lambda: [HOLDS, SPARED])
    result = CliRunner().invoke(app, ["doctor"])
    assert "each layer that is needed here holds: 1" in result.stdout
    assert result.exit_code == 0


def test_on_this_machine_it_says_what_the_probes_say() -> None:
    if reason := available():
        unavailable(reason)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    report = json.loads(result.stdout)
    assert len(report["probes"]) > 10
    assert (result.exit_code == 0) == all(found["ok"] or not found["needed"] for found in report["probes"])
