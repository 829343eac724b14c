"""Reports in a browser, on a class whose students have written scripts wherever they could. Shots go into build/."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from autograder.course.signing import VARIABLE
from autograder.exercises import find_exercises
from autograder.reporting.data import read_report
from autograder.reporting.names import page_name
from autograder.reporting.write import write_report
from tests.browser.lab import CHROMIUM_ARGS, ROOT
from tests.reporting.sample import HOSTILE, make_class, make_course, names_of

pytestmark = pytest.mark.browser
SHOTS = ROOT / "build"
Opens = Callable[..., Page]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on 60 students, most of whom are harmless."""
    course = tmp_path_factory.mktemp("report") / "course"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(course.parent / "key.pem"))
        make_course(course)
        make_class(course, [*names_of(50), *HOSTILE])
    return write_report(read_report(find_exercises(course), course), course / "reports").parent


@pytest.fixture
def opens(chromium: str) -> Iterator[Opens]:
    """Opens a file in a window of some width; nothing in it may run, be loaded, or be complained of."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGS)

        def opened(path: Path, *, width: int, dark: bool = False) -> Page:
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
            page.on("console", lambda message: complaints.append(f"console: {message.text}"))
            page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
            page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
            page.on("request", lambda request: complaints.append(request.url) if _leaves(request.url, path) else None)
            page.goto(path.as_uri())
            return page

        yield opened
        browser.close()
    assert complaints == []


def _leaves(url: str, path: Path) -> bool:
    return url.partition("#")[0] != path.as_uri() and not url.startswith("data:image/")


def _fits(page: Page) -> bool:
    """Whether the page, unlike a table in its own box, is no wider than its window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def _unfold(page: Page) -> None:
    for _ in range(2):  # some are in others
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        page.wait_for_timeout(200)


@pytest.mark.parametrize("dark", [False, True])
def test_page_of_the_class(reports: Path, opens: Opens, dark: bool) -> None:
    page = opens(reports / "index.html", width=1280, dark=dark)
    expect(page).to_have_title("Class report")
    expect(page.locator("#students tbody tr")).to_have_count(15)
    for picture in page.locator(".plots img").all():
        assert picture.evaluate("picture => picture.naturalWidth") > 100
    page.screenshot(path=SHOTS / f"report-class{'-dark' if dark else ''}.png", full_page=True)
    _unfold(page)
    assert _fits(page)
    expect(page).to_have_title("Class report")


def test_tables_are_sorted_and_searched(reports: Path, opens: Opens) -> None:
    page = opens(reports / "index.html", width=1280)
    students = page.locator("#students")
    students.get_by_role("searchbox").fill("<script>")
    expect(students.locator("tbody tr")).to_have_count(1)
    expect(students.locator("tbody td").first).to_have_text("<script>alert(1)</script>")
    students.get_by_role("searchbox").fill("")
    heading = students.locator("thead th", has_text="points")
    for _ in range(2):
        heading.click()
    points = [float(text) for text in students.locator("tbody td:nth-child(2)").all_inner_texts()]
    assert points in (sorted(points), sorted(points, reverse=True))
    assert len(set(points)) > 1
    matrix = page.locator("#ch01_ex1_cache details.matrix")
    matrix.locator("summary").click()
    expect(matrix.locator("tbody tr")).to_have_count(15)
    matrix.locator("thead th", has_text="frees-blocks").click()
    expect(matrix.locator("tbody tr").first.locator("td").nth(5)).to_have_text("✗")


@pytest.mark.parametrize("student", HOSTILE)
def test_feedback_on_a_phone(reports: Path, opens: Opens, student: str) -> None:
    page = opens(reports / "students" / page_name(student), width=360)
    expect(page.locator("h1")).to_be_visible()
    _unfold(page)
    assert _fits(page)
    assert page.title() != "ran"


def test_shots_of_feedback(reports: Path, opens: Opens) -> None:
    file = reports / "students" / page_name(names_of(50)[7])
    for name, width, dark in (("-phone", 390, False), ("-phone-dark", 390, True), ("", 1280, False)):
        page = opens(file, width=width, dark=dark)
        expect(page.locator(".criterion").first).to_be_visible()
        page.screenshot(path=SHOTS / f"report-student{name}.png", full_page=True)
    page = opens(reports / "index.html", width=360)
    assert _fits(page)
    page.screenshot(path=SHOTS / "report-class-phone.png")


def test_links_between_pages(reports: Path, opens: Opens) -> None:
    page = opens(reports / "index.html", width=1280)
    for link in page.locator("#students tbody a").all():
        address = link.evaluate("link => link.href")
        assert (reports / "students" / address.rpartition("/")[2]).is_file()
