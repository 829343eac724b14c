"""The command as somebody at a terminal or a program meets it."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autograder.reporting import model
from tests.reporting.conftest import FIRST
from tests.reporting.sample import HOSTILE, make_class, names_of

KINDS = [kind for kind in vars(model).values() if dataclasses.is_dataclass(kind) and kind.__module__ == model.__name__]
COMMAND = Path(sys.executable).with_name("autograder")


def report(course: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "report", *arguments], cwd=course, capture_output=True, text=True, check=False, env=os.environ
    )


def test_table_and_path(course: Path) -> None:
    make_class(course, [*names_of(5), *HOSTILE])
    done = report(course)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == str(course / "reports" / "index.html")
    assert FIRST in done.stdout


def test_json_is_what_help_documents(course: Path) -> None:
    make_class(course, names_of(20))
    done = report(course, "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found == json.loads((course / "reports" / "report.json").read_text())
    documented = report(course, "--help").stdout
    for name in fields(found):
        assert f"      {name}: " in documented, name
    assert "the seed of" not in done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_each_field_is_documented_where_it_is(kind: type[Any]) -> None:
    for field in dataclasses.fields(kind):
        assert f"    {field.name}: " in (kind.__doc__ or ""), field.name


def fields(found: Any) -> set[str]:
    """The names of fields; not the keys of what is kept by name."""
    if isinstance(found, list):
        return set().union(*map(fields, found))
    if not isinstance(found, dict):
        return set()
    by_name = {"stages", "packages"}
    inside = [list(value.values()) if name in by_name else value for name, value in found.items()]
    return set(found) | fields(inside)


def test_one_exercise_elsewhere(course: Path) -> None:
    make_class(course, names_of(5))
    done = report(course, "ch01_ex1", "--output", "elsewhere")
    assert done.returncode == 0
    assert "ch01_ex2" not in (course / "elsewhere" / "index.html").read_text()
    assert not (course / "reports").exists()


def test_bad_usage(course: Path) -> None:
    for arguments, message in ((["ch09"], "'ch09' is no exercise"), ([], "nothing to report")):
        done = report(course, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("file", ["records.db", "reports"])
def test_what_cannot_be_read_or_written(one_student: Path, file: str) -> None:
    (one_student / file).write_text("in the way " * 100)
    done = report(one_student)
    assert (done.returncode, done.stdout) == (1, "")
    assert file in done.stderr
    assert "Traceback" not in done.stderr
