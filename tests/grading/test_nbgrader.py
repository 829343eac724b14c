"""nbgrader's own commands, and what formgrader calls, over the judge in its sandbox."""

import asyncio
import json
from collections.abc import Iterator
from html import unescape
from typing import Any

import psutil
import pytest

from autograder.course.config import course_directory, load_config
from autograder.course.grade_report import GradeReport
from autograder.grading import Grader
from tests.grading.course import NAME, POINTS, Course, cell_of
from tests.system import unavailable
from workbook.sandbox.isolation.server import available

UNIVERSAL = """
class Anything:
    def __eq__(self, other): return True
    def __hash__(self): return 0
    def __add__(self, other): return self
    __radd__ = __round__ = __add__
    def __call__(self, *arguments): return self
"""
FORGED = """
import json, sys
from IPython import get_ipython
from IPython.display import display
for number in ("5", "1e9"):
    message = {"output_type": "execute_result", "data": {"text/plain": number}, "metadata": {}}
    get_ipython().displayhook(float(number))
    display({"text/plain": number}, raw=True)
    print(json.dumps(message))
def add(a, b):
    return float("5")
"""
EXITS = "import os\nos._exit(0)"


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    """A grader for all tests of this file, since its start takes longer than they do."""
    if reason := available():
        unavailable(reason)
    with Grader() as grader:
        yield grader


@pytest.fixture
def boxes() -> None:
    if reason := available():
        unavailable(reason)


def test_five_submissions_through_nbgrader(course: Course, boxes: None) -> None:
    course.submit("reference", course.solved())
    course.submit("empty", course.released())
    universal = {
        "add": UNIVERSAL + "add = Anything()",
        "counter": "Counter = Anything()",
        "round": "rounded = Anything()",
    }
    course.submit("universal", course.solved(**universal))
    stub = {"counter": "Counter = None", "round": "rounded = None"}
    course.submit("forged", course.solved(add=FORGED, **stub))
    course.submit("exits", course.solved(add=EXITS, **stub))
    done = course.nbgrader("autograde", NAME)
    assert done.returncode == 0, done.stderr
    assert course.auto_scores()["reference"] == POINTS
    assert course.totals() == {"reference": 12, "empty": 0, "universal": 0, "forged": 0, "exits": 0}


def test_the_api_that_formgrader_calls_gives_the_same_points(course: Course, boxes: None) -> None:
    from nbgrader.apps import NbGraderAPI

    half = course.solved(round="import math\ndef rounded(x): return math.floor(x)")
    course.submit("alice", half)
    course.submit("bob", half)
    assert course.nbgrader("autograde", NAME, "--student", "bob").returncode == 0
    before = set(psutil.Process().children(recursive=True))
    config = load_config(course.root)
    api = NbGraderAPI(course_directory(course.root), config=config)

    async def click() -> Any:
        return api.autograde(NAME, "alice")  # formgrader calls it in its event loop

    result = asyncio.run(click())
    assert result["success"], result
    scores = course.auto_scores()
    assert scores["alice"] == scores["bob"] == {**POINTS, "rounds": 2}  # half of them are rounded down
    assert not set(psutil.Process().children(recursive=True)) - before  # the grader has ended with the call


def test_warnings_on_stderr_cost_nothing(course: Course, grader: Grader) -> None:
    loud = "import sys, warnings\nwarnings.warn('old')\nprint('!', file=sys.stderr)\ndef add(a, b): return a + b"
    course.submit("alice", course.solved(add=loud))
    assert course.grade(grader).complete
    assert course.totals() == {"alice": 12}
    assert "old" in json.dumps(cell_of(course.autograded("alice"), "add")["outputs"])


def test_each_judged_cell_has_one_result(course: Course, grader: Grader) -> None:
    course.submit("alice", course.released())
    assert course.grade(grader).complete
    for criterion in POINTS:
        (output,) = cell_of(course.autograded("alice"), criterion)["outputs"]
        assert output["output_type"] == "execute_result"
        assert output["data"]["text/plain"] == ["0"]


