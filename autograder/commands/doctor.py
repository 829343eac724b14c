"""`autograder doctor`."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

HELP = """Try each layer of the sandbox on this machine with a live probe, and say what is missing.

A box is made for each layer; code inside it tries what the layer should prevent, and this machine looks at it from
outside.

A layer is not needed where another stands in for it: for an ordinary user, user namespaces for user IDs, and where no
control group can be made, a watchdog for those. It is weaker, and the table says how. Where a needed layer does not
hold, grading is refused.

Exit status: 0 if every needed layer holds, 1 if one does not.

With --json, stdout has one object: "holds", whether every needed layer does, and "probes", a list of objects with
"layer" (its name), "ok" (whether it holds), "detail" (what was seen), "remedy" (what to do where it does not hold; may
be empty) and "needed" (whether grading needs it on this machine).
"""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False) -> None:
    """Tries each layer of the sandbox."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from workbook.sandbox.isolation.probes import probe

    with Console(stderr=True).status("trying each layer"):
        probes = probe()
    missing = [found.layer for found in probes if found.needed and not found.ok]
    if as_json:
        sys.stdout.write(
            json.dumps({"holds": not missing, "probes": [asdict(found) for found in probes]}, indent=2) + "\n"
        )
    else:
        table = Table("layer", "holds", "what was seen", box=None, pad_edge=False)
        for found in probes:
            no = Text("no", "red") if found.needed else Text("not needed", "yellow")
            remedy = f" ({found.remedy})" if found.remedy and not found.ok else ""
            table.add_row(found.layer, Text("yes", "green") if found.ok else no, Text(found.detail + remedy))
        console = Console()
        console = console if console.is_terminal else Console(width=160)
        console.print(table)
        needed = sum(found.needed for found in probes)
        says = (
            f"grading is refused: {', '.join(missing)}"
            if missing
            else f"each layer that is needed here holds: {needed}"
        )
        console.print(f"\n{says}", markup=False, highlight=False)
    raise typer.Exit(1 if missing else 0)
