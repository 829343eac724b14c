"""`autograder run`."""

from typing import Annotated

import typer

from autograder.commands.common import end, json_fields, root
from autograder.report import CellRun, ChapterRun, Failure, RunReport

HELP = f"""Execute chapters with papermill, as a gate.

Every code cell must be executed, complete, and raise no error; one tagged raises-exception must raise one. Executed
copies with their outputs go to build/chapters/.

Exit status: 0 if all chapters passed; 1 if one failed; 2 for a chapter or parameter that does not exist; 130 after
Ctrl-C.

With --json, stdout has one object, a RunReport:

{json_fields(RunReport, ChapterRun, CellRun, Failure)}
"""


def run(
    chapter: Annotated[
        list[str] | None,
        typer.Argument(help="A name, a prefix such as ch01, or a path. Default: all.", show_default=False),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME=VALUE", help="A value for a name in the parameters cells; repeatable."),
    ] = None,
    timeout: Annotated[int, typer.Option(min=1, metavar="SECONDS", help="Limit of a cell.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Executes chapters."""
    from autograder.chapters import select_chapters
    from autograder.console import run_and_show
    from autograder.names import UnknownNameError
    from autograder.parameters import ParameterError

    folder = root()
    try:
        status = run_and_show(
            select_chapters(chapter or [], folder),
            assignments=parameter or [],
            timeout=timeout,
            copies=folder / "build" / "chapters",
            as_json=as_json,
        )
    except (UnknownNameError, ParameterError) as error:
        end(str(error), 2)
    except OSError as error:
        end(str(error), 1)
    raise typer.Exit(status)
