"""An agent loop: a model that answers in constrained JSON, and the tools that carry out what it asks for.

The loop is the usual one (ReAct, Yao et al. 2023, arXiv:2210.03629, section 2): the model writes one action, the
program carries it out, the observation goes back as a user message, until the model writes an answer or the steps run
out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from workbook.sandbox.client import Session
    from workbook.sandbox.kernel import Kernel
    from workbook.serving import LLM, Reply

Message = dict[str, str]

PARTS = ("model", "parsing", "tool")
"""What a step's time goes to."""

MAX_STRING = 200
"""Longest string, in characters, that a model may write into a reply: what it repeats forever, it repeats no longer."""

MAX_OBSERVATION = 2000
"""Longest observation, in characters: what a tool gives back is paid for in every later prompt."""


@dataclass(frozen=True)
class Tool:
    """Something a model may ask for: `run(**arguments)` returns the observation as text.

    Attributes:
        name: what the model calls it.
        parameters: JSON Schema of each argument, by name; all are required.
        run: carries the call out. What it raises goes back to the model as text.
    """

    name: str
    parameters: dict[str, dict[str, Any]]
    run: Callable[..., str]

    @property
    def arguments_schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments object."""
        return _object(self.parameters)


def kernel_tools(kernel: Kernel, workspace: Path, timeout: float = 10.0) -> list[Tool]:
    """Returns `python`, `read_file` and `write_file`: a kernel, and the files of the folder in which it works.

    Args:
        kernel: carries out `python`; its working directory should be `workspace`.
        workspace: the only folder that the file tools touch; a path that leaves it is refused.
        timeout: seconds that one cell may take.
    """
    root = workspace.resolve()

    def inside(path: str) -> Path:
        full = (root / path).resolve()
        if not full.is_relative_to(root):
            raise PermissionError(f"{path} is outside the workspace")
        return full

    def python(code: str) -> str:
        return kernel.execute(code, timeout=timeout).text

    def read_file(path: str) -> str:
        return inside(path).read_text(encoding="utf-8")

    def write_file(path: str, content: str) -> str:
        inside(path).write_text(content, encoding="utf-8")
        return f"saved {path}"

    return _tools(python, read_file, write_file)


def sandbox_tools(session: Session, timeout: float = 10.0) -> list[Tool]:
    """Returns the same three tools as `kernel_tools`, which live in a session of the sandbox's service.

    Args:
        session: carries all of them out; its workspace is all the files there are.
        timeout: seconds that one cell may take.
    """

    def python(code: str) -> str:
        return session.execute(code, timeout=timeout).text

    def read_file(path: str) -> str:
        return session.filesystem.read_text(path)

    def write_file(path: str, content: str) -> str:
        session.filesystem.write(path, content)
        return f"saved {path}"

    return _tools(python, read_file, write_file)


def _tools(python: Callable[..., str], read_file: Callable[..., str], write_file: Callable[..., str]) -> list[Tool]:
    """Returns the three tools as a model sees them: the same, wherever they live."""
    text = {"type": "string", "maxLength": MAX_STRING}
    return [
        Tool("python", {"code": text}, python),
        Tool("read_file", {"path": text}, read_file),
        Tool("write_file", {"path": text, "content": text}, write_file),
    ]


def reply_schema(tools: Sequence[Tool]) -> dict[str, Any]:
    """Returns the JSON Schema of a reply: a call of one of `tools` with its own arguments, or an answer."""
    calls = [_object({"tool": {"const": tool.name}, "arguments": tool.arguments_schema}) for tool in tools]
    return {"anyOf": [*calls, _object({"answer": {"type": "string", "maxLength": MAX_STRING}})]}


def call(tool: str, **arguments: str) -> str:
    """Returns the reply that calls `tool`, as the model is to write it."""
    return json.dumps({"tool": tool, "arguments": arguments})


def answer(text: str) -> str:
    """Returns the reply that ends a task, as the model is to write it."""
    return json.dumps({"answer": text})


def observation(tool: str, result: str) -> str:
    """Returns what a tool gave back, as the next user message.

    It names its tool: in the chapter a small model that sees a bare result loses count of the steps that it has taken.
    """
    return json.dumps({"tool": tool, "result": result}, ensure_ascii=False)


@dataclass(frozen=True)
class Step:
    """One turn of the loop.

    Attributes:
        reply: what the model wrote, with its token counts.
        tool: the tool that it called; None where it answered or where its reply could not be read.
        observed: what went back to it; empty after an answer.
        seconds: wall time by part: `model`, `parsing` and, where one ran, `tool`.
    """

    reply: Reply
    tool: str | None
    observed: str
    seconds: dict[str, float]


@dataclass
class Transcript:
    """What happened on the way to an answer. `answer` is None where the steps ran out first."""

    task: str
    steps: list[Step] = field(default_factory=list)
    answer: str | None = None

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time of all steps by part."""
        return {part: sum(step.seconds.get(part, 0.0) for step in self.steps) for part in PARTS}

    def plot(self, machine: str) -> Axes:
        """Draws what each part of each step took, in milliseconds on a log scale.

        Args:
            machine: where it was measured; stands in the title.
        """
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(9, 0.8 + 0.6 * len(self.steps)), layout="constrained")
        height = 0.26
        for offset, part in enumerate(PARTS):
            places = [index + offset * height for index in range(len(self.steps))]
            values = [1000 * step.seconds.get(part, 0.0) for step in self.steps]
            bars = axes.barh(places, values, height, label=part)
            labels = [f"{value:,.0f} ms" if value >= 10 else f"{value:.2g} ms" if value else "" for value in values]
            axes.bar_label(bars, labels, padding=3, fontsize=8)
        axes.set_xscale("log")
        axes.set_yticks([index + height for index in range(len(self.steps))], [s.tool or "answer" for s in self.steps])
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xlabel("milliseconds (log scale)")
        axes.set_title(f"{self.task}\n(on {machine})", fontsize=10)
        figure.legend(loc="outside right upper")
        return axes

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("", "the model wrote", "it got back", "prompt", "of it cached"))
        rows = "".join(
            f"<tr><td>{number}</td><td style='text-align:left'><code>{escape(step.reply.text)}</code></td>"
            f"<td style='text-align:left'><code>{escape(step.observed)}</code></td><td>{step.reply.prompt_tokens}</td>"
            f"<td>{'not counted' if step.reply.cached_tokens is None else step.reply.cached_tokens}</td></tr>"
            for number, step in enumerate(self.steps, 1)
        )
        end = "no answer: the steps ran out" if self.answer is None else f"answer: <b>{escape(self.answer)}</b>"
        return f"<b>{escape(self.task)}</b><table><tr>{head}</tr>{rows}</table>{end}"

    def __str__(self) -> str:
        lines = [self.task]
        for number, step in enumerate(self.steps, 1):
            lines.append(f"{number}. {step.reply.text}")
            lines += [f"   <- {step.observed}"] if step.observed else []
        return "\n".join([*lines, "no answer: the steps ran out" if self.answer is None else f"answer: {self.answer}"])


