"""`autograder doctor`: shows what the probes find, and its exit status says whether every layer holds."""

import json

import pytest
from typer.testing import CliRunner

from autograder.cli import app
from tests.system import unavailable
from workbook.sandbox.isolation import probes
from workbook.sandbox.isolation.probes import Probe
from workbook.sandbox.isolation.server import available

FOUND = [Probe("PID namespace", True, "its own"), Probe("user ID", False, "shared", "run as root")]


@pytest.mark.parametrize(("found", "status"), [(FOUND, 1), (FOUND[:1], 0)])
def test_status_and_json(monkeypatch: pytest.MonkeyPatch, found: list[Probe], status: int) -> None:
    monkeypatch.setattr(probes, "probe", lambda: found)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    report = json.loads(result.stdout)
    assert result.exit_code == status
    assert report["holds"] is (status == 0)
    assert report["probes"][0] == {"layer": "PID namespace", "ok": True, "detail": "its own", "remedy": ""}


def test_the_table_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "probe", lambda: FOUND)
    result = CliRunner().invoke(app, ["doctor"])
    assert "shared (run as root)" in result.stdout
    assert result.exit_code == 1


def test_on_this_machine_it_says_what_the_probes_say() -> None:
    if reason := available():
        unavailable(reason)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    report = json.loads(result.stdout)
    assert len(report["probes"]) > 10
    assert (result.exit_code == 0) == all(found["ok"] for found in report["probes"])
