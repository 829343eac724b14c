"""`python -m workbook.context`: profiles, diagnoses and conversions, their JSON, and what bad input gets."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from workbook.context.__main__ import app
from workbook.context.convert import from_exchanges
from workbook.context.profiler import profile_trace
from workbook.context.trace import read_trace, write_trace

ROOT = Path(__file__).parents[2]
TRACE = ROOT / "data/traces/repository-agent.jsonl"
SYSTEM, TASK = {"role": "system", "content": "It is 10:00:01. Help."}, {"role": "user", "content": "Go."}
LATER = {"role": "system", "content": "It is 10:00:02. Help."}
DONE = {"role": "assistant", "content": "done"}
USAGE = {"prompt_tokens": 40, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 16}}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def lines(path: Path, *entries: Any) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


@pytest.fixture
def exchanges(tmp_path: Path) -> Path:
    """Two steps of one run; the second breaks at a time stamp."""
    answer = {"choices": [{"message": DONE}], "usage": USAGE}
    return lines(
        tmp_path / "log.jsonl",
        {"run": "a", "request": {"messages": [SYSTEM, TASK]}, "response": answer},
        {"run": "a", "request": {"messages": [LATER, TASK, DONE, TASK]}, "response": answer},
    )


def test_the_recorded_trace_is_profiled(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run("profile", TRACE, "--model", "claude-sonnet-4-5", "--on", "2026-11-01", "--page", page)
    assert done.exit_code == 0
    assert str(profile_trace(read_trace(TRACE)).metrics.hit_rate) in done.stdout
    assert "claude-sonnet-4-5, 2026-11-01" in done.stdout
    assert page.read_text().count("<table>") >= 4
    assert "data:image/png" in page.read_text()


def test_a_profile_as_json_has_the_engines_numbers(exchanges: Path) -> None:
    done = run("profile", exchanges, "--model", "gpt-5", "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 0
    assert found["hit_rate"] == {"part": 32, "whole": 80, "value": 0.4}
    assert found["mean_context"] == 40
    assert found["cost"] == pytest.approx(sum(step["cost"] for step in found["steps"]))
    assert found["steps"][0]["broke"] is None
    broke = found["steps"][1]["broke"]
    assert (broke["message"], broke["cause"]) == (0, "time stamp")
    assert "end of the context" in broke["advice"]
    assert found["stickiness"] == {"part": 0, "whole": 0, "value": None}
    help_text = run("profile", "--help").stdout
    assert all(field in help_text for field in found)
    assert all(field in help_text for field in found["steps"][0].keys() - {"messages", "reusable_tokens", "replayed"})


def test_steps_are_shown_where_asked_for(exchanges: Path) -> None:
    assert "message 0, system): time stamp" in run("profile", exchanges, "--steps").stdout


def test_a_cut_trace_is_profiled_and_said_to_be_cut(tmp_path: Path) -> None:
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(TRACE.read_bytes()[:200_000])
    done = run("profile", cut, "--json")
    assert done.exit_code == 0
    assert "was cut after" in done.stderr
    assert "was cut after" in json.loads(done.stdout)["cut"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nowhere.jsonl"], 2, "No such file"),
        ([ROOT / "README.md"], 2, "README.md, line 1: a trace begins with"),
        ([TRACE, "--model", "gtp-5"], 2, "similar: gpt-5"),
        ([TRACE, "--on", "yesterday"], 2, "yesterday"),
        ([TRACE, "--blocks", "1"], 2, "two or more"),
        ([TRACE, "--blocks", "3"], 2, "of the cache's 3"),
        ([TRACE, "--page", "/nowhere/page.html"], 1, "nowhere"),
    ],
)
def test_what_cannot_be_profiled_says_why(arguments: list[object], status: int, message: str) -> None:
    done = run("profile", *arguments)
    assert done.exit_code == status
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_a_log_that_is_not_compressed_or_not_text_is_told(tmp_path: Path) -> None:
    for name, data in {
        "a.jsonl.gz": b"no gzip",
        "b.jsonl": b"\xff\xfe",
        "c.jsonl": b"",
        "d.jsonl.gz": b"\x1f\x8b",
    }.items():
        (tmp_path / name).write_bytes(data)
        done = run("profile", tmp_path / name)
        assert done.exit_code == 2, name
        assert done.stderr.startswith("error: "), name


def test_the_first_break_is_named(tmp_path: Path) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    before.write_text(json.dumps({"messages": [SYSTEM, TASK]}))
    after.write_text(json.dumps({"messages": [LATER, TASK, DONE]}))
    done = run("diagnose", before, after)
    assert done.exit_code == 1
    assert "message 0, system): time stamp" in done.stdout
    before.write_text("It is 10:00:01. Help.")
    after.write_text("It is 10:00:02. Help.")
    (broke,) = json.loads(run("diagnose", before, after, "--json").stdout)
    assert (broke["offset"], broke["message"], broke["role"]) == (13, 0, "text")
    assert ("10:00:01" in broke["was"], "10:00:02" in broke["now"]) == (True, True)


@pytest.mark.parametrize("form", ["body", "list", "lines"])
def test_what_goes_on_is_no_break(tmp_path: Path, form: str) -> None:
    forms: dict[str, Callable[[list[Any]], str]] = {
        "body": lambda messages: json.dumps({"messages": messages}),
        "list": lambda messages: json.dumps(messages, indent=1),
        "lines": lambda messages: "".join(json.dumps(one) + "\n" for one in messages),
    }
    write = forms[form]
    before, after = tmp_path / "before", tmp_path / "after"
    before.write_text(write([SYSTEM, TASK]))
    after.write_text(write([SYSTEM, TASK, DONE]))
    done = run("diagnose", before, after)
    assert (done.exit_code, done.stdout) == (0, "no break: after begins with all of before\n")
    assert json.loads(run("diagnose", before, after, "--json").stdout) == []
    assert run("diagnose", after, before).exit_code == 1


def test_all_breaks_are_named_where_asked_for(tmp_path: Path) -> None:
    other = {"role": "user", "content": "Stop."}
    before, after = lines(tmp_path / "b", SYSTEM, TASK, DONE), lines(tmp_path / "a", LATER, other, DONE)
    assert len(json.loads(run("diagnose", before, after, "--json").stdout)) == 1
    assert [one["message"] for one in json.loads(run("diagnose", before, after, "--all", "--json").stdout)] == [0, 1]
    assert run("diagnose", before, tmp_path / "nowhere").exit_code == 2


def test_a_log_becomes_a_trace_once(exchanges: Path, tmp_path: Path) -> None:
    out = tmp_path / "trace.jsonl.gz"
    done = run("convert", exchanges, out)
    assert done.exit_code == 0
    assert "2 requests" in done.stdout
    expected = from_exchanges(exchanges.read_text(), name=exchanges.name)
    assert read_trace(out) == expected
    again = run("convert", exchanges, out)
    assert (again.exit_code, read_trace(out)) == (1, expected)
    assert "exists" in again.stderr
    copy = tmp_path / "copy.jsonl"
    assert run("convert", out, copy).exit_code == 0
    assert read_trace(copy) == expected
    conversations = lines(tmp_path / "talk.jsonl", {"messages": [SYSTEM, TASK, DONE]})
    write_trace(out, expected)
    assert run("convert", conversations, tmp_path / "talk.trace").stdout.startswith(f"wrote {tmp_path}/talk.trace: 1 ")
    assert run("convert", ROOT / "README.md", tmp_path / "x").exit_code == 2
    assert run("convert", exchanges, tmp_path / "no" / "x").exit_code == 1


def test_it_is_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workbook.context", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Usage: python -m workbook.context")


def test_half_of_a_surrogate_pair_can_be_printed(tmp_path: Path) -> None:
    for name, text in (("a", {"\ud83d": "\ud83d one"}), ("b", {"b": "two \ud83d"})):
        (tmp_path / name).write_text(json.dumps([{"role": "user", "content": text}]))
    for more in ([], ["--json"]):
        done = run("diagnose", str(tmp_path / "a"), str(tmp_path / "b"), *more)
        assert done.exit_code == 1
        assert "ud83d" in done.stdout
