"""nbgrader's formgrader, where an instructor grades."""

import re

import httpx
from playwright.sync_api import Locator, Page, expect

from tests.browser.lab import SHOTS, open_lab


class Formgrader:
    """Formgrader in JupyterLab, on the submissions of an exercise."""

    def __init__(self, page: Page, address: httpx.URL, exercise: str) -> None:
        """Opens it by its menu, and in it the exercise's submissions."""
        self._page, self._exercise = page, exercise
        self._frame = page.frame_locator("#formgrader-iframe iframe")
        open_lab(page, address)
        page.locator("#jp-MainMenu .lm-MenuBar-itemLabel", has_text="Nbgrader").click()
        page.locator('#jp-mainmenu-nbgrader li[data-command="nbgrader:open-formgrader"]').click()
        self._shown(f"#main-table tr:has-text('{exercise}')")
        self.open_submissions()

    def open_submissions(self) -> None:
        """Goes to the exercise's submissions."""
        self._frame.get_by_role("link", name="Manage Assignments").first.click()
        self._shown(f"#main-table tr:has-text('{self._exercise}')").locator("td.num-submissions a").click()
        self._shown("#main-table td.student-id >> nth=0")

    def autograde(self, student: str, timeout: float) -> str:
        """Presses the flash beside a student's submission; returns the log that is shown.

        Args:
            student: Whose.
            timeout: Seconds that grading may take.
        """
        return self._press("autograde", student, timeout)

    def generate_feedback(self, student: str, timeout: float) -> str:
        """Presses the bubble beside a student's submission; returns the log that is shown."""
        return self._press("generate-feedback", student, timeout)

    def score(self, student: str) -> str:
        """The score that is shown for a student, such as `7 / 14`."""
        score = self._row(student).locator("td.score")
        expect(score).to_have_text(re.compile(r"\d / \d"))
        return score.inner_text()

    def open_submission(self, student: str) -> Locator:
        """Goes to a student's graded notebook, as it is shown for grading by hand."""
        self._row(student).locator("td.student-name a").click()
        self._shown(f"#main-table a:has-text('{self._exercise}')").click()
        self._shown("input.score >> nth=0")
        return self._frame.locator("body")

    def screenshot(self, name: str) -> None:
        """Takes a picture of all that is seen."""
        self._page.screenshot(path=SHOTS / name)

    def _press(self, button: str, student: str, timeout: float) -> str:
        self._row(student).locator(f"td.{button} a").click()
        done = self._frame.locator("#success-modal.in, #error-modal.in")
        done.wait_for(timeout=timeout * 1000)
        log = done.locator(".modal-body").inner_text()
        assert self._frame.locator("#success-modal").count() == 1, log
        done.locator(".modal-footer button").click()
        expect(self._frame.locator(".modal")).to_have_count(0)
        return log

    def _row(self, student: str) -> Locator:
        identity = self._frame.locator("td.student-id", has_text=re.compile(f"^{re.escape(student)}$"))
        return self._frame.locator("#main-table tr").filter(has=identity)

    def _shown(self, selector: str) -> Locator:
        found = self._frame.locator(selector)
        found.wait_for(timeout=60_000)
        return found
