"""A grader that looks at sources instead of running them: for tests of all that is around the grader."""

from collections.abc import Mapping
from typing import Any

from autograder.exercises import Exercise, is_judged
from autograder.grading import Grade, verdict_html
from autograder.judge import Verdict, with_hint

SEED = "5eed" * 8


class StandIn:
    """Gives full points for a criterion unless the solution cell before it still is the stub.

    Attributes:
        seen: The notebooks that it graded, as they were before.
        files: What was given beside each.
        fails_on: A text; a notebook that has it in a cell cannot be graded.
    """

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.files: list[dict[str, bytes]] = []
        self.fails_on = ""
        self.seed = SEED
        self.weak_isolation: list[str] = []

    def abort(self) -> None:
        pass

    def keep_only(self, names: Any) -> None:
        pass

    def grade(
        self,
        notebook: Any,
        exercise: Exercise,
        *,
        files: Mapping[str, bytes] | None = None,
        only: Any = None,  # noqa: ARG002 - the grader's signature
        earlier: Mapping[str, int] = {},
        known: Mapping[str, Verdict] = {},
        seed: str | None = None,
        criterion_timeout: float = 0,  # noqa: ARG002 - likewise
    ) -> Grade:
        from copy import deepcopy

        from nbformat.v4 import new_output

        self.seen.append(deepcopy(notebook))
        self.files.append(dict(files or {}))
        if self.fails_on and any(self.fails_on in cell.source for cell in notebook.cells):
            raise OSError("the machine has no room for a box")
        verdicts, solution = [], ""
        for cell in notebook.cells:
            settings = cell.metadata.get("nbgrader", {})
            if settings.get("solution"):
                solution = cell.source
            elif is_judged(cell):
                done, points = "NotImplementedError" not in solution, float(settings["points"])
                verdict = with_hint(
                    Verdict(
                        settings["grade_id"],
                        "passed" if done else "failed",
                        float(done),
                        points=points * done,
                        max_points=points,
                        message="" if done else "raised NotImplementedError",
                    ),
                    exercise.acceptance.criteria[settings["grade_id"]],
                    earlier.get(settings["grade_id"], 0),
                )
                verdict = known.get(verdict.criterion, verdict)
                verdicts.append(verdict)
                data = {"text/plain": f"{verdict.points:g}", "text/html": verdict_html(verdict)}
                cell.outputs = [new_output("execute_result", data=data)]
        earned = sum(verdict.points for verdict in verdicts)
        possible = sum(verdict.max_points for verdict in verdicts)
        executed = [verdict.criterion for verdict in verdicts if verdict.criterion not in known]
        return Grade(exercise.name, earned, possible, verdicts, seed or SEED, 0.1, executed=executed)

    def __enter__(self) -> "StandIn":
        return self

    def __exit__(self, *exception: object) -> None:
        pass
