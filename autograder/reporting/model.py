"""What a report says, as data."""

import json
from dataclasses import asdict, dataclass, field
from typing import Literal

from autograder.judge import Verdict

State = Literal["graded", "not graded yet"]


@dataclass(frozen=True)
class PersonGrade:
    """What a person has added to a cell of a submission, in formgrader.

    Attributes:
        cell: its id.
        points: given by the person, in the place of the judge's; null where they gave none.
        max_points: what the cell could give; null where it gives none.
        extra: points on top.
        comment: may be empty.
    """

    cell: str
    points: float | None
    max_points: float | None
    extra: float = 0.0
    comment: str = ""


@dataclass(frozen=True)
class Submission:
    """A student's submission of an exercise.

    Attributes:
        exercise: its name.
        student: whose it is.
        state: "graded", or "not graded yet": handed in, without a record of a grade.
        points: all in all: the judge's, those that a person has given, less the penalty.
        max_points: what it could have, what a person gives included.
        judged_points: the judge's.
        judged_max_points: what the judge could give.
        penalty: points taken for being late.
        waits_for_person: a cell of it is to be graded by a person.
        people: what a person has added, by cell.
        passed: every criterion was run and is met.
        graded: when, in UTC, as ISO 8601.
        submitted: when it was handed in, in UTC, as ISO 8601, if the submission says.
        verdicts: one a criterion, in order.
        problems: what was found wrong with the submission and repaired or left out, a sentence each.
        incidents: what the sandbox had to stop, a sentence each: as attacks do, and bad mistakes.
        seconds: how long grading took.
        stages: seconds by stage.
        memory: bytes that its largest box had at most; 0 where the machine did not tell.
        environment: what graded it: the "name" of one of the report's environments.
        weak_isolation: layers of the sandbox that did not hold, which was accepted.
    """

    exercise: str
    student: str
    state: State
    points: float = 0.0
    max_points: float = 0.0
    judged_points: float = 0.0
    judged_max_points: float = 0.0
    penalty: float = 0.0
    waits_for_person: bool = False
    people: list[PersonGrade] = field(default_factory=list)
    passed: bool = False
    graded: str = ""
    submitted: str = ""
    verdicts: list[Verdict] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    incidents: list[str] = field(default_factory=list)
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    memory: int = 0
    environment: str = ""
    weak_isolation: list[str] = field(default_factory=list)

    @property
    def part(self) -> float:
        """Returns the part of the points that it has, from 0 to 1; more with extra points."""
        return self.points / self.max_points if self.max_points else 0.0


@dataclass(frozen=True)
class Misunderstanding:
    """What several students got wrong in the same way.

    Attributes:
        says: the mistake, where the criterion knew it; else its message, with # for each number.
        known: whether the criterion knew it.
        count: how many submissions show it.
        students: whose they are.
        message: of the first of them, as it is.
        evidence: of the first of them: the last questions that were asked, with their answers.
    """

    says: str
    known: bool
    count: int
    students: list[str]
    message: str
    evidence: list[str]


@dataclass(frozen=True)
class CriterionResult:
    """How the class met a criterion.

    Attributes:
        criterion: its id.
        asks: the first line of what it asks; empty where the exercise has no such criterion any more.
        max_points: what it can give.
        passed: how many submissions met it.
        failed: how many did not.
        not_run: for how many it could not be run.
        cut_short: how often a time limit or the end of a process ended it: another time it may come out otherwise.
        broke: how often the criterion itself raised an exception: its author should look at it.
        wrong: what students got wrong, what is most frequent first.
    """

    criterion: str
    asks: str
    max_points: float
    passed: int
    failed: int
    not_run: int
    cut_short: int
    broke: int
    wrong: list[Misunderstanding]

    @property
    def failing(self) -> float:
        """Returns the part of those for whom it was run that failed it."""
        ran = self.passed + self.failed
        return self.failed / ran if ran else 0.0


@dataclass(frozen=True)
class Spread:
    """How a number is spread over submissions.

    Attributes:
        median: half of them have no more.
        ninetieth: nine of ten have no more.
        largest: none has more.
        total: of all of them together.
    """

    median: float
    ninetieth: float
    largest: float
    total: float


@dataclass(frozen=True)
class ExerciseReport:
    """How the class did in an exercise.

    Attributes:
        exercise: its name.
        title: of its notebook.
        max_points: what it can give.
        graded: how many submissions are graded.
        waiting: who has submitted and is not graded yet.
        passed: how many meet every criterion.
        mean: mean points of those graded; null where none is.
        median: median points of those graded; null where none is.
        criteria: those that fail most come first.
        seconds: how long grading a submission took; null where none is graded.
        stages: the same by stage.
        memory: bytes that a submission's largest box had at most; null where no machine told.
        submissions: by student.
        problem: why its criteria could not be read; empty where they could.
    """

    exercise: str
    title: str
    max_points: float
    graded: int
    waiting: list[str]
    passed: int
    mean: float | None
    median: float | None
    criteria: list[CriterionResult]
    seconds: Spread | None
    stages: dict[str, Spread]
    memory: Spread | None
    submissions: list[Submission]
    problem: str = ""

    @property
    def graded_submissions(self) -> list[Submission]:
        """Returns the submissions that are graded."""
        return [one for one in self.submissions if one.state == "graded"]


@dataclass(frozen=True)
class EnvironmentUse:
    """A machine with its software that has graded.

    Attributes:
        name: how submissions refer to it.
        submissions: how many it has graded.
        python: its version.
        machine: the processor's kind and the system.
        device: "cpu", or the name of the first GPU.
        packages: versions of those that decide what runs.
        weak_isolation: layers of the sandbox that did not hold, which was accepted.
    """

    name: str
    submissions: int
    python: str
    machine: str
    device: str
    packages: dict[str, str]
    weak_isolation: list[str]


@dataclass(frozen=True)
class ClassReport:
    """A report on a class.

    Attributes:
        made: when, in UTC, as ISO 8601.
        students: who has submitted something.
        graded: how many submissions are graded.
        waiting: how many are not graded yet.
        passed: how many of those graded meet every criterion.
        mean: mean part of the points of those graded, from 0 to 1; null where none is.
        last_graded: when the last of them was graded, in UTC, as ISO 8601.
        gradebook: whether there is one: only then points include what people gave and took.
        exercises: by name.
        environments: what has graded, what was used most first.
    """

    made: str
    students: list[str]
    graded: int
    waiting: int
    passed: int
    mean: float | None
    last_graded: str
    gradebook: bool
    exercises: list[ExerciseReport]
    environments: list[EnvironmentUse]

    @property
    def submissions(self) -> list[Submission]:
        """Returns the submissions of all exercises."""
        return [submission for exercise in self.exercises for submission in exercise.submissions]

    def to_json(self) -> str:
        """Returns the report as one JSON object."""
        return json.dumps(asdict(self), indent=1)
