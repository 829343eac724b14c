"""nbgrader's configuration: the course's folders, and submissions autograded by the judge in its sandbox."""

from pathlib import Path

from autograder.course.config import course_config, grade_in_sandbox

grade_in_sandbox()
c.merge(course_config(Path(__file__).parent))  # type: ignore[name-defined]  # noqa: F821 - traitlets gives it
