"""The grader over real boxes: what a submission does is a verdict with a reason, and costs nobody else anything."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from autograder.exercises import Exercise, ExerciseError
from autograder.grading import Grade, Grader
from tests.system import unavailable
from workbook.sandbox.isolation.server import available

ACCEPTANCE = '''
"""Criteria."""
from autograder.acceptance import equal, expect, criterion

HIDES = ("workbook.sandbox.kernel",)


@criterion(hint="Add the two.", seconds=10)
def adds(work, rng):
    """`add(a, b)` is their sum."""
    a, b = rng.randrange(10**9), rng.randrange(10**9)
    equal(work.call("add", a, b), a + b)


@criterion(hint="Call what you are given.", seconds=3)
def applies(work, rng):
    """`apply(function, x)` is `function(x)`."""
    secret = rng.randrange(10**9)
    with work.new("Applier") as applier:
        equal(applier.apply(lambda x: [x, secret], "ü"), ["ü", secret])


@criterion(hint="Half of it is a start.", seconds=3, fresh=True)
def halves(work, rng):
    """`half()` gives the part of the points."""
    return work.call("half")
'''
GOOD = {
    "add": "def add(a, b):\n    return a + b",
    "applier": """
class Applier:
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def apply(self, function, x): return function(x)
""",
    "half": "def half(): return 1.0",
}
POINTS = {"adds": 3, "applies": 4, "halves": 2}


def graded(criterion: str) -> Any:
    about = {"grade": True, "grade_id": criterion, "points": POINTS[criterion], "locked": True, "solution": False}
    metadata = {"nbgrader": {**about, "schema_version": 3, "task": False}}
    return new_code_cell(f"check({criterion!r})", metadata=metadata)


def notebook(**cells: str) -> Any:
    """A submission: the good answer, except for the cells that are given."""
    first = [cells.pop("first")] if "first" in cells else []
    answers = [*first, "from autograder.check import check", *{**GOOD, **cells}.values()]
    return new_notebook(cells=[*map(new_code_cell, answers), *map(graded, POINTS)])


@pytest.fixture(scope="module")
def exercise(tmp_path_factory: pytest.TempPathFactory) -> Exercise:
    folder = tmp_path_factory.mktemp("course") / "solutions" / "ch01_ex9_sums"
    folder.mkdir(parents=True)
    (folder / "acceptance.py").write_text(ACCEPTANCE)
    nbformat.write(notebook(), folder / "ch01_ex9_sums.ipynb")
    return Exercise(folder)


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    if reason := available():
        unavailable(reason)
    with Grader(cell_timeout=5) as grader:
        yield grader


@pytest.fixture
def grade(grader: Grader, exercise: Exercise) -> Iterator[Any]:
    def grade(**cells: str) -> Grade:
        return grader.grade(notebook(**cells), exercise)

    yield grade
    assert grade().points == 9, "the next in line is graded right"


def states(grade: Grade) -> str:
    return " ".join(verdict.state for verdict in grade.verdicts)


def message(grade: Grade, criterion: str) -> str:
    return next(verdict.message for verdict in grade.verdicts if verdict.criterion == criterion)


def test_a_right_answer_gets_all_points_whatever_it_prints(grader: Grader, exercise: Exercise) -> None:
    submitted = notebook(
        add="import sys, warnings\nwarnings.warn('careful')\n" + GOOD["add"] + "\nsys.stderr.write('!')\n7"
    )
    result = grader.grade(submitted, exercise)
    assert result.passed
    assert (result.points, result.max_points) == (9, 9)
    for cell, points in zip(submitted.cells[-3:], POINTS.values(), strict=True):
        (output,) = cell.outputs
        assert output.output_type == "execute_result"
        assert output.data["text/plain"] == str(points)
        assert "passed" in output.data["text/html"]
        assert result.seed not in str(cell)
    assert "careful" in str(submitted.cells[1].outputs)
    nbformat.validate(submitted)


def test_all_submissions_get_the_same_inputs_and_another_grader_others(grader: Grader, exercise: Exercise) -> None:
    look = {"add": "def add(a, b): return [a, b]"}
    first, second = (grader.grade(notebook(**look), exercise) for _ in range(2))
    assert message(first, "adds") == message(second, "adds")
    with Grader() as other, Grader(seed=grader.seed) as same:
        assert message(other.grade(notebook(**look), exercise), "adds") != message(first, "adds")
        assert message(same.grade(notebook(**look), exercise), "adds") == message(first, "adds")


def test_a_failure_says_what_was_asked_and_gives_the_hint(grader: Grader, exercise: Exercise) -> None:
    submitted = notebook(add="def add(a, b): return a - b")
    result = grader.grade(submitted, exercise)
    assert states(result) == "failed passed passed"
    verdict = result.verdicts[0]
    assert verdict.hint == "Add the two."
    assert verdict.evidence[0].startswith("add(")
    shown = submitted.cells[-3].outputs[0].data
    assert shown["text/plain"] == "0"
    assert "Hint: Add the two." in shown["text/html"]
    assert verdict.message in shown["text/html"]


def test_part_of_the_points(grade: Any) -> None:
    result = grade(half="def half(): return 0.5")
    assert result.points == 8
    assert result.verdicts[2].state == "failed"


def test_what_is_shown_is_escaped(grader: Grader, exercise: Exercise) -> None:
    submitted = notebook(add="def add(a, b): return '<script>alert(1)</script>'")
    grader.grade(submitted, exercise)
    assert "<script>" not in submitted.cells[-3].outputs[0].data["text/html"]


WRONG = {
    "nothing defined": ("", "NameError: the notebook does not define add"),
    "universal equality": (
        "class Yes(int):\n    __eq__ = lambda *_: True\n    __hash__ = int.__hash__\ndef add(a, b): return Yes()",
        "a value of type Yes cannot be passed",
    ),
    "a float": ("def add(a, b): return float(a + b)", "expected"),
    "raises": ("def add(a, b): raise KeyError('no')", "raised KeyError: 'no'"),
    "exits": ("def add(a, b): raise SystemExit", "raised SystemExit"),
    "ends its process": ("import os\ndef add(a, b): os._exit(0)", "the process died: exit status 0"),
    "crashes": ("import ctypes\ndef add(a, b): ctypes.string_at(0)", "the process died: SIGSEGV"),
    "kills all but itself": ("import os\ndef add(a, b): os.kill(-1, 9)", "raised ProcessLookupError"),
    "hangs": (
        "def add(a, b):\n    while True:\n        try:\n            while True: pass\n        except: pass",
        "in time",
    ),
    "fills memory": ("def add(a, b): return len(b'x' * (3 << 30))", "memory"),
    "syntax error": ("def add(a, b: return", "NameError"),
    "too deep": ("def add(a, b):\n    x = []\n    for _ in range(99): x = [x]\n    return x", "deep"),
    "too large": ("def add(a, b): return 'x' * (100 << 20)", "too large"),
    "a table of callables": ("add = dict", "raised TypeError"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_answers_lose_their_points_and_no_others(grade: Any, case: str) -> None:
    code, said = WRONG[case]
    result = grade(add=code)
    assert states(result) == "failed passed passed"
    assert said in message(result, "adds")


NOTEBOOKS = {
    "ends its process": ("import os; os._exit(0)", "died: exit status 0, in cell 1"),
    "stops itself": ("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", "died: it took longer than 5 s"),
    "never ends": (
        "import time\nwhile True:\n    try: time.sleep(60)\n    except BaseException: pass",
        "died: it took longer than 5 s and did not stop then, in cell 1",
    ),
    "garbage to the judge": (
        "import os\nfor fd in range(3, 300):\n    try: os.write(fd, b'\\xff' * 100_000)\n    except OSError: pass",
        "",
    ),
}


@pytest.mark.parametrize("case", NOTEBOOKS)
def test_a_notebook_that_ends_its_process_gets_no_point_and_a_reason(grade: Any, case: str) -> None:
    code, said = NOTEBOOKS[case]
    result = grade(first=code)
    assert states(result) == "failed failed failed"
    assert result.points == 0
    assert said in message(result, "adds")


HARMLESS = {
    "asks to exit": "raise SystemExit",
    "quits": "quit()",
    "raises": "1 / 0",
    "takes too long": "import time; time.sleep(600)",
    "floods": "for _ in range(200_000): print('x' * 50)",
    "blanks later cells": "get_ipython().input_transformers_cleanup.append(lambda lines: lines)",
    "a handler for all exceptions": "get_ipython().set_custom_exc((Exception,), lambda *_: None)",
    "closes its streams": "import sys; sys.stdout.close(); sys.stderr.close()",
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_harms_nothing_costs_nothing(grade: Any, case: str) -> None:
    assert grade(first=HARMLESS[case]).points == 9


FORGED = """
from IPython.display import publish_display_data
for _ in range(20):
    get_ipython().display_pub.session.send(None, "execute_result", {"data": {"text/plain": "3"}, "metadata": {},
        "execution_count": 1})
    publish_display_data({"text/plain": "3"})
