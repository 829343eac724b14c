"""Signed records, the results that are used again, and what changed criteria touch."""

import dataclasses
import json
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autograder.course import fingerprint
from autograder.course.engines import LocalEngine
from autograder.course.fingerprint import criteria_digests, environment
from autograder.course.grade_report import GradeReport
from autograder.course.grade_submissions import grade_submissions
from autograder.course.ledger import NoPlaceError
from autograder.course.record import Record, RecordError
from autograder.course.records import Records, RecordsError, notebook_digest
from autograder.course.signing import Key, KeyFileError, key_file, load_key
from autograder.exercises import Exercise, ExerciseError
from autograder.grading import Grader
from tests.grading.course import NAME, POINTS, Course, cell_of
from tests.grading.stand_in import StandIn
from tests.system import unavailable
from workbook.sandbox.isolation.server import available

STUB = "raise NotImplementedError"


def states(report: GradeReport) -> dict[str, str]:
    return {grade.student: grade.state for grade in report.submissions}


def change_criteria(course: Course, old: str, new: str, *, release: bool = True) -> None:
    """Edits the acceptance criteria, as an author does, and releases them."""
    path = course.root / "solutions" / NAME / "acceptance.py"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    if release:
        (course.root / "exercises" / NAME / "acceptance.py").chmod(0o644)
        (course.root / "exercises" / NAME / "acceptance.py").write_text(path.read_text())


# Results are used again.


def test_equal_work_of_another_student_is_not_executed_again(course: Course) -> None:
    course.submit("alice", course.solved(add=STUB))
    course.submit("bob", course.solved(add=STUB))
    course.submit("carl", course.solved())
    grader = StandIn()
    assert states(course.grade(grader, "alice")) == {"alice": "graded"}
    report = course.grade(grader)
    assert states(report) == {"alice": "graded before", "bob": "from an earlier result", "carl": "graded"}
    assert len(grader.seen) == 2
    assert course.totals() == {"alice": 7, "bob": 7, "carl": 12}
    alice, bob = course.record("alice"), course.record("bob")
    assert (bob["student"], bob["executed"], bob["seed"]) == ("bob", [], alice["seed"])
    assert alice["executed"] == list(POINTS)
    assert course.autograded("bob")["cells"] == course.autograded("alice")["cells"]


def test_a_student_gets_the_next_hint_of_their_own(course: Course) -> None:
    course.submit("alice", course.solved(add=STUB))
    course.submit("bob", course.solved(add=f"# first\n{STUB}"))
    grader = StandIn()
    course.grade(grader)
    course.submit("bob", course.solved(add=STUB))
    (bob,) = course.grade(grader, "bob").submissions
    assert (bob.state, bob.verdicts[0].attempts) == ("from an earlier result", 2)
    assert course.grade(grader, "alice").submissions[0].verdicts[0].attempts == 1


def test_what_is_lost_comes_back_without_executing(course: Course) -> None:
    course.submit("alice", course.solved(add=STUB))
    grader = StandIn()
    course.grade(grader)
    graded = course.autograded("alice")
    losses: list[Callable[[], Any]] = [
        (course.root / "gradebook.db").unlink,
        (course.root / "autograded" / "alice" / NAME / f"{NAME}.ipynb").unlink,
        lambda: course.gradebook(lambda book: set_score(book, 1.0)),
    ]
    for lose in losses:
        lose()
        assert states(course.grade(grader)) == {"alice": "from an earlier result"}
        assert states(course.grade(grader)) == {"alice": "graded before"}
        assert course.totals() == {"alice": 7}
        assert course.autograded("alice") == graded
    assert len(grader.seen) == len(course.records("alice")) == 1


def set_score(book: Any, score: float, student: str = "alice", **more: Any) -> None:
    grade = book.find_grade("adds-up", NAME, NAME, student)
    grade.auto_score = score
    for name, value in more.items():
        setattr(grade, name, value)
    book.db.commit()


