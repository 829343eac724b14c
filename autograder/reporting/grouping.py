"""What people got wrong: puts together verdicts that say the same."""

import re
from collections.abc import Iterable

from autograder.judge import Verdict
from autograder.printable import one_line
from autograder.reporting.model import Misunderstanding

LONGEST = 300  # characters of what a group is called

_NUMBER = re.compile(r"0x[0-9a-fA-F]+|(?<![A-Za-z_])\d+(?:[.,_]\d+)*(?:[eE][+-]?\d+)?")


def group_wrong(failed: Iterable[tuple[str, Verdict]]) -> list[Misunderstanding]:
    """Returns what students got wrong in a criterion, what is most frequent first.

    Args:
        failed: Students with their failing verdicts of one criterion.
    """
    groups: dict[tuple[bool, str], list[tuple[str, Verdict]]] = {}
    for student, verdict in failed:
        known = bool(verdict.mistake)
        says = one_line(verdict.mistake) if known else without_numbers(one_line(verdict.message))
        groups.setdefault((known, says[:LONGEST] or "earned a part of the points"), []).append((student, verdict))
    return [
        Misunderstanding(
            says=says,
            known=known,
            count=len(members),
            students=[student for student, _ in members],
            message=members[0][1].message,
            evidence=list(members[0][1].evidence),
        )
        for (known, says), members in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0][1]))
    ]


def without_numbers(text: str) -> str:
    """Returns a message with # for each number: two that differ in numbers alone say the same of a mistake."""
    return _NUMBER.sub("#", text)