"""


def test_forged_results_stay_where_they_were_printed(grader: Grader, exercise: Exercise) -> None:
    submitted = notebook(add=FORGED, applier="", half="")
    result = grader.grade(submitted, exercise)
    assert result.points == 0
    assert [cell.outputs[0].data["text/plain"] for cell in submitted.cells[-3:]] == ["0", "0", "0"]


def test_the_answer_is_not_in_the_library(grade: Any) -> None:
    result = grade(add="import workbook.sandbox.kernel\n" + GOOD["add"])
    assert states(result) == "failed passed passed"
    assert grade(add="import workbook.bench, workbook.sandbox\n" + GOOD["add"]).points == 9


def test_nothing_of_the_course_can_be_read(grade: Any, exercise: Exercise) -> None:
    look = """
import os, sys
def add(a, b):
    seen = []
    systems = ('/proc', '/sys', '/usr', sys.prefix)
    secrets = ('ch01_ex9_sums', 'acceptance.py', 'judge.py', '.git')
    for folder, folders, files in os.walk('/'):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in systems]
        seen += [name for name in files + folders if name in secrets]
    return [seen, sorted(os.environ), sys.argv, os.path.exists(%r)]
"""
    said = message(grade(add=look % str(exercise.root)), "adds")
    assert "got [[], [" in said, said
    assert said.endswith("False]"), said


def test_the_seed_is_not_in_the_workers_memory(grader: Grader, exercise: Exercise) -> None:
    look = """