def solve(
    llm: LLM,
    task: str,
    tools: Sequence[Tool],
    *,
    history: Sequence[Message] = (),
    max_steps: int = 8,
    observe: Callable[[str, str], str] = observation,
) -> Transcript:
    """Runs the loop until the model answers or `max_steps` are spent.

    Args:
        llm: any engine of `workbook.serving`; its replies are held to `reply_schema(tools)`.
        task: the user's message.
        tools: what the model may call.
        history: messages before the task: a system prompt, worked examples.
        max_steps: replies that the model may write.
        observe: writes `(tool, result)` as the next user message.

    Returns:
        The transcript. A reply that cannot be read and a tool that fails are observations like any other: the model
        sees them and may recover.
    """
    by_name = {tool.name: tool for tool in tools}
    schema = reply_schema(tools)
    validator = jsonschema.Draft202012Validator(schema)
    messages = [*history, {"role": "user", "content": task}]
    transcript = Transcript(task)
    for _ in range(max_steps):
        reply = llm.chat(messages, schema=schema, max_tokens=MAX_STRING)
        started = time.perf_counter()
        action, problem = _parse(reply.text, validator)
        seconds = {"model": reply.seconds, "parsing": time.perf_counter() - started}
        if "answer" in action:
            transcript.steps.append(Step(reply, None, "", seconds))
            transcript.answer = action["answer"]
            break
        tool = action.get("tool")
        started = time.perf_counter()
        result = _carry_out(by_name[tool], action["arguments"]) if tool else problem
        seconds["tool"] = time.perf_counter() - started
        transcript.steps.append(Step(reply, tool, observe(tool or "none", result), seconds))
        messages.append({"role": "assistant", "content": reply.text})
        messages.append({"role": "user", "content": transcript.steps[-1].observed})
    return transcript


def _parse(text: str, validator: jsonschema.Draft202012Validator) -> tuple[dict[str, Any], str]:
    """Returns the action in a reply and an empty text, or an empty action and what is wrong with the reply."""
    try:
        action: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as error:
        return {}, f"Error: the reply is not JSON: {error}"
    wrong = next(validator.iter_errors(action), None)
    if wrong is not None:
        return {}, f"Error: the reply is neither a tool call nor an answer: {wrong.message}"
    return action, ""


def _carry_out(tool: Tool, arguments: dict[str, Any]) -> str:
    try:
        result = tool.run(**arguments)
    except Exception as error:  # noqa: BLE001  a tool may raise anything; the model is told, the loop goes on
        result = f"Error: {type(error).__name__}: {error}"
    return result if len(result) <= MAX_OBSERVATION else result[:MAX_OBSERVATION] + " … [truncated]"


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
