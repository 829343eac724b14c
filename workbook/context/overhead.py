"""What keeping a context costs a step, beside the model and the tools."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from workbook.context.agent_context import AgentContext, Task


@dataclass(frozen=True)
class Overhead:
    """What steps cost at one length of the context.

    Attributes:
        messages: messages in the context when the measurement began.
        seconds: what each measured step took: append a reply and an observation, recite, render, list the messages.
        rendered: bytes that each of these steps turned from messages into text.
    """

    messages: int
    seconds: list[float]
    rendered: list[int]


def step(context: AgentContext, number: int) -> None:
    """Takes one step of an agent, without the model and the tool.

    Args:
        context: of the agent.
        number: of the step; stands in what is appended.
    """
    path = f"notes/{number:04}.txt"
    context.add_assistant(f'{{"tool": "file_read", "arguments": {{"path": "{path}"}}}}')
    context.add_observation({"lines": number, "text": "a line of it " * 20}, tool="file_read", path=path)
    context.recite([Task("read all notes", done=False), Task("say what they have in common")], f"Step {number}.")


def measure(messages: int = 1000, steps: int = 100, look: Callable[[AgentContext], object] | None = None) -> Overhead:
    """Measures steps on a context that has `messages` messages already.

    Args:
        messages: before the first measured step.
        steps: how many are measured.
        look: what else is done with the context in each; None renders it as bytes and as a list of messages.
    """
    context = AgentContext("You look after notes.")
    done = 0
    while len(context) < messages:
        step(context, done)
        done += 1
    seconds, rendered = [], []
    for number in range(done, done + steps):
        before, start = context.rendered_bytes, time.perf_counter()
        step(context, number)
        if look is None:
            context.render()
            context.messages()
        else:
            look(context)
        seconds.append(time.perf_counter() - start)
        rendered.append(context.rendered_bytes - before)
    return Overhead(messages, seconds, rendered)
