"""The agent loop with a scripted model: what it carries out, what it sends back, when it stops."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from tests.sandbox.service.servers import needs_boxes
from workbook.sandbox import agent
from workbook.sandbox.client import SandboxClient
from workbook.sandbox.kernel import Kernel
from workbook.sandbox.launch import LocalService


class Scripted:
    """A model that says what it is told to, and remembers what it was asked."""

    def __init__(self, *replies: str) -> None:
        self.replies = iter(replies)
        self.prompts: list[list[agent.Message]] = []

    def chat(self, messages: list[agent.Message], **_: Any) -> Any:
        self.prompts.append(list(messages))
        return SimpleNamespace(text=next(self.replies), prompt_tokens=1, cached_tokens=None, seconds=0.5)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def tools(workspace: Path) -> Iterator[list[agent.Tool]]:
    with Kernel(cwd=workspace) as kernel:
        yield agent.kernel_tools(kernel, workspace)


def run(tools: list[agent.Tool], *replies: str, **options: Any) -> tuple[agent.Transcript, Scripted]:
    model = Scripted(*replies)
    return agent.solve(model, "task", tools, **options), model  # type: ignore[arg-type]


def test_tools_share_one_workspace_and_results_go_back_to_the_model(tools: list[agent.Tool], workspace: Path) -> None:
    (workspace / "in.txt").write_text("20 22")
    transcript, model = run(
        tools,
        agent.call("read_file", path="in.txt"),
        agent.call("python", code="print(sum(map(int, open('in.txt').read().split())))"),
        agent.call("write_file", path="out.txt", content="42"),
        agent.call("python", code="print(open('out.txt').read())"),
        agent.answer("done"),
    )
    assert transcript.answer == "done"
    results = [json.loads(step.observed)["result"] for step in transcript.steps[:-1]]
    assert results == ["20 22", "42", "saved out.txt", "42"]
    assert [message["content"] for message in model.prompts[-1]][2::2] == [s.observed for s in transcript.steps[:-1]]
    for earlier, later in zip(model.prompts, model.prompts[1:], strict=False):
        assert later[: len(earlier)] == earlier, "a prompt only ever grows at its end"


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("not json", "not JSON"),
        ('{"answer": "cut off', "not JSON"),
        ('{"tool": "rm", "arguments": {}}', "neither a tool call nor an answer"),
        ('{"tool": "python", "arguments": {"path": "x"}}', "neither a tool call nor an answer"),
        ("[1]", "neither a tool call nor an answer"),
        (agent.call("read_file", path="missing.txt"), "FileNotFoundError"),
        (agent.call("python", code="1 / 0"), "ZeroDivisionError"),
        (agent.call("read_file", path="../secret"), "PermissionError"),
        (agent.call("write_file", path="/tmp/escaped", content="x"), "PermissionError"),
    ],
)
def test_a_bad_step_is_an_observation_and_the_loop_goes_on(tools: list[agent.Tool], bad: str, told: str) -> None:
    transcript, model = run(tools, bad, agent.answer("recovered"))
    assert transcript.answer == "recovered"
    assert told in model.prompts[1][-1]["content"]


def test_a_link_out_of_the_workspace_is_not_followed(tools: list[agent.Tool], workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (workspace / "link").symlink_to(tmp_path)
    transcript, _ = run(tools, agent.call("read_file", path="link/secret"), agent.answer(""))
    assert "PermissionError" in transcript.steps[0].observed
    assert '"secret"' not in transcript.steps[0].observed


def test_steps_are_bounded(tools: list[agent.Tool]) -> None:
    transcript, model = run(tools, *[agent.call("python", code="1")] * 5, max_steps=3)
    assert transcript.answer is None
    assert len(transcript.steps) == len(model.prompts) == 3
    assert "no answer" in str(transcript)
    assert "no answer" in transcript._repr_html_()


def test_a_long_observation_is_cut(tools: list[agent.Tool]) -> None:
    transcript, _ = run(tools, agent.call("python", code="print('x' * 100_000)"), agent.answer(""))
    observed = transcript.steps[0].observed
    assert len(observed) < agent.MAX_OBSERVATION + 100
    assert "[truncated]" in observed


def test_a_tool_may_raise_anything() -> None:
    def fail() -> str:
        raise LookupError("no such thing")

    transcript, _ = run([agent.Tool("fail", {}, fail)], agent.call("fail"), agent.answer("ok"))
    assert "LookupError: no such thing" in transcript.steps[0].observed
    assert transcript.answer == "ok"


def test_the_schema_admits_calls_and_answers_only(tools: list[agent.Tool]) -> None:
    schema = agent.reply_schema(tools)
    for admitted in (agent.call("python", code="1"), agent.answer("x")):
        jsonschema.validate(json.loads(admitted), schema)
    for refused in ({}, {"tool": "python", "arguments": {}}, {"answer": "x", "tool": "python"}, {"answer": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(refused, schema)


def test_time_is_accounted_for_by_part(tools: list[agent.Tool]) -> None:
    transcript, _ = run(tools, agent.call("python", code="import time; time.sleep(0.2)"), agent.answer(""))
    assert transcript.seconds["model"] == 1.0, "what the replies say they took"
    assert transcript.seconds["tool"] >= 0.2 > transcript.seconds["parsing"] > 0
    axes = transcript.plot("a machine")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["python", "answer"]
    bars = [[bar.get_width() for bar in container] for container in axes.containers]
    assert bars[0] == [500, 500]
    assert bars[2][1] == 0, "an answer runs no tool"
    assert "a machine" in axes.get_title()


def test_the_transcript_shows_what_was_said_and_escapes_it(tools: list[agent.Tool]) -> None:
    transcript, _ = run(tools, agent.call("python", code="print('<b>')"), agent.answer("<i>"))
    html = transcript._repr_html_()
    assert "&lt;b&gt;" in html
    assert "&lt;i&gt;" in html
    assert "<i>" not in html


@needs_boxes
def test_tools_of_a_session_do_what_those_of_a_kernel_do(tools: list[agent.Tool]) -> None:
    with (
        LocalService("--ready", "0") as service,
        SandboxClient(service.url, service.token) as client,
        client.session() as session,
    ):
        remote = agent.sandbox_tools(session, timeout=1)
        assert agent.reply_schema(remote) == agent.reply_schema(tools)
        replies = [
            agent.call("write_file", path="in.txt", content="20 22"),
            agent.call("read_file", path="in.txt"),
            agent.call("python", code="print(sum(map(int, open('in.txt').read().split())))"),
            agent.call("python", code="1 / 0"),
            agent.answer("done"),
        ]
        there, here = run(remote, *replies)[0], run(tools, *replies)[0]
        assert [step.observed for step in there.steps] == [step.observed for step in here.steps]
        bad = [
            agent.call("read_file", path="missing.txt"),
            agent.call("read_file", path="../../etc/passwd"),
            agent.call("python", code="import time; time.sleep(60)"),
            agent.answer("recovered"),
        ]
        transcript, _ = run(remote, *bad)
        assert transcript.answer == "recovered"
        told = [step.observed for step in transcript.steps]
        assert "FileRefused" in told[0]
        assert "FileRefused" in told[1]
        assert "Error" in told[2]