def test_what_cannot_be_read_is_a_score_with_a_reason(course: Course, grader: Grader) -> None:
    deep = b'{"a":' * 100_000
    course.submit("deep", deep)
    course.submit("latin", "é".encode("latin-1"))
    course.submit("no-json", "{")
    course.submit("old", {"nbformat": 3, "worksheets": []})
    (course.submit("missing", "") / f"{NAME}.ipynb").unlink()
    folder = course.submit("linked", "")
    (folder / f"{NAME}.ipynb").unlink()
    (folder / f"{NAME}.ipynb").symlink_to(course.root / "solutions" / NAME / f"{NAME}.ipynb")
    course.submit("reference", course.solved())
    assert course.grade(grader).complete
    others = {"deep": 0, "latin": 0, "no-json": 0, "old": 0, "missing": 0, "linked": 0}
    assert course.totals() == {**others, "reference": 12}
    for student in others:
        assert "About this submission" in course.feedback(student)


def test_hostile_cells_count_as_released(course: Course, grader: Grader) -> None:
    notebook = course.solved(add="def add(a, b): return 0")
    graded = cell_of(notebook, "adds-up")
    graded["metadata"]["nbgrader"] |= {"points": 1000, "grade": False, "solution": True}
    graded["source"], graded["cell_type"] = "1000", "markdown"
    del graded["outputs"], graded["execution_count"]
    copy = json.loads(json.dumps(cell_of(notebook, "counts-up")))
    copy["metadata"]["nbgrader"]["points"] = 500
    notebook["cells"] = [{"cell_type": "code"}, copy, *notebook["cells"][:-3]]
    for cell in notebook["cells"][:1]:
        cell["metadata"] = {"nbgrader": ["grade"]}
    notebook["metadata"] = {"kernelspec": {"name": "bash"}, "language_info": 3}
    course.submit("alice", notebook)
    assert course.grade(grader).complete
    assert course.auto_scores()["alice"] == {"adds-up": 0, "counts-up": 3, "rounds": 0}


def test_manual_points_comments_and_late_penalties_keep_working(course: Course, grader: Grader) -> None:
    config = (course.root / "nbgrader_config.py").read_text()
    plugin = """
from nbgrader.plugins import LateSubmissionPlugin
class Tenth(LateSubmissionPlugin):
    def late_submission_penalty(self, student_id, score, total_seconds_late):
        return 1.5
c.AssignLatePenalties.plugin_class = Tenth
"""
    (course.root / "nbgrader_config.py").write_text(config + plugin)
    folder = course.submit("alice", course.solved())
    (folder / "timestamp.txt").write_text("2026-01-02 00:00:00 UTC")
    course.submit("bob", course.released())
    course.gradebook(lambda book: book.update_or_create_assignment(NAME, duedate="2026-01-01 00:00:00"))
    assert course.grade(grader).complete

    def grade_by_hand(book: Any) -> None:
        grade = book.find_grade("essay", NAME, NAME, "alice")
        assert (grade.auto_score, grade.needs_manual_grade) == (None, True)
        assert book.find_grade("essay", NAME, NAME, "bob").auto_score == 0  # nothing was written
        assert book.find_comment("essay", NAME, NAME, "bob").auto_comment == "No response."
        grade.manual_score = 1.25
        book.find_comment("essay", NAME, NAME, "alice").manual_comment = "Half of the truth."
        book.db.commit()

    course.gradebook(grade_by_hand)
    submission = course.gradebook(lambda book: total(book.find_submission(NAME, "alice")))
    assert submission == (12 + 1.25, 1.5)
    assert course.grade(grader, force=True).complete
    assert course.gradebook(lambda book: total(book.find_submission(NAME, "alice"))) == (12 + 1.25, 1.5)
    assert course.gradebook(lambda book: book.find_grade("essay", NAME, NAME, "alice").needs_manual_grade)
    assert "Half of the truth." in course.feedback("alice")


def total(submission: Any) -> tuple[float, float]:
    return submission.score, submission.late_submission_penalty


