"""Runs a student's copy of an exercise on their own machine, in an ordinary kernel, and says which checks hold."""

import ast
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autograder.exercises import is_judged
from autograder.gate import MAY_RAISE, code_cells, plain
from autograder.judge import Verdict

if TYPE_CHECKING:
    from autograder.engine import Execution

CELL_TIMEOUT = 300  # seconds

Kind = Literal["passed", "failed", "not written yet", "not checked", "not run"]

_FRESH = "from a fresh copy of the exercise"
_STUB = "raise NotImplementedError"
_MEASURED = "  measured: "
_LOOK = "In JupyterLab, Kernel > Restart Kernel and Run All Cells shows the whole error."
_SYNTAX = "Python cannot read this cell. Look at that line, and at the one before it."
_IMPORT = "Is the name right? The exercise needs only what `make setup` installs."
_ADVICE = {
    "SyntaxError": _SYNTAX,
    "IndentationError": _SYNTAX,
    "TabError": _SYNTAX,
    "ImportError": _IMPORT,
    "ModuleNotFoundError": _IMPORT,
    "NameError": "Cells are run from top to bottom, in a new kernel: no cell has defined this name by then.",
    "SystemExit": "Remove what ends the program.",
}


class CheckError(Exception):
    """A notebook cannot be checked. The message says why, and what to do."""


@dataclass(frozen=True)
class CellError:
    """A cell that did not come to its end; a check that does not hold is none.

    Attributes:
        cell: which code cell it is, from 1; empty ones are not counted.
        first_line: of its source.
        message: what happened.
        advice: what to do about it.
    """

    cell: int
    first_line: str
    message: str
    advice: str


@dataclass(frozen=True)
class CheckVerdict(Verdict):
    """What the notebook's check says of one criterion: a Verdict and two fields more.

    Attributes:
        kind: the state, and of one that failed whether it is "not written yet", the stub being still there, or "not
            checked", since its cell is missing, was changed, stopped, or was never reached.
        asks: what the criterion asks for: the first line of its docstring.
    """

    kind: Kind = "failed"
    asks: str = ""


@dataclass(frozen=True)
class CheckReport:
    """What a student's own checks say. It is no grade: that comes from the judge, with other inputs.

    Attributes:
        notebook: its path.
        passed: no check failed.
        points: what the checks that hold are worth.
        max_points: what all of them are worth.
        person_points: what is worth more, and read by a person.
        seconds: wall time.
        verdicts: one a criterion.
        missing: criteria whose check cell is missing. What they are worth is not known, and in no sum.
        cells: those that did not come to their end.
    """

    notebook: str
    passed: bool
    points: float
    max_points: float
    person_points: float
    seconds: float
    verdicts: list[CheckVerdict]
    missing: list[str]
    cells: list[CellError]

    def to_json(self) -> str:
        """Returns the report as one JSON object."""
        return json.dumps(asdict(self), indent=2)


def check_notebook(path: Path, on_cell: Callable[[str], None]) -> CheckReport:
    """Executes a notebook in a kernel, in its own folder, and reads its check cells.

    Args:
        path: The notebook; the exercise's `acceptance.py` lies beside it. It is not changed.
        on_cell: Called with the number and the first line of each code cell before it executes.

    Raises:
        CheckError: It is no notebook of an exercise, or there is no kernel.
        OSError: No temporary file can be written, for one.
    """
    began = time.monotonic()
    if not path.is_file():
        raise CheckError(f"{path} is a folder: name the notebook in it" if path.is_dir() else f"{path} does not exist")
    asks = _read_criteria(path)
    points, person_points = _read_points(path, asks)

    from autograder.engine import Execution  # takes a moment: papermill

    def starts(cell: Any) -> None:
        cells = code_cells(execution.notebook)
        if number := _number(cell, cells):  # an empty one has none
            on_cell(f"code cell {number} of {len(cells)}: {_first_line(cell)}")

    execution = Execution(path.parent, CELL_TIMEOUT, on_cell=starts, past_errors=True)
    end = _execute(path, execution)
    # Of a cell that is there twice the first counts, as in grading.
    checks = {_grade_id(cell): cell for cell in reversed(execution.notebook.cells) if is_judged(cell)}
    verdicts = [
        _verdict(
            CheckVerdict(criterion, "failed", 0.0, max_points=points.get(criterion, 0.0), asks=asks.get(criterion, "")),
            checks.get(criterion),
            execution.current,
        )
        for criterion in dict.fromkeys([*asks, *points])
    ]
    return CheckReport(
        notebook=str(path),
        passed=not any(verdict.state == "failed" for verdict in verdicts),
        points=sum(verdict.points for verdict in verdicts),
        max_points=sum(verdict.max_points for verdict in verdicts),
        person_points=person_points,
        seconds=round(time.monotonic() - began, 3),
        verdicts=verdicts,
        missing=[criterion for criterion in asks if criterion not in points],
        cells=list(_cell_errors(code_cells(execution.notebook), execution.current, end)),
    )