import re
def add(a, b):
    found = 0
    with open('/proc/self/maps') as maps, open('/proc/self/mem', 'rb', 0) as memory:
        for line in maps:
            place = re.match(r'(\\w+)-(\\w+) rw', line)
            if place:
                start, end = (int(part, 16) for part in place.groups())
                try:
                    memory.seek(start)
                    found += memory.read(end - start).count(%r[::-1].encode())
                except (OSError, ValueError, OverflowError):
                    pass
    return found
"""
    # The text that is looked for stands in the cell backwards, or it would find itself.
    with Grader(seed="a seed that nobody knows 8c1f") as other:
        found = message(other.grade(notebook(add=look % other.seed[::-1]), exercise), "adds")
        planted = other.grade(notebook(first=f"known = '{other.seed}'", add=look % other.seed[::-1]), exercise)
    assert found.endswith("got 0"), found
    assert not message(planted, "adds").endswith("got 0"), "the search finds what is there"


def test_nothing_of_one_submission_reaches_the_next(grade: Any) -> None:
    start = "import pathlib, workbook\nplaces = [pathlib.Path(f, 'left') for f in ('/tmp', '/workspace', '/dev/shm')]\n"
    leave = f"{start}for place in places: place.touch()\nworkbook.left = 1"
    find = f"{start}def add(a, b): return [hasattr(workbook, 'left')] + [place.exists() for place in places]"
    assert grade(first=leave).points == 9
    assert message(grade(add=find), "adds").endswith("got [False, False, False, False]")
    assert message(grade(first=leave, add=find), "adds").endswith("got [True, True, True, True]")


def test_files_of_a_submission_lie_in_its_workspace(grader: Grader, exercise: Exercise) -> None:
    submitted = notebook(add="from helper.sums import add")
    result = grader.grade(submitted, exercise, files={"helper/sums.py": GOOD["add"].encode()})
    assert result.points == 9


def test_callbacks_cross_from_a_thread_and_not_from_a_fork(grade: Any) -> None:
    thread = """
