"""The report as pages. Whatever students have named, printed or raised is text there: templates escape all of it."""

import functools
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from autograder.printable import printable
from autograder.reporting.model import ClassReport, Submission
from autograder.reporting.names import page_name
from autograder.reporting.plots import plots_of
from autograder.reporting.script import digest_of, table_script

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_SMALL_CLASS = 40  # students whose every verdict is shown at once


def class_page(report: ClassReport) -> str:
    """Returns the page on the class."""
    script = table_script()
    return _render(
        "class.html",
        script_source=f"'{digest_of(script)}'",
        script=_trusted(script),
        report=report,
        plots={exercise.exercise: plots_of(exercise) for exercise in report.exercises},
        by_student=_by_student(report),
        incidents=_noted(report, lambda one: one.incidents),
        problems=_noted(report, lambda one: one.problems),
        small=len(report.students) <= _SMALL_CLASS,
    )


def student_page(report: ClassReport, student: str, submissions: list[Submission]) -> str:
    """Returns a student's feedback: nothing of other students, of seeds, of incidents, or of the machine."""
    exercises = {exercise.exercise: exercise for exercise in report.exercises}
    return _render(
        "student.html",
        script_source="'none'",
        student=student,
        made=report.made,
        work=[(exercises[one.exercise], one) for one in submissions],
    )


def _by_student(report: ClassReport) -> dict[str, dict[str, Submission]]:
    found: dict[str, dict[str, Submission]] = {student: {} for student in report.students}
    for submission in report.submissions:
        found[submission.student][submission.exercise] = submission
    return found


def _noted(report: ClassReport, sentences_of: Callable[[Submission], list[str]]) -> dict[str, dict[str, list[str]]]:
    """Returns by student what there is to say, with the exercises; of whom there is most to say comes first."""
    found: dict[str, dict[str, list[str]]] = {}
    for submission in report.submissions:
        for sentence in dict.fromkeys(sentences_of(submission)):
            found.setdefault(submission.student, {}).setdefault(sentence, []).append(submission.exercise)
    return dict(sorted(found.items(), key=lambda noted: (-sum(map(len, noted[1].values())), noted[0])))


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


def _trusted(text: str) -> "Markup":
    from markupsafe import Markup

    return Markup(text)


@functools.cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("autograder.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals["page_name"] = page_name
    environment.filters |= {
        "clip": _clip,
        "code": _code,
        "mebibytes": lambda value: f"{value / 2**20:,.0f} MiB" if value else "–",
        "percent": lambda value: f"{value:.0%}",
        "points": lambda value: f"{round(value, 2):g}",
        "seconds": lambda value: f"{value:.1f} s" if value < 120 else f"{value / 60:.0f} min",
        "time": _time,
        "width": lambda part: f"{min(max(part, 0.0), 1.0) * 100:.1f}%",
    }
    return environment


def _shown(value: object) -> object:
    """Makes what a template puts out printable; what is markup already was made so before."""
    from markupsafe import Markup

    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _clip(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest] + " …"


def _code(text: str) -> "Markup":
    """Shows what stands between backticks as code, as criteria are written."""
    from markupsafe import Markup

    parts = (
        Markup("<code>{}</code>" if number % 2 else "{}").format(printable(part))
        for number, part in enumerate(text.split("`"))
    )
    return Markup("").join(parts)


def _time(text: str) -> str:
    """Shows a time of ISO 8601 to the minute."""
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return text