def test_only_regular_files_reach_the_box_and_the_autograded_folder(course: Course, grader: Grader) -> None:
    looks = """
import os, pathlib
def add(a, b): return a + b
for where, folders, files in os.walk("."):
    for name in sorted(files): print(where, name)
"""
    folder = course.submit("alice", course.solved(add=looks))
    (folder / "data").mkdir()
    (folder / "data" / "mine.csv").write_text("1")
    (folder / "grades.db").symlink_to(course.root / "gradebook.db")
    (folder / "verdicts.json").write_text("{}")
    (folder / f"{NAME}.ipynb.d").mkdir()
    done = course.nbgrader("autograde", NAME)
    assert done.returncode == 0, done.stderr
    notebook = course.autograded("alice")
    seen = "".join(cell_of(notebook, "add")["outputs"][0]["text"])
    assert "./data mine.csv" in seen
    assert "grades.db" not in seen
    for reference in ("acceptance.py", f"{NAME}.py", "first_only.py", "operator_module.py"):
        assert reference not in seen
    there = {path.name for path in (course.root / "autograded" / "alice" / NAME).rglob("*") if path.is_file()}
    assert there == {f"{NAME}.ipynb", "verdicts.json", "mine.csv"}  # a name like any other
    assert course.record("alice")["seed"]


def test_a_folder_in_the_way_of_the_graders_file(course: Course, grader: Grader) -> None:
    path = course.submit("alice", course.solved()) / f"{NAME}.ipynb"
    path.unlink()
    path.mkdir()
    (path / "file").touch()
    assert course.grade(grader).complete
    assert course.totals() == {"alice": 0}


def test_feedback_shows_verdicts_and_hints_and_no_seed(course: Course, grader: Grader) -> None:
    course.submit("alice", course.solved(add="def add(a, b): return a"))
    assert course.grade(grader).complete
    shown = unescape(course.feedback("alice"))
    assert "adds-up" in shown
    assert "Are both numbers used?" in shown
    assert "counts-up: 3 of 3" in shown
    seed = course.record("alice")["seed"]
    assert len(seed) >= 32
    for path in (course.root / "feedback").rglob("*"):
        if path.is_file():
            assert seed not in path.read_text()
            assert path.suffix == ".html"


def test_nothing_in_feedback_is_a_script(course: Course, grader: Grader) -> None:
    code = """
from IPython.display import HTML, Javascript, SVG, Image, display, Markdown
display(HTML("<script>evil(1)</script><img src=x onerror=evil(2)>"), Javascript("evil(3)"))
display(SVG("<svg xmlns='http://www.w3.org/2000/svg' onload='evil(4)'></svg>"), Markdown("<script>evil(5)</script>"))
display({"image/png": "AAAA"}, raw=True, metadata={"image/png": {"width": "1 onerror=evil(6)"}})
display({"text/html": "x"}, raw=True, metadata={"text/html": {"isolated": True}})
def add(a, b): return a + b
"""
    essay = "<script>evil(7)</script>\n\n**bold** [x](javascript:evil(8)) <b onclick=evil(9)>"
    notebook = course.solved(add=code, essay=essay)
    notebook["cells"].append({"cell_type": "markdown", "source": "<iframe src='javascript:evil(10)'></iframe>"})
    notebook["cells"].append({"cell_type": "raw", "source": "<script>evil(11)</script>"})
    course.submit("alice", notebook)
    assert course.nbgrader("autograde", NAME).returncode == 0
    assert course.nbgrader("generate_feedback", NAME).returncode == 0
    raw = (course.root / "feedback" / "alice" / NAME / f"{NAME}.html").read_text()
    assert "<strong>bold</strong>" in raw
    for page in (raw, formgraders_page(course)):
        assert "evil" in page  # shown, as text
        assert live_scripts(page) == []


