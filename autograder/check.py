"""`check`: a student runs an exercise's criteria in the notebook, against their own objects, with a public seed."""

import atexit
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autograder.cuda_kernels import CudaKernels
    from autograder.judge import Verdict
    from autograder.kernel_bench import LocalBench
    from autograder.kernels import Kernels
    from autograder.language_model import LanguageModel

PUBLIC_SEED = "public"

IN_WORKER = "WORKBOOK_WORKER"
"""In the environment of a process that the judge questions: there a check has nothing to do."""

_model: "LanguageModel | None" = None

_bench: "LocalBench | None" = None

_failed: dict[str, int] = {}  # how many times in a row each criterion has failed in this process


class CheckFailed(AssertionError):  # noqa: N818 - students read the name
    """Your work does not meet the criterion yet."""

    def _render_traceback_(self) -> list[str]:
        """IPython shows this in place of a traceback: where it was raised says nothing about the student's work."""
        return [f"{type(self).__name__}: {self}"]


def check(criterion: str, *objects: Any) -> None:
    """Runs a criterion of the exercise in this folder, and prints that it is met or raises.

    Args:
        criterion: Its id.
        objects: What you have built. One object is taken for whatever the criterion asks for; several are found by
            their names.

    Raises:
        CheckFailed: It is not met; the message has what was expected, what came, and a hint.
        LookupError: The exercise has no such criterion.
    """
    if os.environ.get(IN_WORKER):
        return
    # jsonschema, under Jupyter's packages, would take two seconds to build a grammar that nothing here needs.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    from autograder.asker import LocalAsker
    from autograder.exercises import load_acceptance
    from autograder.judge import run_criterion

    criteria = load_acceptance(Path.cwd() / "acceptance.py").criteria
    if criterion not in criteria:
        raise LookupError(f"this exercise has no criterion '{criterion}': it has {', '.join(criteria)}")
    asker = LocalAsker(_Namespace(objects))
    earlier = _failed.get(criterion, 0)
    kernels, cuda_kernels = _kernels()
    verdict = run_criterion(
        criteria[criterion], asker, PUBLIC_SEED, _llm, kernels=kernels, cuda_kernels=cuda_kernels, earlier=earlier
    )
    _failed[criterion] = verdict.attempts
    report(verdict)


def report(verdict: "Verdict") -> None:
    """Prints a verdict, or raises it.

    Raises:
        CheckFailed: The criterion is not met.
    """
    measured = [f"  measured: {line}" for line in verdict.measured]
    if verdict.state == "passed":
        print("\n".join([f"✓ {verdict.criterion}", *measured]))
    elif verdict.state == "not run":
        print(f"– {verdict.criterion} was not run: {verdict.message}")
    else:
        asked = [f"  asked: {line}" for line in verdict.evidence]
        earned = f"{verdict.fraction:.0%} of {verdict.criterion} is met" if verdict.fraction else verdict.criterion
        mistake = [f"  perhaps: {verdict.mistake}"] if verdict.mistake else []
        hint = [f"  hint: {verdict.hint}"] if verdict.hint else []
        raise CheckFailed("\n".join([f"{earned}: {verdict.message}", *measured, *asked, *mistake, *hint]))


class _Namespace(dict[str, Any]):
    """The objects by name; a single one by every name."""

    def __init__(self, objects: tuple[Any, ...]) -> None:
        super().__init__({getattr(item, "__name__", ""): item for item in objects})
        self._only = objects[0] if len(objects) == 1 else None

    def __missing__(self, name: str) -> Any:
        if self._only is None:
            raise KeyError(name)
        return self._only


def _llm() -> Any:
    global _model  # noqa: PLW0603 - one a notebook
    if _model is None:
        from autograder.language_model import LanguageModel

        _model = LanguageModel()
        atexit.register(_model.close)
    return _model.get()


def _kernels() -> "tuple[Kernels, CudaKernels]":
    """Returns the kernels of this notebook: of its cells as they were executed, the last of which count."""
    global _bench  # noqa: PLW0603 - one a notebook
    from IPython import get_ipython

    from autograder.cuda_bench import CudaLocalBench
    from autograder.cuda_kernels import CudaKernels
    from autograder.kernel_bench import LocalBench
    from autograder.kernels import Kernels

    if _bench is None:
        _bench = LocalBench()
        atexit.register(_bench.close)
    shell = get_ipython()
    cells = shell.history_manager.input_hist_raw if shell else []
    return Kernels(_bench, cells), CudaKernels(CudaLocalBench(), cells)
