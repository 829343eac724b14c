"""The tables in docs/grading.md are those of the attacks and defences that there are."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from autograder.attacking.attack import attacks
from autograder.attacking.defences import DEFENCES
from autograder.attacking.document import BEGIN, END, inserted, tables
from autograder.attacking.report import AttackOutcome, AttackReport

DOCUMENT = (Path(__file__).parents[2] / "docs/grading.md").read_text()
ROWS = [
    [cell.strip().strip("`") for cell in row.strip("|").split("|")]
    for row in DOCUMENT.split(BEGIN)[1].split(END)[0].splitlines()
    if re.match(r"\| [^-]", row)
]


def test_each_attack_has_its_row() -> None:
    rows = {row[0]: row for row in ROWS if len(row) == 6}
    del rows["attack"]
    assert set(rows) == {attack.name for attack in attacks()}, "run `make attacks`"
    for attack in attacks():
        _, shapes, goal, stopped_by, empty, reference = rows[attack.name]
        assert set(shapes.split(", ")) == set(attack.shapes)
        assert (goal, stopped_by, empty) == (attack.goal, attack.stopped_by, "none")
        allowed = {"keeps": {"all"}, "loses": {"some", "none"}, "nothing": {"none"}, "any": {"all", "some", "none"}}
        assert set(reference.split(", ")) <= allowed[attack.reference]


def test_each_defence_has_its_row() -> None:
    rows = [row for row in ROWS if len(row) == 3]
    assert rows[1:] == [[name, defence.about, defence.test] for name, defence in DEFENCES.items()]


def test_tables_are_made_of_a_report() -> None:
    def outcome(answer: str, points: float, *, holds: bool = True) -> AttackOutcome:
        about = ("ch01_ex9_toy", "object", "floods", answer, "harness", "drown", "cells end", "tests/x.py::y")
        return AttackOutcome(*about, holds, "", points, 3.0, "", 0.1)

    outcomes = [outcome("empty", 0.0), outcome("reference", 3.0), outcome("reference", 1.0, holds=False)]
    text = tables(asdict(AttackReport(False, "s", 1.0, 1, outcomes, [], [])))
    assert "| `floods` | object | drown | cells end | none | all, **does not hold** |" in text
    document = inserted(f"before\n{BEGIN}\nearlier tables\n{END}\nafter\n", text)
    assert document.startswith(f"before\n{BEGIN}\n\n| attack |")
    assert document.endswith(f"|\n\n{END}\nafter\n")
    assert "earlier tables" not in document
    with pytest.raises(ValueError, match="has no lines"):
        inserted("nothing", text)