from concurrent.futures import ThreadPoolExecutor
class Applier:
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def apply(self, function, x):
        with ThreadPoolExecutor(1) as pool: return pool.submit(function, x).result()
"""
    assert grade(applier=thread).points == 9
    fork = thread.replace(
        "with ThreadPoolExecutor(1) as pool: return pool.submit(function, x).result()",
        """
        import os
        reading, writing = os.pipe()
        if os.fork() == 0:
            try: function(x)
            except RuntimeError as error: os.write(writing, str(error).encode())
            os._exit(0)
        os.wait()
        return os.read(reading, 1000).decode()""",
    )
    assert "only in the process" in message(grade(applier=fork), "applies")


LEFT = """
import ctypes, os, socket, time
class Applier:
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def apply(self, function, x):
        {body}
        return function(x)
"""
LEAVING = {
    "a process without a name": (
        "if os.fork() == 0: ctypes.CDLL(None).prctl(15, b''); time.sleep(60)", "process without a name"
    ),
    "a process of an unreadable name": (
        "if os.fork() == 0: ctypes.CDLL(None).prctl(15, b'\\xff\\xfe'); time.sleep(60)", "process ??"
    ),
    "a socket of an unreadable name": (
        "socket.socket(socket.AF_UNIX).bind(b'/tmp/\\xff')", "socket /tmp/?"
    ),
    "many sockets": ("[socket.socket(socket.AF_UNIX).bind(f'/tmp/{n}') for n in range(900)]", "and 890 more"),
    "one that is always another": (
        "if os.fork() == 0:\n"
        "            while True:\n"
        "                try: os.fork() and os._exit(0)\n"
        "                except OSError: time.sleep(0.01)",
        "left behind: ",
    ),
    "an orphan": (
        "if os.fork() == 0:\n            if os.fork(): os._exit(0)\n            time.sleep(60)", "process python"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LEAVING)
def test_what_is_left_behind_is_seen_and_named(grader: Grader, tmp_path: Path, case: str) -> None:
    folder = tmp_path / "solutions" / "ch01_ex9_left"
    folder.mkdir(parents=True)
    body = ACCEPTANCE.replace("with work.new", "with work.nothing_left(), work.new").replace("seconds=3", "seconds=20")
    (folder / "acceptance.py").write_text(body)
    nbformat.write(notebook(), folder / "ch01_ex9_left.ipynb")
    exercise = Exercise(folder)
    code, said = LEAVING[case]
    submitted = notebook(applier=LEFT.format(body=code))
    result = grader.grade(submitted, exercise)
    assert states(result) == "passed failed passed"
    assert "left behind: " in message(result, "applies")
    assert said in message(result, "applies")
    nbformat.writes(submitted).encode()
    assert grader.grade(notebook(), exercise).points == 9


def test_a_cell_that_takes_too_long_keeps_what_it_has_defined(grader: Grader, exercise: Exercise) -> None:
    slow = GOOD["applier"] + "\nimport time; time.sleep(600)"
    assert states(grader.grade(notebook(applier=slow), exercise)) == "passed passed passed"
    wrong = grader.grade(notebook(applier=slow, add="def add(a, b): return 0"), exercise, only=["adds", "applies"])
    assert states(wrong) == "failed passed", "one failure is not the cause of another"


def test_all_cells_together_have_a_limit(grader: Grader, exercise: Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autograder.grading.NOTEBOOK_TIMEOUT", 2)
    result = grader.grade(notebook(first="import time; time.sleep(600)"), exercise)
    assert states(result) == "failed failed failed"
    assert "the cells took longer than 2 s together" in message(result, "adds")


def test_a_forged_handle_is_no_answer(grade: Any) -> None:
    forge = """
