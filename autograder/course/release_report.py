"""What releasing exercises did: as data and as JSON."""

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Release:
    """What releasing an exercise did, or would do.

    Attributes:
        exercise: its name.
        changed: files of the student's copy that are new or differ, as paths in the workbook.
        problems: what is wrong, a sentence each; where there is any, nothing was written.
    """

    exercise: str
    changed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ReleaseReport:
    """A run of `autograder release`.

    Attributes:
        passed: everything is released as it should be; with --check: it was so before.
        exercises: one entry an exercise, by name; without names on the command line also folders that are none.
    """

    passed: bool
    exercises: list[Release]

    def to_json(self) -> str:
        """Returns the report as one JSON object."""
        return json.dumps(asdict(self), indent=2)
