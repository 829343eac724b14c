"""`autograder doctor`."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

HELP = """Try each layer of the sandbox on this machine with a live probe, and say what is missing.

A box is made for each layer; code inside it tries what the layer should prevent, and this machine looks at it from
outside.

Exit status: 0 if every layer holds, 1 if one does not.

With --json, stdout has one object: "holds", and "probes", a list of objects with "layer" (its name), "ok" (whether it
holds), "detail" (what was seen) and "remedy" (what to do where it does not hold; may be empty).
"""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False) -> None:
    """Tries each layer of the sandbox."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from workbook.sandbox.isolation.probes import probe

    with Console(stderr=True).status("trying each layer"):
        probes = probe()
    holds = all(found.ok for found in probes)
    if as_json:
        sys.stdout.write(json.dumps({"holds": holds, "probes": [asdict(found) for found in probes]}, indent=2) + "\n")
    else:
        table = Table("layer", "holds", "what was seen", box=None, pad_edge=False)
        for found in probes:
            remedy = f" ({found.remedy})" if found.remedy and not found.ok else ""
            answer = Text("yes", "green") if found.ok else Text("no", "red")
            table.add_row(found.layer, answer, Text(found.detail + remedy))
        console = Console()
        (console if console.is_terminal else Console(width=160)).print(table)
    raise typer.Exit(0 if holds else 1)
