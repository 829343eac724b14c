"""Records an agent on this repository's files, as in `data/traces/`: `python -m workbook.context.record OUT`.

An agent works through four tasks over a copy of this repository's own text files, each task a run, the runs taking
turns. **The tools are real, and so is what they answer; the decisions are a script's** (`workbook.context.scripts`): no
model was asked, so the trace has no usage and its responses took no time worth noting.
"""

import argparse
import io
import json
import random
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbook.context.file_tools import DEFINITIONS, FileTools, ToolError
from workbook.context.recorder import Recorder, RunRecorder
from workbook.context.scripts import SCRIPTS, Decision, Observation, Script

ABOUT = (
    "An agent on this repository's own text files, four tasks as four runs that take turns. Tools, files, answers, "
    "errors and tool times are real. The decisions are not a model's: a seeded script made them from what the tools "
    "answered, its mistakes on purpose. No model ran, so there is no usage, and the times of responses mean nothing."
)
SYSTEM = (
    "You work on the text files of a repository. Call one tool at a time, read what it answers, and go on until the "
    "task is done; then answer in a sentence. Keep a list of what is to be done, and notes in notes/."
)
TOPICS = ("README.md", "CONTRIBUTING.md", "Makefile", "docs", "workbook")
SUFFIXES = {".md", ".py", ""}


def copy_texts(root: Path, target: Path) -> None:
    """Copies what the agent may see: the text files of the topics, as the last commit has them."""
    command = ["git", "archive", "--format=tar", "HEAD", *TOPICS]
    packed = subprocess.run(command, cwd=root, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        for member in archive:
            # Its own package would have the agent read its own script.
            if Path(member.name).suffix in SUFFIXES and not member.name.startswith("workbook/context/"):
                archive.extract(member, target, filter="data")
    (target / "notes").mkdir()


def record(out: Path, root: Path, seed: int, *, tasks: tuple[str, ...] = tuple(SCRIPTS), timeout: float = 3.0) -> None:
    """Runs the agent and records it.

    Args:
        out: The trace, which must not exist.
        root: The folder that the agent works in; it may write below notes/.
        seed: Draws what the scripts leave to chance, and whose turn it is.
        tasks: Which scripts run.
        timeout: Seconds that a program of the agent's may take.

    Raises:
        FileExistsError: There is such a file.
    """
    tools, rng = FileTools(root, timeout), random.Random(seed)
    source = {
        "command": "python -m workbook.context.record",
        "seed": seed,
        "decisions": "scripted",
        "python": sys.version.split()[0],
        "licence": "Apache-2.0 (code) and CC BY 4.0 (text), as the repository itself",
    }
    with Recorder(out, name="repository-agent", about=ABOUT, source=source | _commit()) as recorder:
        agents = {}
        for task in tasks:
            text = (SCRIPTS[task].__doc__ or task).strip()
            run = recorder.run(text, agent="scripted")
            agents[run] = _work(run, SCRIPTS[task](random.Random(f"{seed} {task}")), text, tools)
        while agents:
            run = rng.choice(list(agents))
            if next(agents[run], None) is None:
                del agents[run]


def _work(run: RunRecorder, script: Script, task: str, tools: FileTools) -> Iterator[int]:
    """Takes one step of a run after another."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": task}]
    observation: Observation | None = None
    step = 0
    while True:
        request, step = run.request(messages, tools=DEFINITIONS, model="script"), step + 1
        try:
            decision = next(script) if observation is None else script.send(observation)
        except StopIteration as done:
            said: dict[str, Any] = {"role": "assistant", "content": done.value}
            run.response(request, 0.0, message=said)
            run.end()
            return
        call = f"call_{step:03}"
        arguments = json.dumps(decision.arguments, ensure_ascii=False)
        function = {"name": decision.tool, "arguments": arguments}
        said = {
            "role": "assistant",
            "content": decision.thought,
            "tool_calls": [{"id": call, "type": "function", "function": function}],
        }
        run.response(request, 0.0, message=said)
        observation = _call(run, tools, decision, call)
        messages += [said, {"role": "tool", "tool_call_id": call, "content": observation.text}]
        yield step


def _call(run: RunRecorder, tools: FileTools, decision: Decision, call: str) -> Observation:
    """Runs a tool; one that took too long is tried once more, under the same call id."""
    tool = run.tool(
        decision.tool,
        tools.names()[decision.tool],
        call=call,
        describe=str,
        files=lambda **arguments: tools.files(decision.tool, arguments),
    )
    for attempt in (1, 2):
        try:
            return Observation(True, tool(**decision.arguments))
        except ToolError as error:
            if attempt == 2 or not str(error).startswith("TimeoutError"):
                return Observation(False, f"error: {error}")
    raise AssertionError("the second attempt returns")


def _commit() -> dict[str, str]:
    command = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return {"commit": done.stdout.strip()} if done.returncode == 0 else {}


def main() -> None:
    """Records one trace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the trace to write; it must not exist")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository (default: here)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        copy_texts(options.root, Path(folder))
        record(options.out, Path(folder), options.seed)
    print(f"wrote {options.out}, {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