def test_a_later_hand_in_of_the_same_work_is_entered_and_not_executed(course: Course) -> None:
    folder = course.submit("alice", course.solved())
    grader = StandIn()
    course.grade(grader)
    (folder / "timestamp.txt").write_text("2026-01-02 00:00:00 UTC")
    assert states(course.grade(grader)) == {"alice": "from an earlier result"}
    assert course.record("alice")["submitted"].startswith("2026-01-02")
    handed_in = course.gradebook(lambda book: book.find_submission(NAME, "alice").timestamp)
    assert handed_in.isoformat().startswith("2026-01-02")
    assert states(course.grade(grader)) == {"alice": "graded before"}
    assert len(grader.seen) == 1


@pytest.mark.parametrize("spoiled", ["cut_short", "broke", "not run", "late cell"])
def test_what_time_or_the_machine_decided_is_never_used_again(course: Course, spoiled: str) -> None:
    class Spoiled(StandIn):
        def grade(self, *rest: Any, **more: Any) -> Any:
            grade = super().grade(*rest, **more)
            if spoiled == "late cell":
                return dataclasses.replace(grade, late_cell=True)
            changes: Any = {"state": spoiled} if spoiled == "not run" else {spoiled: True}
            verdicts = [dataclasses.replace(grade.verdicts[0], **changes), *grade.verdicts[1:]]
            return dataclasses.replace(grade, verdicts=verdicts)

    course.submit("alice", course.solved(add=STUB))
    grader = Spoiled()
    course.grade(grader)
    assert states(course.grade(grader)) == {"alice": "graded before"}, "the grade stands"
    (course.root / "gradebook.db").unlink()
    course.submit("bob", course.solved(add=STUB))
    assert states(course.grade(grader)) == {"alice": "from an earlier result", "bob": "graded"}
    course.submit("alice", course.solved())
    course.grade(grader)
    course.submit("alice", course.solved(add=STUB))
    assert states(course.grade(grader, "alice")) == {"alice": "graded"}
    assert len(grader.seen) == 4


def test_force_and_another_seed_execute_again(course: Course) -> None:
    course.submit("alice", course.solved())
    grader = StandIn()
    course.grade(grader)
    seed = course.record("alice")["seed"]
    assert states(course.grade(grader, seed=seed)) == {"alice": "graded before"}
    assert states(course.grade(grader, seed="ab" * 16)) == {"alice": "graded"}
    assert course.record("alice")["seed"] == "ab" * 16
    assert states(course.grade(grader, force=True)) == {"alice": "graded"}
    assert len(grader.seen) == len(course.records("alice")) == 3


