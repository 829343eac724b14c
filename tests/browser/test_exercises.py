"""An exercise in JupyterLab: a student solves it, an instructor grades it."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.formgrader import Formgrader
from tests.browser.lab import (
    ROOT,
    SHOTS,
    Lab,
    errors,
    open_notebook,
    outputs,
    run_all,
    serve_course,
    validate,
    write_cells,
)
from tests.grading.course import NAME, Course, grade_id
from tests.system import unavailable
from workbook.sandbox.isolation.server import available
from workbook.serving import vllm_built_for

pytestmark = [pytest.mark.browser, pytest.mark.timeout(700)]

TOY = f"exercises/{NAME}/{NAME}.ipynb"
REAL = "ch01_ex1_jupyter_agent"
FORGETS = "def add(a, b): return a"
ENDS = "import os\nos._exit(0)"


@pytest.fixture(scope="module")
def course(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Course:
    """A course with a toy exercise, and submissions of it."""
    from autograder.course.release import release

    course = Course(tmp_path_factory.mktemp("browser") / "course")
    assert release(course.add_exercise()).problems == []
    course.submit("right", course.solved())
    course.submit("wrong", course.solved(add=FORGETS))
    course.submit("hostile", course.solved(add=ENDS))
    return course


@pytest.fixture(scope="module")
def lab(course: Course, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab in the course's folder."""
    with serve_course(course.root, tmp_path_factory.mktemp("home")) as lab:
        yield lab


def test_a_student_is_told_what_is_wrong_and_solves_the_exercise(page: Page, course: Course, lab: Lab) -> None:
    notebook = course.released()
    answers = reference(course.root / "solutions" / NAME / f"{NAME}.ipynb")
    panel = open_notebook(page, lab.address, TOY)

    content, said = validate(page, panel, "toy_untouched.png", timeout=60)
    assert not content
    assert "hint: Are both numbers used?" in said
    assert said.count("The following cell failed") == 4  # three checks and the essay
    run_all(page, panel, timeout=60)
    expect(errors(panel)).to_have_text([re.compile(r"^CheckFailed: adds-up: raised NotImplementedError")])

    write_cells(page, panel, {place(notebook, "add"): FORGETS})
    run_all(page, panel, timeout=60)
    page.screenshot(path=SHOTS / "toy_wrong.png")
    told = re.compile(
        r"^CheckFailed: adds-up: expected \d+, got \d+\s+"
        r"asked: add\(\d+, \d+\) → \d+\s+"
        r"hint: Are both numbers used\?\s*$",
    )
    expect(errors(panel)).to_have_text([told])
    expect(outputs(panel, place(notebook, "adds-up"))).to_have_text([told])

    write_cells(page, panel, {place(notebook, identity): source for identity, source in answers.items()})
    run_all(page, panel, timeout=60)
    page.screenshot(path=SHOTS / "toy_solved.png")
    for criterion in ("adds-up", "counts-up", "rounds"):
        expect(outputs(panel, place(notebook, criterion))).to_have_text([f"✓ {criterion}"])
    expect(errors(panel)).to_have_count(0)
    content, said = validate(page, panel, "toy_validated.png", timeout=60)
    assert content, said
    saved = json.loads((course.root / TOY).read_text())
    assert {grade_id(cell): "".join(cell["source"]) for cell in saved["cells"] if is_answer(cell)} == answers


