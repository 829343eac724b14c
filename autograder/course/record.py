"""The record of a grade: what was graded, where and with which criteria, and what came of it."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from autograder.judge import Verdict, is_repeatable

FORMAT = 1


class RecordError(Exception):
    """This is no record that this autograder can read."""


@dataclass(frozen=True)
class Environment:
    """What a grade may depend on besides the submission and the exercise.

    Attributes:
        sha256: of all of it: Python, every installed package, the judge's own code, the layers that did not hold.
        python: its version.
        packages: versions of those that decide what runs.
        code_sha256: of the judge's and the workbook's modules.
        machine: the processor's kind and the system.
        device: "cpu", or the name of the first GPU.
        weak_isolation: layers of the sandbox that did not hold, which was accepted.
    """

    sha256: str
    python: str
    packages: dict[str, str]
    code_sha256: str
    machine: str
    device: str
    weak_isolation: list[str]


@dataclass(frozen=True)
class Record:
    """One grade of one student's submission of an exercise.

    Attributes:
        student: whose submission it is.
        exercise: its name.
        graded: when, in UTC, as ISO 8601.
        submission_sha256: of the submitted notebook and the files beside it; equal for equal work.
        submitted: when it was handed in, in UTC, as ISO 8601, if the submission says; else empty.
        release_sha256: of the released notebook that the submission was restored from.
        criteria_sha256: of each criterion, by its id.
        environment: where it was graded.
        seed: of the inputs; `autograder grade --force --seed` draws them again. Students must not see it.
        points: earned from the judge.
        max_points: what the judge could give.
        verdicts: one a criterion, in order.
        problems: what was found wrong with the submission and repaired or left out, a sentence each.
        incidents: what the sandbox had to stop, a sentence each: as attacks do, and bad mistakes.
        notebook_sha256: of the graded notebook, as it is in `autograded/`.
        seconds: how long grading took.
        stages: seconds by stage: "restore", "fork", "cells", "judge", "write".
        memory: bytes that its largest box had at most; 0 where the machine does not tell.
        executed: the criteria that were run for it; the others' verdicts come from an earlier record.
        late_cell: whether a cell was stopped since it took too long.
        number: of the record among all of the course: 1, 2, 3 and so on.
        previous_sha256: of the record with the number before; empty for the first. So none can be taken or put back.
        signer: the fingerprint of the key that signed it.
        signature: of all the rest, in hexadecimal.
    """

    student: str
    exercise: str
    graded: str
    submission_sha256: str
    submitted: str
    release_sha256: str
    criteria_sha256: dict[str, str]
    environment: Environment
    seed: str
    points: float
    max_points: float
    verdicts: list[Verdict]
    problems: list[str]
    incidents: list[str]
    notebook_sha256: str
    seconds: float
    stages: dict[str, float]
    memory: int
    executed: list[str]
    late_cell: bool = False
    number: int = 0
    previous_sha256: str = ""
    signer: str = ""
    signature: str = ""
    format: int = field(default=FORMAT)

    @property
    def passed(self) -> bool:
        """Returns whether every criterion was run and is met."""
        return all(verdict.state == "passed" for verdict in self.verdicts)

    @property
    def repeatable(self) -> bool:
        """Returns whether the same work would be graded the same again, and all of it was graded at once."""
        whole = self.executed in ([], [verdict.criterion for verdict in self.verdicts])
        return whole and not self.late_cell and all(map(is_repeatable, self.verdicts))

    def sha256(self) -> str:
        """Returns the digest of all of it, with the signature."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def signed_part(self) -> bytes:
        """Returns the bytes that the signature is of: canonical JSON of all but the signature."""
        return _canonical({name: value for name, value in asdict(self).items() if name != "signature"})

    def to_json(self) -> str:
        """Returns the record as one line of JSON."""
        return _canonical(asdict(self)).decode()

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """Reads what `to_json` gave.

        Raises:
            RecordError: It is something else, or of another version.
        """
        import msgspec

        try:
            record = msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
            raise RecordError(f"no record: {error}") from error
        if record.format != FORMAT:
            raise RecordError(f"a record of format {record.format}, not {FORMAT}")
        return record


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
