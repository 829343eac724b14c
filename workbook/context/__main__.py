"""`python -m workbook.context`: what an agent's log shows about its context, and which byte broke the cache."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(
    help="Contexts of agents: what they cost, and what broke the prefix cache.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

PROFILE = """Profile the log of an agent: growth, cost, tools, files, and what broke the cache.

LOG is a trace (data/README.md has the format; .gz too), or a log of chat completions, one JSON object a line:
exchanges, {"request": {"messages": …}, "response": {"choices": …, "usage": …}}, or conversations, {"messages": …}.

Token counts are the engine's where the log has them. What it lacks is replayed on a model of vLLM's prefix cache, and
the summary says so.

Exit status: 0 done; 1 the page cannot be written; 2 the log cannot be read or replayed, or no price is known for the
model.

With --json, stdout has one object: name, cut, steps (one object each: run, number, request, messages, input_tokens,
cached_tokens, written_tokens, output_tokens, seconds, tool_seconds, tools, cost, broke), hit_rate, tool_success,
error_recovery, stickiness and effectiveness (each part, whole, value), mean_context, cost, prices, tools and files.
Numbers that nobody counted are null; money is in dollars.
"""

DIAGNOSE = """Say which byte broke the cache: the first one in which two renderings of a context differ.

BEFORE is what was sent, AFTER what was sent next: each a request body, a list of messages, JSON lines with a message
each, ChatML, or any other text. A request body and a list are compared message by message, and bytes counted as a chat
template has them: tool definitions first, no bracket that closes the list.

Exit status: 0 AFTER begins with all of BEFORE; 1 it does not; 2 a file cannot be read.

With --json, stdout has a list with an object for each break: offset, message, role, cause, detail, was, now, also,
advice; with --all one for each message that differs.
"""

CONVERT = """Make a trace of a log of chat completions (see `profile`): what was sent again stands in it once.

Exit status: 0 done; 1 OUT cannot be written, or exists; 2 the log cannot be read.
"""


@app.callback()
def _options() -> None:
    """Contexts of agents."""


@app.command(help=PROFILE)
def profile(
    log: Annotated[Path, typer.Argument(help="The log.")],
    model: Annotated[str, typer.Option(help="Whose prices: a name as requests have it (claude-sonnet-4-5).")] = "",
    on: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day of the prices. Default: today.")
    ] = None,
    block_size: Annotated[int, typer.Option(min=1, help="Tokens in a block of the cache, for replays.")] = 16,
    blocks: Annotated[int, typer.Option(min=0, help="Blocks that it has, for replays; 0: it never evicts.")] = 0,
    page: Annotated[Path | None, typer.Option(help="Write a page with plots there.")] = None,
    steps: Annotated[bool, typer.Option("--steps", help="Show each step, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile as JSON.")] = False,
) -> None:
    """Profiles a log."""
    from workbook.context.convert import read_log
    from workbook.context.cost import UnknownModelError, find_prices
    from workbook.context.prefix_cache import OutOfBlocksError, PrefixCache
    from workbook.context.profiler import profile_trace
    from workbook.context.trace import TraceError

    try:
        prices = find_prices(model, on=on.date() if on else None) if model else None
        trace = read_log(log)
        found = profile_trace(trace, prices=prices, cache=PrefixCache(block_size, blocks or None))
    except (TraceError, UnknownModelError, OutOfBlocksError, OSError, ValueError) as error:
        _end(error, 2)
    if trace.cut:
        typer.echo(f"note: {trace.cut}", err=True)
    if page is not None:
        try:
            found.save(page)
        except OSError as error:
            _end(error, 1)
    if as_json:
        sys.stdout.write(json.dumps({**found.to_dict(), "cut": trace.cut}, ensure_ascii=False) + "\n")
        return
    typer.echo(found)
    if steps:
        typer.echo(f"\nSteps\n{found.step_table()}")


@app.command(help=DIAGNOSE)
def diagnose(
    before: Annotated[Path, typer.Argument(help="What was sent.")],
    after: Annotated[Path, typer.Argument(help="What was sent next.")],
    every: Annotated[bool, typer.Option("--all", help="Go on behind the first break.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the breaks as JSON.")] = False,
) -> None:
    """Names the byte that broke the cache."""
    from workbook.context.diagnosis import diagnose as first_break
    from workbook.context.diagnosis import diagnose_all

    try:
        old, new = before.read_bytes(), after.read_bytes()
    except OSError as error:
        _end(error, 2)
    one = first_break(old, new)
    found = diagnose_all(old, new) if every else [one] if one else []
    if as_json:
        sys.stdout.write(json.dumps([broke.to_dict() for broke in found], ensure_ascii=False) + "\n")
    else:
        for broke in found:
            typer.echo(broke)
        if not found:
            typer.echo(f"no break: {after.name} begins with all of {before.name}")
    raise typer.Exit(1 if found else 0)


@app.command(help=CONVERT)
def convert(
    log: Annotated[Path, typer.Argument(help="The log.")],
    out: Annotated[Path, typer.Argument(help="The trace to write: .jsonl or .jsonl.gz; it must not exist.")],
) -> None:
    """Makes a trace of a log."""
    from workbook.context.convert import read_log
    from workbook.context.trace import TraceError, write_trace

    try:
        trace = read_log(log)
    except (TraceError, OSError) as error:
        _end(error, 2)
    if out.exists():
        _end(f"{out} exists: name another file, or remove it", 1)
    try:
        write_trace(out, trace)
    except OSError as error:
        _end(error, 1)
    typer.echo(f"wrote {out}: {sum(1 for _ in trace.steps())} requests, {out.stat().st_size:,} bytes")


def _end(error: object, status: int) -> NoReturn:
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(status)


if __name__ == "__main__":
    app(prog_name="python -m workbook.context")