def test_an_instructor_grades_in_formgrader(page: Page, course: Course, lab: Lab, tmp_path: Path) -> None:
    if reason := available():
        unavailable(reason)
    released = course.autograder("release", "--force")  # a student has worked in it, in the test above
    assert released.returncode == 0, released.stderr
    points = graded_on_the_command_line(course, tmp_path)
    assert points["wrong"] < points["right"]
    students = ["wrong", "right", "hostile"]
    before = lab.descendants.living()
    formgrader = Formgrader(page, lab.address, NAME)
    for student in students:
        seen = lab.descendants.ever()
        formgrader.autograde(student, timeout=60)
        started = [command for process, command in lab.descendants.ever().items() if process not in seen]
        assert any("workbook.sandbox.isolation" in command for command in started), started
        assert not lab.descendants.left(before)
        httpx.get(lab.address.copy_with(path="/api/status")).raise_for_status()
    formgrader.screenshot("toy_formgrader.png")
    assert {student: formgrader.score(student) for student in students} == {
        student: f"{points[student]:g} / 14" for student in students
    }

    formgrader.generate_feedback("wrong", timeout=60)
    shown = formgrader.open_submission("wrong")
    formgrader.screenshot("toy_submission.png")
    text = shown.inner_text()
    assert re.search(r"✗ adds-up: 0 of 5 .*expected \d+, got \d+.*Hint: Are both numbers used\?", text, re.DOTALL)
    assert "✓ counts-up: 3 of 3" in text

    seed = course.record("wrong")["seed"]
    page.goto((course.root / "feedback" / "wrong" / NAME / f"{NAME}.html").as_uri())
    page.screenshot(path=SHOTS / "toy_feedback.png", full_page=True)
    text = page.locator("body").inner_text()
    assert "Hint: Are both numbers used?" in text
    assert "(Score: 7.0 / 14.0)" in text
    assert seed not in page.content()


@pytest.mark.llm
def test_the_first_exercise_is_solved_in_jupyterlab(page: Page, course: Course, lab: Lab) -> None:
    if vllm_built_for() is None:
        unavailable("vLLM is missing, on which the exercise serves its model")
    shutil.copytree(ROOT / "exercises" / REAL, course.root / "exercises" / REAL)
    notebook = course.released(REAL)
    answers = reference(ROOT / "solutions" / REAL / f"{REAL}.ipynb")
    panel = open_notebook(page, lab.address, f"exercises/{REAL}/{REAL}.ipynb")
    page.screenshot(path=SHOTS / "ch01_ex1_opened.png")
    write_cells(page, panel, {place(notebook, identity): source for identity, source in answers.items()})

    # A model's start takes half a minute: it is left to Validate, which runs all cells anyway.
    model = place(notebook, "a-real-model-is-served")
    checks = [grade_id(cell) for cell in notebook["cells"][:model] if is_check(cell)]
    run_all(page, panel, timeout=200, above=model)
    page.screenshot(path=SHOTS / "ch01_ex1_solved.png")
    for check in checks:
        expect(outputs(panel, place(notebook, check))).to_have_text([f"✓ {check}"])
    expect(errors(panel)).to_have_count(0)
    assert len(checks) >= 8

    before, seen = lab.descendants.living(), lab.descendants.ever()
    content, said = validate(page, panel, "ch01_ex1_validated.png", timeout=400)
    assert content, said
    started = [command for process, command in lab.descendants.ever().items() if process not in seen]
    assert any("vllm.entrypoints" in command for command in started), started
    assert not lab.descendants.left(before)


def reference(path: Path) -> dict[str, str]:
    """The answers in a notebook with the reference solution, by grade_id."""
    cells = json.loads(path.read_text())["cells"]
    return {
        grade_id(cell): re.sub(
            r"^ *### (BEGIN|END) SOLUTION\n?", "", "".join(cell["source"]), flags=re.MULTILINE
        ).rstrip()
        for cell in cells
        if is_answer(cell)
    }


def is_answer(cell: dict[str, Any]) -> bool:
    return bool(grade_id(cell)) and bool(cell["metadata"]["nbgrader"]["solution"])


def is_check(cell: dict[str, Any]) -> bool:
    return bool(grade_id(cell)) and cell["metadata"]["nbgrader"]["grade"] and not is_answer(cell)


def place(notebook: dict[str, Any], identity: str) -> int:
    """The place of the cell of that grade_id."""
    return [grade_id(cell) for cell in notebook["cells"]].index(identity)


def graded_on_the_command_line(course: Course, folder: Path) -> dict[str, float]:
    """Points by student, as `autograder grade` gives them in a copy of the course."""
    copy = Course(Path(shutil.copytree(course.root, folder / "copy")))
    report = json.loads(copy.autograder("grade", NAME, "--json").stdout)
    return {grade["student"]: grade["points"] for grade in report["submissions"]}
