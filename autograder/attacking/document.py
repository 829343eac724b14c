"""Writes the tables of attacks and defences into a document: `python -m autograder.attacking.document REPORT DOCUMENT`.

The report is what `autograder matrix --attacks --json` prints; the document has a line `<!-- attacks -->` before and a
line `<!-- end of attacks -->` behind the tables.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from autograder.attacking.defences import DEFENCES
from autograder.files import write_atomically

BEGIN, END = "<!-- attacks -->", "<!-- end of attacks -->"


def tables(report: Mapping[str, Any]) -> str:
    """Returns the tables, in Markdown, of an AttackReport as JSON data."""
    return "\n".join([*_attacks(report["outcomes"]), "", *_defences()])


def inserted(document: str, text: str) -> str:
    """Returns a document with the text in the place of the tables that it has.

    Raises:
        ValueError: It has no such place.
    """
    before, begin, rest = document.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the document has no lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def _attacks(outcomes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield "| attack | on | what it wants | stopped by | empty | reference |"
    yield "|---|---|---|---|---|---|"
    names = dict.fromkeys(outcome["attack"] for outcome in outcomes)
    for name in sorted(names):
        of = [outcome for outcome in outcomes if outcome["attack"] == name]
        shapes = ", ".join(dict.fromkeys(outcome["shape"] for outcome in of))
        empty, reference = (", ".join(_ends(of, answer)) for answer in ("empty", "reference"))
        yield f"| `{name}` | {shapes} | {of[0]['goal']} | {of[0]['stopped_by']} | {empty} | {reference} |"


def _ends(outcomes: Iterable[Mapping[str, Any]], answer: str) -> Iterator[str]:
    """Yields what points were left, by exercise; once where it is all the same."""
    of = [outcome for outcome in outcomes if outcome["answer"] == answer]
    ends = [_end(outcome) for outcome in of]
    yield from dict.fromkeys(ends) if len(set(ends)) == 1 else ends


def _end(outcome: Mapping[str, Any]) -> str:
    if not outcome["holds"]:
        return "**does not hold**"
    if outcome["points"] == outcome["max_points"]:
        return "all"
    return "some" if outcome["points"] else "none"


def _defences() -> Iterator[str]:
    yield "| defence | what it is | the test that fails without it |"
    yield "|---|---|---|"
    for name, defence in DEFENCES.items():
        yield f"| {name} | {defence.about} | `{defence.test}` |"


def main() -> None:
    """Reads the report, and writes the document."""
    report, document = Path(sys.argv[1]), Path(sys.argv[2])
    text = tables(json.loads(report.read_text(encoding="utf-8")))
    write_atomically(document, inserted(document.read_text(encoding="utf-8"), text))


if __name__ == "__main__":
    main()
