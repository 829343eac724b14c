"""`autograder grade`."""

from typing import Annotated, Literal

import typer

from autograder.commands.common import end, json_fields, root
from autograder.course.grade_report import GradeReport, SubmissionGrade
from autograder.judge import Verdict

HELP = f"""Grade what students have submitted: submitted/<student>/<exercise>/, as nbgrader lays it out.

Each submission is executed in a sandbox and judged from outside; points go into gradebook.db, the graded notebook into
autograded/. What is graded already, to the end and with the same contents, is left as it is. `nbgrader autograde` and
formgrader grade in the same way.

Where the sandbox lacks a layer that it needs on this machine (see `autograder doctor`), nothing is graded.
--accept-weak-isolation grades all the same; reports, records and graded notebooks then name the layers. For nbgrader,
SandboxedAutograde.accept_weak_isolation does, in nbgrader_config.py or as an option.

--engine ray grades on the Ray cluster that RAY_ADDRESS names, or else on a Ray of its own on this machine; --jobs then
bounds how many submissions are under way on the cluster. See docs/ray.md.

Exit status: 0 if every submission is graded, whatever its points; 1 if one could not be; 2 for an exercise or a
submission that does not exist; 130 after Ctrl-C.

With --json, stdout has one object, a GradeReport:

{json_fields(GradeReport, SubmissionGrade, Verdict)}
"""


def grade(
    exercise: Annotated[
        str | None,
        typer.Argument(help="A name, or a prefix such as ch01_ex1. Default: all.", show_default=False),
    ] = None,
    student: Annotated[
        list[str] | None, typer.Option("--student", metavar="NAME", help="Only this student's; repeatable.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="How many are graded at a time. Default: as many as there are cores.", min=1, show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Execute again what is graded already.")] = False,
    seed: Annotated[
        str | None,
        typer.Option(help="Draw the inputs of an earlier run again, with --force: `autograder report` has its seed."),
    ] = None,
    accept_weak_isolation: Annotated[
        bool,
        typer.Option("--accept-weak-isolation", help="Grade also where a layer of the sandbox does not hold."),
    ] = False,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where: on this machine, or on a Ray cluster.")
    ] = "local",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Grades submissions."""
    from autograder.course.grade_submissions import NoSubmissionError
    from autograder.course.ray_engine import ClusterError
    from autograder.course.refusals import REFUSALS
    from autograder.course.show_grades import grade_and_show
    from autograder.exercises import select_exercises
    from autograder.names import UnknownNameError

    try:
        status = grade_and_show(
            select_exercises([exercise] if exercise else [], root()),
            student or [],
            jobs=jobs,
            force=force,
            seed=seed,
            accept_weak_isolation=accept_weak_isolation,
            as_json=as_json,
            engine=engine,
        )
    except (UnknownNameError, NoSubmissionError) as error:
        end(str(error), 2)
    except (*REFUSALS, ClusterError, OSError) as error:
        end(str(error), 1)
    raise typer.Exit(status)