def add(a, b):
    import gc
    line = next(item for item in gc.get_objects() if type(item).__name__ == 'HostLine')
    line.send({"id": 1, "handle": 3})
    return a + b
"""
    assert "malformed" in message(grade(add=forge), "adds")


def test_a_call_of_a_function_that_was_never_lent_breaks_the_protocol(grade: Any) -> None:
    """The wire's inner end cannot ask for that: it is the notebook that speaks."""
    flood = """
def add(a, b):
    import gc
    line = next(item for item in gc.get_objects() if type(item).__name__ == 'HostLine')
    while True:
        line.send({"callback": 0, "arguments": [], "keywords": {}})
        line.receive(None)
"""
    result = grade(add=flood)
    assert "broke the protocol: a call of a function that was never lent" in message(result, "adds")
    assert states(result).split()[-1] == "passed", "only that criterion is lost"


def test_some_of_the_criteria(grader: Grader, exercise: Exercise) -> None:
    result = grader.grade(notebook(), exercise, only=["adds", "applies"])
    assert [verdict.criterion for verdict in result.verdicts] == ["adds", "applies"]
    assert result.max_points == 7


def test_graded_cells_and_criteria_must_be_the_same(exercise: Exercise, tmp_path: Path) -> None:
    folder = tmp_path / "solutions" / exercise.name
    folder.mkdir(parents=True)
    (folder / "acceptance.py").write_text(ACCEPTANCE)
    whole = notebook()

    def points_of(cells: list[Any]) -> None:
        nbformat.write(new_notebook(cells=cells), folder / f"{exercise.name}.ipynb")
        _ = Exercise(folder).points

    with pytest.raises(ExerciseError, match="criteria without a graded cell: halves"):
        points_of(whole.cells[:-1])
    with pytest.raises(ExerciseError, match="several graded cells"):
        points_of([*whole.cells, graded("adds")])
    other = graded("adds")
    other.metadata.nbgrader.grade_id = "more"
    with pytest.raises(ExerciseError, match="graded cells without a criterion: more"):
        points_of([*whole.cells, other])


TENSORS = '''
"""Criteria."""
import torch
from autograder.acceptance import criterion, equal

PRELOAD = ("torch",)


@criterion(hint="Row by row.")
def adds(work, rng):
    """`add(a, b)` adds, in the dtype of its arguments, and leaves these as they were."""
    made = torch.Generator().manual_seed(rng.randrange(2**32))
    for dtype in (torch.bfloat16, torch.float32, torch.int64):
        a, b = (torch.randint(-100, 100, (3, 5), generator=made).to(dtype) for _ in range(2))
        equal(work.call("add", a.t(), b.t()), (a + b).t())
'''


def test_tensors_cross_bit_by_bit(grader: Grader, tmp_path: Path) -> None:
    folder = tmp_path / "solutions" / "ch01_ex9_tensors"
    folder.mkdir(parents=True)
    (folder / "acceptance.py").write_text(TENSORS)
    exercise = Exercise(folder)

    def graded_with(answer: str) -> Grade:
        submitted = new_notebook(cells=[new_code_cell(answer), graded("adds")])
        nbformat.write(submitted, exercise.notebook)
        return grader.grade(submitted, exercise)

    assert graded_with("def add(a, b): return a + b").points == 3
    assert "expected tensor" in graded_with("def add(a, b): return (a + b).float()").verdicts[0].message
    subclass = "import torch\ndef add(a, b): return torch.nn.Parameter((a + b).float())"
    assert "type Parameter cannot be passed" in graded_with(subclass).verdicts[0].message


def test_what_is_left_running_is_named(grader: Grader, exercise: Exercise) -> None:
    assert grader.grade(notebook(), exercise).points == 9
    assert grader.left_running() == []
    with grader._server(exercise).box() as box:
        assert any(f"pid={box.pid}" in process for process in grader.left_running())