def _read_criteria(notebook: Path) -> dict[str, str]:
    """Returns what each criterion asks for, by its id.

    `acceptance.py` is read and not executed: the kernel does that, and what it imports may take seconds.
    """
    path = notebook.parent / "acceptance.py"
    if not path.is_file():
        raise CheckError(
            f"acceptance.py is missing beside {notebook.name}: put the notebook into its exercise's folder, where it is"
        )
    try:
        functions = [node for node in ast.parse(path.read_bytes(), path.name).body if isinstance(node, ast.FunctionDef)]
    except (SyntaxError, ValueError) as error:
        raise CheckError(f"{path.name} cannot be read ({error}): take it {_FRESH}") from error
    criteria = {
        function.name.replace("_", "-"): (ast.get_docstring(function) or "").partition("\n")[0]
        for function in functions
        if any(re.search(r"\bcriterion\(", ast.unparse(decorator)) for decorator in function.decorator_list)
    }
    if not criteria:
        raise CheckError(f"{path.name} has no criteria: take it {_FRESH}")
    return criteria


def _read_points(path: Path, criteria: dict[str, str]) -> tuple[dict[str, float], float]:
    """Returns what each check cell is worth, by its criterion, and what the cells are worth that a person reads."""
    import nbformat

    try:
        cells = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4).cells
    except Exception as error:  # nbformat raises what it likes
        raise CheckError(
            f"{path.name} cannot be read as a notebook ({type(error).__name__}): copy your cells into a fresh copy of "
            "the exercise; an earlier state may lie in .ipynb_checkpoints beside it"
        ) from error
    try:
        graded = [cell for cell in cells if cell.metadata.get("nbgrader", {}).get("grade")]
        by_person = sum(float(cell.metadata.nbgrader.points) for cell in graded if not is_judged(cell))
        points = {_grade_id(cell): float(cell.metadata.nbgrader.points) for cell in graded if is_judged(cell)}
    except (AttributeError, TypeError, ValueError) as error:
        raise CheckError(f"the check cells of {path.name} were changed: copy them {_FRESH}") from error
    if not points:
        raise CheckError(f"{path.name} has no check cells ({', '.join(criteria)}): copy them {_FRESH}")
    if not points.keys() & criteria.keys():
        raise CheckError(
            f"{path.name} is a notebook of another exercise: it checks {', '.join(points)}; "
            f"acceptance.py beside it has {', '.join(criteria)}"
        )
    return points, by_person


def _execute(path: Path, execution: "Execution") -> tuple[str, str]:
    """Executes the notebook; returns what ended it early, in `execution.current`, and what to do about that."""
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from autograder.engine import KernelExitError, execute_notebook

    try:
        execute_notebook(path, execution)
    except PapermillExecutionError:
        pass  # a cell has raised; it is in its outputs
    except CellTimeoutError:
        return f"it did not end in {CELL_TIMEOUT} s", "Does a loop in it never end?"
    except KernelExitError:
        return "it asked the kernel to exit", "Remove `quit()`, `exit()` or the like."
    except DeadKernelError:
        return "the kernel died", "Does the cell end the process, or use more memory than there is?"
    except OSError:
        raise
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise CheckError(f"{path.name} cannot be executed ({what}): does it run in JupyterLab?") from error
    return "", ""