def test_another_environment_grades_again_with_the_same_inputs(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    course.submit("alice", course.solved())
    grader = StandIn()
    course.grade(grader, seed="ab" * 16)
    monkeypatch.setattr(fingerprint, "_installed", lambda: ["torch-99.0.dist-info"])
    with pytest.raises(fingerprint.StaleProcessError, match="packages have changed since this process began"):
        course.grade(grader)
    monkeypatch.setattr(fingerprint, "_AT_IMPORT", (fingerprint._code(), ["torch-99.0.dist-info"]))
    assert states(course.grade(grader)) == {"alice": "graded"}
    first, second = reversed(course.records("alice"))
    assert first["environment"]["sha256"] != second["environment"]["sha256"]
    assert first["seed"] == second["seed"] == "ab" * 16


def test_a_result_comes_back_in_less_than_50_ms(course: Course) -> None:
    course.submit("alice", course.solved())
    grader = StandIn()
    course.grade(grader)
    students = [f"s{number}" for number in range(40)]
    for student in students:
        course.submit(student, course.solved())
    best = []
    for round_ in range(3):
        began = time.process_time()  # the machine may be busy with something else
        report = course.grade(grader)
        best.append((time.process_time() - began) / len(students))
        wanted = "graded before" if round_ % 2 else "from an earlier result"
        assert {grade.state for grade in report.submissions if grade.student != "alice"} == {wanted}
        if round_ % 2:
            (course.root / "gradebook.db").unlink()
            assert states(course.grade(grader, "alice")) == {"alice": "from an earlier result"}
    assert min(best[0], best[2]) < 0.05
    assert best[1] < 0.05
    assert len(grader.seen) == 1


# Changed criteria.


def test_changed_criteria_run_again_where_they_touch_and_the_difference_is_told(course: Course) -> None:
    if reason := available():
        unavailable(reason)
    course.submit("alice", course.solved())
    course.submit("bob", course.solved(round="import math\ndef rounded(x): return math.floor(x)"))
    with Grader() as grader:
        assert course.grade(grader).complete
        seed = course.record("alice")["seed"]
        change_criteria(course, "return sum(answers) / 4", "return 1.0 if sum(answers) == 4 else 0.0")
        report = course.grade(grader)
    alice, bob = report.submissions
    assert (alice.state, alice.changes) == ("graded", [])
    assert bob.changes == ["rounds: 2 of 4 (failed) → 0 of 4 (failed)"]
    assert course.record("alice")["executed"] == ["rounds"]
    assert course.record("bob")["executed"] == list(POINTS), "what costs points is looked at by all"
    assert course.record("alice")["seed"] == course.record("bob")["seed"] == seed
    assert course.auto_scores()["bob"] == {**POINTS, "rounds": 0}
    assert cell_of(course.autograded("bob"), "adds-up")["outputs"][0]["data"]["text/plain"] == ["5"]


def test_the_command_prints_the_difference(course: Course) -> None:
    if reason := available():
        unavailable(reason)
    course.submit("bob", course.solved(round="import math\ndef rounded(x): return math.floor(x)"))
    assert course.autograder("grade").returncode == 0
    change_criteria(course, "return sum(answers) / 4", "return 1.0 if sum(answers) == 4 else 0.0")
    done = course.autograder("grade")
    assert "Changed, for the same work:" in done.stdout
    assert f"{NAME}: bob: rounds: 2 of 4 (failed) → 0 of 4 (failed)" in done.stdout
    assert "graded before" in course.autograder("grade").stdout


ACCEPTANCE = '''
import random
from autograder.acceptance import criterion, equal
LIMIT = 3
def helper(x):
    return x
@criterion(hint="a")
def first(work, rng):
    """One."""
    helper(1)
@criterion(hint="b")
def second_one(work, rng):
    """Two."""
    first.run(work, rng)
@criterion(hint="c")
def third(work, rng):
    """Three."""
'''


@pytest.mark.parametrize(
    ("old", "new", "touched"),
    [
        ("LIMIT = 3", "LIMIT = 4", {"first", "second-one", "third"}),
        ("return x", "return x + 1", {"first", "second-one", "third"}),
        ("helper(1)", "helper(2)", {"first", "second-one"}),  # the second runs the first
        ('hint="c"', 'hint="d"', {"third"}),
        ("first.run(work, rng)", "pass", {"second-one"}),
        ("LIMIT = 3", "# a comment\nLIMIT = 3   # and another", set()),
    ],
)
def test_which_criteria_a_change_touches(old: str, new: str, touched: set[str]) -> None:
    ids = ["first", "second-one", "third"]
    before = criteria_digests(ACCEPTANCE, ids)
    after = criteria_digests(ACCEPTANCE.replace(old, new), ids)
    assert {name for name in ids if before[name] != after[name]} == touched
    assert len(set(before.values())) == 3
    beside = criteria_digests(ACCEPTANCE, ids, "a file beside it")
    assert not set(beside.values()) & set(before.values())


def test_the_environment_knows_what_may_have_a_say(monkeypatch: pytest.MonkeyPatch) -> None:
    here = environment([])
    assert environment([]) == here
    assert here.packages["torch"]
    assert environment(["system call filter"]).sha256 != here.sha256
    monkeypatch.setattr(fingerprint, "_code", lambda: ["judge.py is another"])
    with pytest.raises(fingerprint.StaleProcessError, match="the autograder or the workbook has changed"):
        environment([])
    monkeypatch.setattr(fingerprint, "_AT_IMPORT", (["judge.py is another"], fingerprint._installed()))
    assert environment([]).sha256 != here.sha256


# Records.


def a_record(course: Course) -> Record:
    course.submit("alice", course.solved(add=STUB))
    course.grade(StandIn())
    with Records(course.root) as records:
        record = records.latest_of(NAME, "alice")
    assert record is not None
    return record


def test_a_record_is_read_as_it_was_written(course: Course) -> None:
    record = a_record(course)
    assert Record.from_json(record.to_json()) == record
    assert load_key().has_signed(record)
    assert record.notebook_sha256 == notebook_digest(
        (course.root / "autograded" / "alice" / NAME / f"{NAME}.ipynb").read_bytes()
    )
    assert record.environment == environment([])


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": 99}', "{", '{"format": 1, "verdicts": 3}'])
def test_what_is_no_record_is_said(text: str) -> None:
    with pytest.raises(RecordError):
        Record.from_json(text)


def test_any_change_of_a_record_shows(course: Course) -> None:
    record, key = a_record(course), load_key()
    for name, value in dataclasses.asdict(record).items():
        if name in ("verdicts", "environment"):
            continue
        other: Any = value + 1 if isinstance(value, int | float) else f"{value}x" if isinstance(value, str) else None
        assert not key.has_signed(dataclasses.replace(record, **{name: other})), name
    better = dataclasses.replace(record.verdicts[0], state="passed")
    assert not key.has_signed(dataclasses.replace(record, verdicts=[better, *record.verdicts[1:]]))


def test_a_record_that_was_changed_is_no_ground_for_a_grade(course: Course) -> None:
    record = a_record(course)
    better = json.loads(record.to_json())
    better["points"] = 12
    database = sqlite3.connect(course.root / "records.db")
    database.execute("UPDATE record SET record = ?", (json.dumps(better),))
    database.commit()
    database.close()
    assert states(course.grade(StandIn())) == {"alice": "graded"}
    assert course.record("alice")["points"] == 7


def test_records_are_kept_whole_where_the_disk_is_full(course: Course) -> None:
    record = a_record(course)
    with Records(course.root) as records:
        pages = records._database.execute("PRAGMA page_count").fetchone()[0]
        records._database.execute(f"PRAGMA max_page_count = {pages}")
        big = os.urandom(200_000).hex()
        with pytest.raises(RecordsError, match="make room on the disk"):
            records.add(dataclasses.replace(record, number=2, notebook_sha256=notebook_digest(big)), big, "k")
        records._database.execute("PRAGMA max_page_count = 1000000")
        assert records.find("k") == []
        assert records.all_of(NAME, "alice") == [record]
        records.add(dataclasses.replace(record, number=2), "{}", "k")
        assert [one.number for one in records.find("k")] == [2]


def test_records_that_cannot_be_used_are_said(course: Course) -> None:
    course.submit("alice", course.solved())
    (course.root / "records.db").write_bytes(b"no database" * 1000)
    with pytest.raises(RecordsError, match="restore it from a backup"):
        course.grade(StandIn())
    assert course.totals() == {}


# The key.


@pytest.fixture
def key_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keys" / "grader.pem"
    monkeypatch.setenv("AUTOGRADER_KEY", str(path))
    return path


def test_a_key_is_made_once_and_for_its_owner_alone(key_at: Path) -> None:
    with pytest.raises(KeyFileError, match="there is no grader's key"):
        load_key()
    made = load_key(make=True)
    assert key_at.stat().st_mode & 0o777 == 0o600
    assert load_key(make=True).fingerprint == load_key().fingerprint == made.fingerprint
    assert key_file() == key_at


def test_a_key_that_others_can_read_is_refused(key_at: Path) -> None:
    load_key(make=True)
    key_at.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_key()


def test_no_key_is_made_where_the_public_half_should_be(key_at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOGRADER_KEY", str(key_at.with_suffix(".pub")))
    with pytest.raises(KeyFileError, match="which cannot sign"):
        load_key(make=True)
    assert not key_at.parent.exists()


def test_the_public_half_checks_and_cannot_sign(course: Course, key_at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = a_record(course)
    monkeypatch.setenv("AUTOGRADER_KEY", str(key_at.with_suffix(".pub")))
    public: Key = load_key()
    assert public.has_signed(record)
    with pytest.raises(KeyFileError, match="public half"):
        public.sign(record)
    course.submit("bob", course.solved())
    report = course.grade(StandIn())
    assert states(report) == {"alice": "graded before", "bob": "not graded"}
    assert "public half" in report.submissions[1].failure


@pytest.mark.parametrize(
    "contents", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_key_that_is_none_is_said(key_at: Path, contents: bytes) -> None:
    key_at.parent.mkdir(parents=True)
    key_at.write_bytes(contents)
    key_at.chmod(0o600)
    with pytest.raises(KeyFileError, match="no key in PEM"):
        load_key(make=True)
    assert key_at.read_bytes() == contents


def test_needs_are_checked(course: Course) -> None:
    from autograder.exercises import ExerciseError

    change_criteria(course, 'HIDES = ("workbook.bench",)', 'HIDES = ("workbook.bench",)\nNEEDS = ("telescope",)')
    with pytest.raises(ExerciseError, match="NEEDS knows device and model, not telescope"):
        _ = Exercise(course.root / "solutions" / NAME).acceptance


# Runs that are cut off.


class Killed(BaseException):
    """Ends a run at once, as SIGKILL does: nothing of ours catches it."""


def cut_off(course: Course, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(where, killed)
        with pytest.raises(Killed):
            course.grade(StandIn())


WHERES = [
    "autograder.course.ledger.Ledger._write_folder",
    "autograder.course.scores.Scores.enter",
    "autograder.course.records.Records.mark_entered",
]


@pytest.mark.parametrize("where", WHERES)
def test_a_grade_is_recorded_before_it_is_entered(course: Course, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    course.submit("alice", course.solved())
    cut_off(course, monkeypatch, where)
    (record,) = course.records("alice")
    entered = "mark_entered" in where
    assert course.totals() == ({"alice": 12} if entered else {})
    assert course.gradebook(lambda book: [student.id for student in book.students]) == (["alice"] if entered else [])
    grader = StandIn()
    assert states(course.grade(grader)) == {"alice": "from an earlier result"}
    assert states(course.grade(grader)) == {"alice": "graded before"}
    assert grader.seen == []
    assert course.records("alice") == [record]
    assert course.totals() == {"alice": 12}


PENALTY = """
from nbgrader.plugins import LateSubmissionPlugin
class Half(LateSubmissionPlugin):
    def late_submission_penalty(self, student_id, score, total_seconds_late):
        return score / 2
c.AssignLatePenalties.plugin_class = Half
"""


def penalty(course: Course) -> Any:
    return course.gradebook(lambda book: book.find_submission(NAME, "alice").late_submission_penalty)


def due(course: Course, date: str) -> None:
    course.gradebook(lambda book: book.update_or_create_assignment(NAME, duedate=date))


@pytest.mark.parametrize("where", WHERES)
def test_the_same_work_handed_in_late_gets_its_penalty_whenever_the_run_is_killed(
    course: Course, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    config = course.root / "nbgrader_config.py"
    config.write_text(config.read_text() + PENALTY)
    due(course, "2026-01-01 00:00:00")
    folder = course.submit("alice", course.solved())
    (folder / "timestamp.txt").write_text("2025-12-31 00:00:00 UTC")
    course.grade(StandIn())
    assert penalty(course) == 0
    (folder / "timestamp.txt").write_text("2026-01-02 00:00:00 UTC")
    cut_off(course, monkeypatch, where)
    course.grade(StandIn())
    assert penalty(course) == 6
    assert course.gradebook(lambda book: book.find_submission(NAME, "alice").timestamp.year) == 2026
    (folder / "timestamp.txt").unlink()
    course.grade(StandIn())
    assert penalty(course) == 0, "without a time it counts as in time"


def test_a_moved_due_date_is_applied_without_executing(course: Course) -> None:
    config = course.root / "nbgrader_config.py"
    config.write_text(config.read_text() + PENALTY)
    due(course, "2026-01-01 00:00:00")
    folder = course.submit("alice", course.solved())
    (folder / "timestamp.txt").write_text("2026-01-02 00:00:00 UTC")
    grader = StandIn()
    course.grade(grader)
    assert penalty(course) == 6
    due(course, "2026-02-01 00:00:00")
    assert states(course.grade(grader)) == {"alice": "from an earlier result"}
    assert penalty(course) == 0
    assert states(course.grade(grader)) == {"alice": "graded before"}
    assert len(grader.seen) == 1


@pytest.mark.parametrize("error", [NoPlaceError("full"), RecordsError("full")])
@pytest.mark.parametrize("known", [False, True])
def test_where_nothing_can_be_kept_the_run_ends(
    course: Course, monkeypatch: pytest.MonkeyPatch, error: Exception, known: bool
) -> None:
    for student in ("alice", "bob"):
        course.submit(student, course.solved(add=f"# {student}\n{STUB}"))
    if known:
        course.grade(StandIn())
        (course.root / "gradebook.db").unlink()

    def full(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(f"autograder.course.ledger.Ledger.{'enter' if known else 'keep'}", full)
    with pytest.raises(type(error), match="full"):
        course.grade(StandIn())


# What is in records.db beside the records is believed in nothing.


def edit(course: Course, *statements: str) -> None:
    database = sqlite3.connect(course.root / "records.db")
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def test_a_result_under_a_wrong_key_is_not_used(course: Course) -> None:
    course.submit("alice", course.solved())
    course.submit("bob", course.solved(add=STUB))
    course.grade(StandIn())
    edit(course, "UPDATE record SET key = (SELECT key FROM record WHERE student = 'bob') WHERE student = 'alice'")
    course.submit("carl", course.solved(add=STUB))
    grader = StandIn()
    assert states(course.grade(grader, "carl")) == {"carl": "from an earlier result"}
    assert course.totals()["carl"] == 7
    edit(course, "DELETE FROM record WHERE student <> 'alice'")
    course.submit("dora", course.solved(add=STUB))
    assert states(course.grade(grader, "dora")) == {"dora": "graded"}


def test_the_last_of_several_results_is_used_and_an_unfit_one_passed_over(course: Course) -> None:
    course.submit("alice", course.solved())
    course.grade(StandIn(), seed="ab" * 16)
    course.grade(StandIn(), force=True, seed="cd" * 16)
    course.submit("bob", course.solved())
    course.submit("carl", course.solved())
    assert course.grade(StandIn(), "bob").submissions[0].state == "from an earlier result"
    assert course.record("bob")["seed"] == "cd" * 16
    grader = StandIn()
    assert course.grade(grader, "carl", seed="ab" * 16).submissions[0].state == "from an earlier result"
    assert course.record("carl")["seed"] == "ab" * 16


@pytest.mark.parametrize("field", ["signature", "number", "verdicts", "environment", "executed", "seed"])
def test_a_record_with_a_value_of_another_type_is_none(course: Course, field: str) -> None:
    record = a_record(course)
    with pytest.raises(RecordError):
        Record.from_json(json.dumps({**json.loads(record.to_json()), field: {"a": None}}))
    edit(course, f"UPDATE record SET record = json_set(record, '$.{field}', json('{{}}'))")
    assert states(course.grade(StandIn())) == {"alice": "graded"}


def test_another_key_is_refused_and_grades_nobody_twice(
    course: Course, key_at: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_record(course)
    monkeypatch.setenv("AUTOGRADER_KEY", str(key_at.with_name("another.pem")))
    with pytest.raises(KeyFileError, match=r"signed with the key .* let AUTOGRADER_KEY name that one"):
        course.grade(StandIn())
    assert len(course.records("alice")) == 1


# A regrade of some criteria.


class Leaning(StandIn):
    """Grades the work lower when its first criteria are not run."""

    def grade(self, *rest: Any, **more: Any) -> Any:
        grade = super().grade(*rest, **more)
        if not more["known"]:
            return grade
        last = dataclasses.replace(grade.verdicts[-1], state="failed", fraction=0.0, points=0.0)
        return dataclasses.replace(grade, verdicts=[*grade.verdicts[:-1], last])


def test_points_that_a_regrade_of_some_criteria_would_cost_are_looked_at_by_all(course: Course) -> None:
    course.submit("alice", course.solved())
    grader = Leaning()
    course.grade(grader)
    change_criteria(course, 'hint="Which way is half rounded?"', 'hint="Which way?"')
    (alice,) = course.grade(grader).submissions
    assert (alice.state, alice.points, alice.changes) == ("graded", 12, [])
    assert [record["executed"] for record in course.records("alice")] == [list(POINTS), list(POINTS)]


def test_a_regrade_of_some_criteria_is_nobody_elses(course: Course) -> None:
    course.submit("alice", course.solved(add=STUB))
    grader = StandIn()
    course.grade(grader)
    change_criteria(course, 'hint="Which way is half rounded?"', 'hint="Which way?"')
    course.grade(grader)
    assert course.record("alice")["executed"] == ["rounds"]
    course.submit("bob", course.solved(add=STUB))
    assert states(course.grade(grader)) == {"alice": "graded before", "bob": "graded"}


def test_after_a_late_cell_nothing_is_known(course: Course) -> None:
    class Late(StandIn):
        def grade(self, *rest: Any, **more: Any) -> Any:
            return dataclasses.replace(super().grade(*rest, **more), late_cell=True)

    course.submit("alice", course.solved(add=STUB))
    course.grade(Late())
    change_criteria(course, 'hint="Which way is half rounded?"', 'hint="Which way?"')
    course.grade(Late())
    assert course.record("alice")["executed"] == list(POINTS)


@pytest.mark.parametrize("place", ["solutions/helper.py", f"solutions/{NAME}/data.json", f"exercises/{NAME}/data.json"])
def test_what_criteria_may_read_or_import_touches_all(course: Course, place: str) -> None:
    course.submit("alice", course.solved())
    grader = StandIn()
    course.grade(grader)
    (course.root / place).write_text("1")
    assert states(course.grade(grader)) == {"alice": "graded"}
    assert course.record("alice")["executed"] == list(POINTS)


def test_other_points_than_the_releases_are_refused(course: Course) -> None:
    path = course.root / "solutions" / NAME / f"{NAME}.ipynb"
    path.write_text(path.read_text().replace('"points": 5', '"points": 1'))
    course.submit("alice", course.solved())
    with pytest.raises(ExerciseError, match="other points than its release"):
        course.grade(StandIn())


def test_the_criteria_that_were_executed_are_those_of_the_digest(course: Course) -> None:
    exercise = Exercise(course.root / "solutions" / NAME)
    _ = exercise.acceptance
    change_criteria(course, "return sum(answers) / 4", "return 0.0")
    course.submit("alice", course.solved())
    with LocalEngine(StandIn(), environment([]), jobs=1) as engine:  # type: ignore[arg-type]
        options: Any = {"on_start": lambda *_: None, "on_grade": lambda _: None}
        grade_submissions([(exercise, "alice")], engine, **options)
    assert states(course.grade(StandIn())) == {"alice": "graded"}, "with the criteria as they are now"


# What a course's configuration says of outputs.


def test_the_courses_bound_on_outputs_holds_for_reused_results_too(course: Course) -> None:
    if reason := available():
        unavailable(reason)
    config = course.root / "nbgrader_config.py"
    config.write_text(config.read_text() + "\nc.LimitOutput.max_lines = 50\n")
    loud = "print('\\n'.join(map(str, range(3000))))\ndef add(a, b): return a + b"
    for student in ("alice", "bob"):
        course.submit(student, course.solved(add=loud))
    assert course.autograder("grade").returncode == 0
    for student in ("alice", "bob"):
        (output,) = cell_of(course.autograded(student), "add")["outputs"]
        assert len("".join(output["text"]).splitlines()) == 50
    config.write_text(config.read_text() + "\nc.LimitOutput.max_lines = 70\n")
    assert "graded before" not in course.autograder("grade").stdout


# Names.


def test_a_folder_whose_name_is_no_text_stops_nobody(course: Course) -> None:
    course.submit("alice", course.solved())
    bad = os.fsdecode(b"\xff\xfe")
    course.submit(bad, course.solved())
    for _ in range(2):
        done = course.autograder("grade")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "is no text in UTF-8: rename it" in done.stderr
    assert course.totals() == {"alice": 12}


def test_names_cannot_command_the_terminal(course: Course) -> None:
    name = "a\x1b[2J\x1b]0;title\x07\nbob: graded: 12 of 12"
    course.submit(name, course.solved())
    done = course.autograder("grade")
    assert done.returncode == 0
    assert not {"\x1b", "\x07"} & set(done.stdout + done.stderr)
    assert "\\x1b[2J" in done.stderr
    assert not [line for line in done.stderr.splitlines() if line.startswith("bob")]
