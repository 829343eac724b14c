"""What tests of criteria share: a criterion is run against objects of the test's own process."""

from collections.abc import Callable
from typing import Any

from autograder.acceptance import NotRun, criterion
from autograder.asker import LocalAsker
from autograder.judge import Verdict, run_criterion


def no_model() -> Any:
    raise NotRun("no vLLM here")


def run(
    function: Callable[..., Any],
    *objects: Any,
    seed: str = "s",
    hint: str | tuple[str, ...] = "think",
    earlier: int = 0,
    **options: Any,
) -> Verdict:
    """Runs a function as a criterion about some objects, which it finds by their names."""
    function.__doc__ = function.__doc__ or "What it says."
    made = criterion(hint=hint, **options)(function)
    asker = LocalAsker({item.__name__: item for item in objects})
    return run_criterion(made, asker, seed, no_model, earlier=earlier)
