"""The alert rules, and that what they are of is what the service shows."""

import re
import subprocess

from tests.sandbox.service.stores import ROOT
from tests.system import need
from workbook.sandbox.service.metrics import Metrics
from workbook.sandbox.service.node import Node, NodeSettings

RULES = ROOT / "deploy/sandbox"


def test_the_rules_fire_when_they_should() -> None:
    promtool = need("promtool", "prometheus")
    done = subprocess.run(
        [promtool, "test", "rules", RULES / "alerts_test.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_they_are_of_metrics_that_there_are() -> None:
    metrics = Metrics()
    metrics.watch(Node(None, NodeSettings()))  # type: ignore[arg-type]  # nothing is stored
    metrics.requested("/v1/sessions", 200, 0.1)
    metrics.executed("ok", 0.1)
    metrics.restored(0.1, ok=False)
    shown = metrics.text().decode()
    named = set(re.findall(r"\bsandbox_[a-z_]+", (RULES / "alerts.yml").read_text()))
    assert len(named) > 8
    assert [name for name in named if not re.search(rf"^{name}[ {{]", shown, re.MULTILINE)] == []


def test_reasons_are_few_whatever_a_box_dies_of() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.box_died(f"exit status {number}")
        metrics.box_died(f"reason {number}")
    assert len(re.findall(r"^sandbox_box_deaths_total", metrics.text().decode(), re.MULTILINE)) < 10
    metrics.box_died("out of memory")
    assert 'sandbox_box_deaths_total{reason="memory"} 1.0' in metrics.text().decode()