def formgraders_page(course: Course) -> str:
    """A submission as formgrader shows it for grading by hand."""
    from nbconvert.exporters import HTMLExporter
    from nbgrader.server_extensions.formgrader import handlers

    config = load_config(course.root)
    config.HTMLExporter.template_name = "formgrade"
    config.HTMLExporter.extra_template_basedirs = [handlers.template_path]
    path = course.root / "autograded" / "alice" / NAME / f"{NAME}.ipynb"
    resources = {"base_url": "", "student": "alice", "index": 0, "total": 1, "notebook_path": "", "submission_id": "x"}
    names = {"assignment_id": NAME, "notebook_id": NAME, "last_name": "", "first_name": ""}
    exporter: Any = HTMLExporter
    page, _ = exporter(config=config).from_filename(str(path), resources={**resources, **names})
    return str(page)


def live_scripts(page: str) -> list[str]:
    """What would execute: script elements, handlers and addresses that have `evil` in them."""
    from html.parser import HTMLParser

    found: list[str] = []

    class Reader(HTMLParser):
        inside = ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.inside = tag if tag in ("script", "style", "iframe") else ""
            found.extend(f"{tag} {name}" for name, value in attrs if value and "evil" in value and name != "alt")

        def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - HTMLParser names it
            self.inside = ""

        def handle_data(self, data: str) -> None:
            if self.inside and "evil" in data:
                found.append(f"{self.inside}: {data}")

    Reader().feed(page)
    return found


def test_what_was_graded_is_passed_over_and_what_was_cut_off_is_redone(course: Course, grader: Grader) -> None:
    course.submit("alice", course.solved())
    course.submit("bob", course.solved())
    assert course.grade(grader).complete
    folders = {student: course.root / "autograded" / student / NAME for student in ("alice", "bob")}
    (folders["bob"] / f"{NAME}.ipynb").unlink()  # as a killed run leaves it
    (folders["bob"] / "half").touch()
    half = folders["bob"].with_name(f".{NAME}-half")
    half.mkdir()
    assert states(course.grade(grader)) == {"alice": "graded before", "bob": "from an earlier result"}
    assert not (folders["bob"] / "half").exists()
    assert not half.exists()
    course.submit("alice", course.released())
    assert states(course.grade(grader)) == {"alice": "graded", "bob": "graded before"}
    assert states(course.grade(grader, force=True)) == {"alice": "graded", "bob": "graded"}
    (course.root / "gradebook.db").unlink()
    assert set(states(course.grade(grader)).values()) == {"from an earlier result"}
    assert course.totals() == {"alice": 0, "bob": 12}


def states(report: GradeReport) -> dict[str, str]:
    return {grade.student: grade.state for grade in report.submissions}


def test_a_fresh_clone_registers_by_itself(course: Course, boxes: None) -> None:
    (course.root / "gradebook.db").unlink()
    course.submit("alice", course.solved())
    done = course.nbgrader("autograde", NAME)
    assert done.returncode == 0, done.stderr
    assert course.totals() == {"alice": 12}


def test_no_execute_is_no_way_around_the_judge(course: Course, boxes: None) -> None:
    notebook = course.released()
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            data = {"text/plain": "5"}
            cell["outputs"] = [{"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": 1}]
    course.submit("alice", notebook)
    assert course.nbgrader("autograde", NAME, "--no-execute").returncode == 0
    assert course.totals() == {"alice": 0}


def test_nbgraders_own_autograding_is_refused(course: Course) -> None:
    from nbgrader.converters import Autograde, NbGraderException
    from nbgrader.coursedir import CourseDirectory

    course.submit("alice", course.solved(add="open('/tmp/executed', 'w')"))
    config = load_config(course.root)
    config.CourseDirectory.assignment_id = NAME
    with pytest.raises(NbGraderException):
        Autograde(coursedir=CourseDirectory(config=config), config=config).start()
    assert course.totals() != {"alice": 12}


def test_an_unknown_assignment_and_no_submission_are_said(course: Course) -> None:
    done = course.nbgrader("autograde", "ch09_ex9_none")
    assert done.returncode == 1
    assert "is no exercise of" in done.stderr
    done = course.nbgrader("autograde", NAME)
    assert done.returncode == 1
    assert "no submission in" in done.stderr
