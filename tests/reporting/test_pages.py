"""Pages of students who have written whatever they liked."""

import random
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from autograder.exercises import find_exercises
from autograder.reporting.data import read_report
from autograder.reporting.names import page_name
from autograder.reporting.pages import class_page, student_page
from autograder.reporting.script import digest_of, table_script
from tests.reporting.conftest import FIRST
from tests.reporting.sample import HOSTILE, INCIDENTS, add, make_class, record_of, submit

ELEMENTS = set(
    re.findall(
        r"\w+",
        "html head meta title style body header main footer section div span p a bdi h1 h2 h3 ul li dl dt dd i img "
        "table thead tbody tr th td details summary strong small code pre script",
    )
)


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.policy = ""
        self.texts = {"script": "", "": ""}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside = "script" if tag == "script" else ""
        found = dict(attributes)
        assert not any(name.startswith("on") for name in found)
        self.links += [found["href"] or ""] if "href" in found else []
        self.sources += [found["src"] or ""] if "src" in found else []
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - a parser's arguments
        self._inside = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._inside] += data


@pytest.fixture
def hostile(course: Path) -> Path:
    """A course of students of odd names who have handed in odd things."""
    make_class(course, HOSTILE)
    return course


def test_nothing_of_theirs_is_markup(hostile: Path) -> None:
    report = read_report(find_exercises(hostile), hostile)
    pages = [
        student_page(report, student, [one for one in report.submissions if one.student == student])
        for student in report.students
    ]
    for page in map(Page, [class_page(report), *pages]):
        assert set(page.tags) <= ELEMENTS
        assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
        assert all(
            re.match(r"students/[a-z0-9-]+\.html|#|(grades|criteria)\.csv|report\.json", link) for link in page.links
        )
        assert "{{ 1/0 }}" in page.texts[""]
        assert "default-src 'none'" in page.policy


def test_the_only_script_is_ours(hostile: Path) -> None:
    report = read_report(find_exercises(hostile), hostile)
    page = Page(class_page(report))
    assert page.tags.count("script") == 1
    assert f"script-src '{digest_of(page.texts['script'])}'" in page.policy
    assert page.texts["script"] == table_script()
    feedback = Page(student_page(report, HOSTILE[0], report.submissions[:1]))
    assert "script" not in feedback.tags
    assert "script-src 'none'" in feedback.policy


def test_the_script_ends_where_its_element_does() -> None:
    assert not re.search(r"<!--|</?script", table_script(), re.IGNORECASE)
    assert "export{" not in table_script()


def test_links_lead_to_the_students(hostile: Path) -> None:
    report = read_report(find_exercises(hostile), hostile)
    linked = {
        link.removeprefix("students/").partition("#")[0]
        for link in Page(class_page(report)).links
        if "students/" in link
    }
    assert linked == {page_name(student) for student in report.students}


def test_feedback_holds_nothing_of_others_and_no_secret(course: Path) -> None:
    draw = random.Random(0)
    add(course, record_of("Ada", FIRST, "hostile", draw), record_of("Ben Brandt", FIRST, "wrong", draw))
    report = read_report(find_exercises(course), course)
    page = student_page(report, "Ada", [one for one in report.submissions if one.student == "Ada"])
    assert "Ada" in page
    assert "Ben" not in page
    assert "the seed of" not in page
    assert not re.search(r"[0-9a-f]{16}", page)
    assert all(incident[:20] not in page for incident in INCIDENTS)
    assert "environment" not in page
    assert "'link' is a link" in Page(page).texts[""]


def test_feedback_says_what_was_asked_and_what_to_think_about(one_student: Path) -> None:
    report = read_report(find_exercises(one_student), one_student)
    text = Page(student_page(report, "Ada Abel", report.submissions)).texts[""]
    for part in ("0 of 6 criteria met", "✗", "get(i)", "raised NotImplementedError", "three requests", "put(17"):
        assert part in text


def test_feedback_before_grading(course: Path) -> None:
    add(course, record_of("Ada", FIRST, "right", random.Random(0)))
    submit(course, "Ben", FIRST)
    report = read_report(find_exercises(course), course)
    pages = {one.student: student_page(report, one.student, [one]) for one in report.submissions}
    assert "Every criterion is met" in pages["Ada"]
    assert "hits: 9 &lt; 10 &amp; more" in pages["Ada"]
    assert "It is not graded yet" in pages["Ben"]


def test_long_texts_are_cut(course: Path) -> None:
    record = record_of(
        "Ada", FIRST, "empty", random.Random(0), problems=["x" * 4000] * 1000, incidents=["y" * 4000] * 1000
    )
    add(course, record)
    report = read_report(find_exercises(course), course)
    assert len(student_page(report, "Ada", report.submissions)) < 100_000
    assert len(class_page(report)) - len(table_script()) < 200_000
