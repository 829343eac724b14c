"""The judge: runs an exercise's criteria against a student's work and gives a verdict on each."""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from autograder.acceptance import Criterion, Failed, NotRun, Work
from autograder.asker import AnswerRaised, AnswerRefused, Asker, WorkerLost

if TYPE_CHECKING:
    from workbook.serving import LLM

State = Literal["passed", "failed", "not run"]


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
        hint: what to think about; empty where it passed.
        evidence: the last questions that were asked, with their answers; empty where it passed.
        broke: whether the criterion itself raised an exception. It did not pass, and its author should look at it.
        seconds: how long it took.
    """

    criterion: str
    state: State
    fraction: float
    points: float = 0.0
    max_points: float = 0.0
    message: str = ""
    hint: str = ""
    evidence: tuple[str, ...] = ()
    broke: bool = False
    seconds: float = 0.0


def rng_for(seed: str, criterion: Criterion) -> random.Random:
    """Returns the source of a criterion's inputs: the same for the same seed, whatever else is run."""
    return random.Random(f"{seed}/{criterion.id}")


def run_criterion(criterion: Criterion, asker: Asker, seed: str, llm: "Callable[[], LLM]") -> Verdict:
    """Runs one criterion. What the student's work does never raises here.

    Args:
        criterion: What to run.
        asker: Puts its questions.
        seed: Of its inputs.
        llm: Gives the language model; raises NotRun where there is none.
    """
    began = time.monotonic()
    work = Work(asker, llm)

    def verdict(state: State, fraction: float = 0.0, message: str = "", hint: str = "", broke: bool = False) -> Verdict:
        if state == "failed":
            evidence, hint = tuple(work.exchanges), hint or criterion.hint
        else:
            evidence = ()
        seconds = round(time.monotonic() - began, 3)
        return Verdict(
            criterion.id,
            state,
            fraction,
            message=message,
            hint=hint,
            evidence=evidence,
            broke=broke,
            seconds=seconds,
        )

    try:
        with asker.deadline(criterion.seconds):
            earned = criterion.run(work, rng_for(seed, criterion))
    except Failed as failed:
        return verdict("failed", message=failed.message, hint=failed.hint)
    except NotRun as reason:
        return verdict("not run", message=str(reason))
    except AnswerRaised as error:
        return verdict("failed", message=f"raised {error}")
    except (AnswerRefused, WorkerLost) as error:
        return verdict("failed", message=str(error))
    except Exception as error:  # noqa: BLE001 - whatever an answer has made of the criterion, it is not met
        return verdict("failed", message=f"the criterion stopped: {type(error).__name__}: {error}", broke=True)
    fraction = 1.0 if earned is None else min(max(float(earned), 0.0), 1.0)
    return verdict("passed" if fraction == 1.0 else "failed", fraction)


def judge(
    criteria: Iterable[Criterion],
    open_worker: Callable[[], AbstractContextManager[Asker]],
    *,
    seed: str,
    llm: "Callable[[], LLM]",
) -> Iterator[Verdict]:
    """Runs criteria one after the other. After one that failed, and for one that asks for it, in a new process.

    Args:
        criteria: In order.
        open_worker: Gives a process that has executed the notebook; raises WorkerLost where the notebook ends it.
        seed: Of all inputs.
        llm: Gives the language model.

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
                    yield Verdict(criterion.id, "failed", 0.0, message=str(error))
                    continue
            verdict = run_criterion(criterion, worker, seed, llm)
            yield verdict
            if criterion.fresh or verdict.state == "failed":
                stack.close()
                worker = None
