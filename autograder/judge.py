"""The judge: runs an exercise's criteria against a student's work and gives a verdict on each."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from autograder.acceptance import Criterion, Failed, NotRun, Work
from autograder.alarm import DeadlinePassed
from autograder.asker import AnswerRaised, AnswerRefused, Asker, WorkerLost

if TYPE_CHECKING:
    from autograder.cuda_kernels import CudaKernels
    from autograder.kernels import Kernels
    from autograder.language_model import LanguageModel

State = Literal["passed", "failed", "not run"]

MAX_TEXT = 4000
"""Characters of a verdict's message, of its hint, and of each line of its evidence."""


@dataclass(frozen=True)
class Verdict:
    """What the judge says of one criterion.

    Attributes:
        criterion: its id.
        state: "passed", "failed", or "not run" where the machine lacks what it needs: no pass.
        fraction: part of the points that is earned, from 0 to 1.
        points: what that gives.
        max_points: what it could give.
        message: what was expected and what came; empty where it passed.
        measured: what was measured, a line each, whether it passed or not; empty for most criteria.
        mistake: what mistake looks like that, where the criterion knows; empty where it passed.
        hint: what to think about, the next of the criterion's ladder; empty where it passed.
        evidence: the last questions that were asked, with their answers; empty where it passed.
        broke: whether the criterion itself raised an exception. It did not pass, and its author should look at it.
        cut_short: whether a time limit or the end of a process decided it: another time it may come out otherwise.
        asked_model: whether the language model had a say in it, whose replies depend on what else it is asked.
        attempts: how many submissions in a row have failed it, with this one; 0 where it passed or was not run.
        seconds: how long it took.
    """

    criterion: str
    state: State
    fraction: float
    points: float = 0.0
    max_points: float = 0.0
    message: str = ""
    mistake: str = ""
    hint: str = ""
    evidence: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()
    broke: bool = False
    cut_short: bool = False
    asked_model: bool = False
    attempts: int = 0
    seconds: float = 0.0


def is_repeatable(verdict: Verdict) -> bool:
    """Returns whether a verdict comes from what was asked alone, and not from the time, the machine or the model."""
    return verdict.state != "not run" and not (verdict.broke or verdict.cut_short or verdict.asked_model)


def rng_for(seed: str, criterion: Criterion) -> random.Random:
    """Returns the source of a criterion's inputs: the same for the same seed, whatever else is run."""
    return random.Random(f"{seed}/{criterion.id}")


def run_criterion(
    criterion: Criterion,
    asker: Asker,
    seed: str,
    llm: "Callable[[], LanguageModel]",
    *,
    kernels: "Kernels | None" = None,
    cuda_kernels: "CudaKernels | None" = None,
    earlier: int = 0,
) -> Verdict:
    """Runs one criterion. What the student's work does never raises here.

    Args:
        criterion: What to run.
        asker: Puts its questions.
        seed: Of its inputs.
        llm: Gives the language model; raises NotRun where there is none.
        kernels: Of the notebook.
        cuda_kernels: Likewise.
        earlier: How many times in a row it has failed before; the next hint is shown for each.
    """
    began = time.monotonic()
    work = Work(asker, llm, kernels, cuda_kernels)

    def verdict(state: State, fraction: float = 0.0, message: str = "", mistake: str = "", **more: Any) -> Verdict:
        failed = state == "failed"
        found = Verdict(
            criterion.id,
            state,
            fraction,
            message=_readable(message),
            mistake=_readable(mistake),
            evidence=tuple(map(_readable, work.exchanges)) if failed else (),
            measured=tuple(map(_readable, work.measured)),
            seconds=round(time.monotonic() - began, 3),
            asked_model=work.asked_model,
            **more,
        )
        return with_hint(found, criterion, earlier)

    try:
        with asker.deadline(criterion.seconds):
            fraction = _fraction(criterion.run(work, rng_for(seed, criterion)))
    except Failed as failed:
        return verdict("failed", message=failed.message, mistake=failed.hint, cut_short=failed.timed)
    except NotRun as reason:
        return verdict("not run", message=str(reason))
    except AnswerRaised as error:
        return verdict("failed", message=f"raised {error}")
    except AnswerRefused as error:
        return verdict("failed", message=str(error))
    except (WorkerLost, DeadlinePassed) as error:
        return verdict("failed", message=str(error), cut_short=True)
    except Exception as error:  # noqa: BLE001 - whatever an answer has made of the criterion, it is not met
        return verdict("failed", message=f"the criterion stopped: {type(error).__name__}: {error}", broke=True)
    return verdict("passed" if fraction == 1.0 else "failed", fraction)


def with_hint(verdict: Verdict, criterion: Criterion, earlier: int) -> Verdict:
    """Returns a verdict with the hint that a student is shown whose work has failed `earlier` times in a row before."""
    if verdict.state != "failed":
        return verdict
    hint = criterion.hints[min(earlier, len(criterion.hints) - 1)]
    return replace(verdict, hint=_readable(hint), attempts=earlier + 1)


def _fraction(earned: Any) -> float:
    """Returns the part of the points that a criterion gives. It may have passed on what the work said."""
    if earned is None:
        return 1.0
    if type(earned) not in (int, float) or not 0 <= earned <= 1:  # nan is in no interval
        raise Failed(f"the part of the points is a number from 0 to 1, not {earned!r:.100}")
    return float(earned)


def _readable(text: str) -> str:
    """Returns a text that every file takes and that nobody waits for; names of processes and files may be anything."""
    text = text.encode(errors="replace").decode()
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + " … [shortened]"


def judge(
    criteria: Iterable[Criterion],
    open_worker: Callable[[], AbstractContextManager[Asker]],
    *,
    seed: str,
    llm: "Callable[[], LanguageModel]",
    kernels: "Kernels | None" = None,
    cuda_kernels: "CudaKernels | None" = None,
    earlier: Mapping[str, int] = {},
) -> Iterator[Verdict]:
    """Runs criteria one after the other. After one that failed, and for one that asks for it, in a new process.

    Args:
        criteria: In order.
        open_worker: Gives a process that has executed the notebook; raises WorkerLost where the notebook ends it.
        seed: Of all inputs.
        llm: Gives the language model.
        kernels: Of the notebook.
        cuda_kernels: Likewise.
        earlier: By criterion, how many times in a row it has failed before.

    Yields:
        A verdict on each.
    """
    with ExitStack() as stack:
        worker: Asker | None = None
        for criterion in criteria:
            if worker is None or criterion.fresh:
                stack.close()
                try:
                    worker = stack.enter_context(open_worker())
                except WorkerLost as error:
                    worker = None
                    lost = Verdict(criterion.id, "failed", 0.0, message=str(error), cut_short=True)
                    yield replace(lost, attempts=earlier.get(criterion.id, 0) + 1)
                    continue
            before = earlier.get(criterion.id, 0)
            verdict = run_criterion(
                criterion, worker, seed, llm, kernels=kernels, cuda_kernels=cuda_kernels, earlier=before
            )
            yield verdict
            if criterion.fresh or verdict.state == "failed":
                stack.close()
                worker = None
