"""Draws many cases of one question, and shows of a failing one the smallest case that still fails.

A case is drawn from a random source, by whatever code. The source notes each number that it gives. A failing case is
made smaller by running the same code on shorter and smaller notes: fewer draws, lower numbers. So any case can be
shrunk, and what comes out is always one that the code could have drawn.

The idea is Hypothesis's: MacIver and Donaldson, "Test-Case Reduction via Test-Case Generation: Insights From the
Hypothesis Reducer" (ECOOP 2020).
"""

import random
import time
from collections.abc import Callable, Iterator

from autograder.acceptance import Failed, Work
from autograder.alarm import DeadlinePassed
from autograder.asker import AnswerRaised, AnswerRefused, CriterionEnded, WorkerLost

MOST_RUNS = 400
"""Cases that are tried to make a failing one smaller."""

SECONDS = 3.0
"""That it may take to make a failing one smaller; what is smallest by then is shown."""

MOST_ZEROS = 100
"""That are drawn behind the end of the notes: code that draws until something fits would go on for ever."""

Notes = list[int]

_Unmet = (Failed, AnswerRaised, AnswerRefused)


class _OverrunError(BaseException):
    """A case draws much more than it was told: it is not a smaller one. No Exception, so that no code holds it up."""


class Source(random.Random):
    """A random source that notes what it draws, and that can be told what to draw first.

    Attributes:
        notes: The numbers that were drawn.
        overrun: Whether much more was drawn than it was told.
    """

    def __init__(self, seed: int, notes: Notes | None = None) -> None:
        """Prepares to draw.

        Args:
            seed: Of what is drawn.
            notes: What is drawn first, number by number, and zeros after that; None draws freely.
        """
        super().__init__(seed)
        self.notes: Notes = []
        self.overrun = False
        self._told = notes

    def getrandbits(self, k: int) -> int:
        """Returns a number of `k` bits."""
        position = len(self.notes)
        if self._told is None:
            number = super().getrandbits(k)
        elif position > len(self._told) + MOST_ZEROS:
            self.overrun = True
            raise _OverrunError
        else:
            number = self._told[position] & ((1 << k) - 1) if position < len(self._told) else 0
        self.notes.append(number)
        return number

    def random(self) -> float:
        """Returns a number from 0 to 1."""
        return self.getrandbits(53) / (1 << 53)


def for_all(work: Work, rng: random.Random, case: Callable[[random.Random], None], tries: int = 20) -> None:
    """Fails the criterion unless a case holds however it is drawn; shows the smallest that does not.

    Args:
        work: The student's work, which `case` asks.
        rng: The criterion's random source.
        case: Draws inputs from the source that it is given, asks, and states what it expects.
        tries: How many cases are drawn.

    Raises:
        Failed: A case does not hold.
        WorkerLost: The process died or did not answer; this case is shown as it was drawn.
    """
    for number in range(tries):
        source = Source(rng.getrandbits(64))
        failure = _run(work, case, source)
        if failure is not None:
            smaller = _Smaller(work, case, source.notes, failure)
            smaller.search()
            work.exchanges = smaller.exchanges
            raise _named(smaller.failure, number + 1, tries) from None


def _run(work: Work, case: Callable[[random.Random], None], source: Source) -> Exception | None:
    """Runs a case on its own evidence; returns what it failed of."""
    work.exchanges = []
    try:
        case(source)
    except _Unmet as failure:
        return failure
    return None


def _named(failure: Exception, number: int, tries: int) -> Failed:
    found = f"case {number} of {tries} fails; the smallest like it that fails is shown"
    if isinstance(failure, Failed):
        return Failed(f"{failure.message} ({found})", failure.hint)
    raised = "raised " if isinstance(failure, AnswerRaised) else ""
    return Failed(f"{raised}{failure} ({found})")


class _Smaller:
    """The smallest failing case so far."""

    def __init__(self, work: Work, case: Callable[[random.Random], None], notes: Notes, failure: Exception) -> None:
        self._work, self._case = work, case
        self.notes, self.failure, self.exchanges = notes, failure, work.exchanges
        self._runs, self._end = MOST_RUNS, time.monotonic() + SECONDS

    def search(self) -> None:
        """Makes it smaller for as long as that goes and is allowed. A process that is lost meanwhile ends it."""
        try:
            while any(self._fails(notes) for notes in _smaller(self.notes)):
                pass
        except (WorkerLost, CriterionEnded, DeadlinePassed, _SpentError):
            pass

    def _fails(self, notes: Notes) -> bool:
        """Runs a case; keeps it if it fails and is smaller than what was kept."""
        if self._runs == 0 or time.monotonic() > self._end:
            raise _SpentError
        self._runs -= 1
        source = Source(0, notes)
        try:
            failure = _run(self._work, self._case, source)
        except CriterionEnded:
            raise
        except (_OverrunError, Exception):  # noqa: BLE001 - zeros may be what the criterion itself cannot take
            return False
        smaller = (len(source.notes), source.notes) < (len(self.notes), self.notes)
        if failure is None or source.overrun or not smaller:
            return False
        self.notes, self.failure, self.exchanges = source.notes, failure, self._work.exchanges
        return True


class _SpentError(Exception):
    """No more runs are allowed."""


def _smaller(notes: Notes) -> Iterator[Notes]:
    """Yields notes that are shorter or lower, boldest first."""
    length = len(notes)
    for size in (8, 4, 2, 1):
        for start in range(length - size, -1, -1):
            yield notes[:start] + notes[start + size :]
    for size in (8, 4, 2):
        for start in range(length - size, -1, -1):
            if any(notes[start : start + size]):
                yield [*notes[:start], *[0] * size, *notes[start + size :]]
    for place, number in enumerate(notes):
        lower = [0, *(number - (number >> shift) for shift in range(1, number.bit_length()))] if number else []
        for value in lower:
            yield [*notes[:place], value, *notes[place + 1 :]]
