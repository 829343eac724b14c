"""The trace in data/: that it is what it says, and that the program which recorded it does that again."""

import itertools
import re
from pathlib import Path

import pytest

from workbook.context.file_tools import DEFINITIONS, FileTools, ToolError
from workbook.context.record import record
from workbook.context.trace import read_trace

ROOT = Path(__file__).parents[2]
TRACE = ROOT / "data" / "traces" / "repository-agent.jsonl"


def test_the_recorded_trace_is_long_has_errors_and_names_its_origin() -> None:
    trace = read_trace(TRACE)
    assert trace.cut is None
    assert TRACE.stat().st_size < 1_000_000
    assert len(trace.runs) == 4
    lengths = [len(trace.steps(run)) for run in trace.runs]
    assert sum(length >= 50 for length in lengths) >= 3
    errors = [tool.error for step in trace.steps() for tool in step.tools_run if tool.error]
    assert len(errors) > 10
    assert {"FileNotFoundError", "NameError", "TimeoutError", "re.error"} <= {text.partition(":")[0] for text in errors}
    assert "not a model's" in trace.header.about
    assert {"commit", "seed", "decisions", "licence", "python"} <= trace.header.source.keys()
    # Nothing of the machine it was recorded on.
    assert not re.search(r"/root/|/home/|/tmp/tmp", TRACE.read_text())


def test_every_call_is_followed_by_what_came_of_it() -> None:
    for run in read_trace(TRACE).runs:
        steps = read_trace(TRACE).steps(run)
        for step, following in itertools.pairwise(steps):
            assert step.response is not None
            assert step.response.message is not None
            said, result = following.messages[-2:]
            assert said == step.response.message
            assert said["tool_calls"][0]["id"] == result["tool_call_id"] == step.tools_run[-1].call
            assert result["content"].startswith("error: ") == (step.tools_run[-1].error is not None)
            assert following.request.keep == len(step.messages)


def folder(path: Path) -> Path:
    for name in ("workbook", "workbook/serving", "workbook/sandbox", "docs", "notes"):
        (path / name).mkdir()
    (path / "workbook" / "one.py").write_text(
        "class OneError(Exception):\n    pass\n\n\ndef f():\n    raise OneError()\n"
    )
    (path / "workbook" / "serving" / "two.py").write_text('import os\n\nos.environ["SOME_NAME"] = "1"\n')
    (path / "docs" / "page.md").write_text("See `workbook/one.py` and `docs/nothing.md`; make test.\n")
    (path / "README.md").write_text("make lint\n")
    (path / "CONTRIBUTING.md").write_text("make lint\n")
    return path


def test_recording_again_gives_the_same_trace_but_for_times(tmp_path: Path) -> None:
    texts = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        record(tmp_path / f"{number}.jsonl", folder(tmp_path / str(number)), seed=3)
        text = (tmp_path / f"{number}.jsonl").read_text()
        texts.append(re.sub(r'"(time|seconds)":[\d.e-]+|"recorded":"[^"]*"', "", text))
    assert texts[0] == texts[1]
    steps = read_trace(tmp_path / "0.jsonl").steps()
    assert {step.request.run for step in steps} == {"run-1", "run-2", "run-3", "run-4"}
    assert any(tool.error for step in steps for tool in step.tools_run)


@pytest.fixture
def tools(tmp_path: Path) -> FileTools:
    return FileTools(folder(tmp_path), timeout=1)


def test_the_tools_answer(tools: FileTools) -> None:
    assert tools.file_list("workbook").splitlines() == ["one.py  68", "sandbox/", "serving/"]
    assert tools.file_read("workbook/one.py", 5) == "   5 def f():\n   6     raise OneError()"
    assert tools.file_search("OneError", "workbook").startswith("workbook/one.py:1:class OneError(Exception):\n")
    assert tools.file_write("notes/a.md", "é") == "wrote 2 bytes to notes/a.md"
    assert tools.python_run("print(open('notes/a.md', encoding='utf-8').read() == 'é')") == "True"
    assert {one["function"]["name"] for one in DEFINITIONS} == set(tools.names())


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("file_read", {"path": "../x"}, "PermissionError: ../x is outside"),
        ("file_read", {"path": "nope.py"}, "FileNotFoundError: there is no nope.py"),
        ("file_read", {"path": "docs"}, "FileNotFoundError: docs is no file"),
        ("file_read", {"path": "README.md", "first": 9}, "IndexError: README.md has 1 lines"),
        ("file_list", {"folder": "README.md"}, "NotADirectoryError"),
        ("file_search", {"pattern": "("}, r"re.error: missing \)"),
        ("file_search", {"pattern": "zzz"}, "LookupError"),
        ("python_run", {"code": "print(x)"}, "NameError: name 'x' is not defined\nTraceback"),
        ("python_run", {"code": "while True: pass"}, "TimeoutError: the program ran for more than 1 s"),
    ],
)
def test_the_tools_fail_with_words(tools: FileTools, name: str, arguments: dict[str, str], error: str) -> None:
    with pytest.raises(ToolError, match=error):
        tools.names()[name](**arguments)