def _cell_errors(cells: list[Any], last: Any, end: tuple[str, str]) -> Iterator[CellError]:
    for number, cell in enumerate(cells, 1):
        raised = None if is_judged(cell) or MAY_RAISE in cell.metadata.get("tags", []) else _error(cell)
        if cell is last:
            yield CellError(number, _first_line(cell), *end)
        elif raised and not (raised.ename == "NotImplementedError" and _STUB in plain("\n".join(raised.traceback))):
            said = ": ".join(filter(None, [raised.ename, plain(raised.evalue)]))
            message = re.sub(r" \(\d+\.py, line \d+\)$", "", said) + _place(raised, cell)
            yield CellError(number, _first_line(cell), message, _ADVICE.get(raised.ename, _LOOK))


def _place(raised: Any, cell: Any) -> str:
    found = re.search(r"Cell In\[\d+\], line (\d+)", plain("\n".join(raised.traceback)))
    lines = str(cell.source).splitlines()
    if not found or int(found[1]) > len(lines):
        return ""
    return f" (line {found[1]}: {lines[int(found[1]) - 1].strip()})"


def _verdict(unknown: CheckVerdict, cell: Any, last: Any) -> CheckVerdict:
    """Reads a criterion's check cell as `autograder.check.report` wrote it; `last` is the cell that ended the run."""

    def not_checked(message: str) -> CheckVerdict:
        return replace(unknown, kind="not checked", message=message)

    criterion = unknown.criterion
    if cell is None:
        return not_checked(f"its check cell is missing: copy it {_FRESH}")
    if not cell.source.strip():
        return not_checked(f"its check cell is empty: copy it {_FRESH}")
    if cell.execution_count is None or cell is last:
        return not_checked("its check was not run to its end")
    timed = replace(unknown, seconds=round(cell.metadata.papermill.get("duration") or 0.0, 3))
    raised = _error(cell)
    if raised and raised.ename == "CheckFailed":
        return _failed(timed, plain(raised.evalue))
    if raised:
        return not_checked(f"its check stopped: {plain(f'{raised.ename}: {raised.evalue}')}")
    printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
    if f"– {criterion} was not run: " in printed:
        reason = printed.partition(f"– {criterion} was not run: ")[2].strip()
        return replace(timed, state="not run", kind="not run", message=reason)
    if f"✓ {criterion}\n" in printed:
        said = printed.partition(f"✓ {criterion}\n")[2].splitlines()
        measured = tuple(line.removeprefix(_MEASURED) for line in said if line.startswith(_MEASURED))
        return replace(timed, state="passed", kind="passed", fraction=1.0, points=timed.max_points, measured=measured)
    return not_checked(f"its check cell was changed: copy it {_FRESH}")


def _failed(unknown: CheckVerdict, text: str) -> CheckVerdict:
    """Takes apart what a check that does not hold has said."""
    parts: dict[str, list[str]] = {"asked": [], "measured": [], "perhaps": [], "hint": []}
    message: list[str] = []
    latest = message
    for line in text.splitlines():
        label, separator, rest = line.removeprefix("  ").partition(": ")
        if line.startswith("  ") and separator and label in parts:
            latest = parts[label]
            latest.append(rest)
        elif latest:
            latest[-1] += f"\n{line}"  # a tensor has several
        else:
            message.append(line)
    met, _, said = "\n".join(message).partition(": ")
    percent = re.match(r"(\d+)% of ", met)
    fraction = int(percent[1]) / 100 if percent else 0.0
    return replace(
        unknown,
        kind="not written yet" if _STUB in said else "failed",
        fraction=fraction,
        points=fraction * unknown.max_points,
        message=said,
        mistake="\n".join(parts["perhaps"]),
        hint="\n".join(parts["hint"]),
        evidence=tuple(parts["asked"]),
        measured=tuple(parts["measured"]),
    )


def _error(cell: Any) -> Any:
    return next((output for output in cell.outputs if output.output_type == "error"), None)


def _number(cell: Any, cells: list[Any]) -> int:
    return next((number for number, one in enumerate(cells, 1) if one is cell), 0)


def _first_line(cell: Any) -> str:
    return str(cell.source).strip().splitlines()[0]


def _grade_id(cell: Any) -> str:
    return str(cell.metadata.nbgrader.grade_id)
