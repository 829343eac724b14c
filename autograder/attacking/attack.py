"""An attack: a file in `autograder/attacks/`, a transformation of an answer to an exercise into a hostile submission.

Comments at its top say what it is:

    # goal: blank all later cells, so that no check can fail
    # kind: harness
    # stopped by: judged from outside
    # reference: keeps

`kind` is `harness` where it goes at what is around the judge (files, notebooks, boxes), and `judge` where it goes at
the questions and answers. `stopped by` names the defence, see `defences`. Applied to the empty answer an attack must
earn nothing. Applied to the reference it `keeps` all points (it changes nothing that counts), `loses` some, has
`nothing` left, or may do any of it (`any`). `says` is a text that the verdicts, the outputs or the report on the
submission must then hold. `raises` is the exception that ends its own code, if one does. `shapes` names the shapes of
exercises that it is for, where it is not for all: `object`, `tensor`, `kernel`. `changes` says what the kernels that it
changes are written in, `triton` or `cuda`: it is for exercises that have such, and the reference then has no others.

Then come parts, each after a line `# %% <part>`. Hostile code, executed in the box, in cells of the student's own:

    before      ahead of all other cells
    after       behind all answers

Code of this repository, executed by the harness, which makes the submission hostile from outside:

    notebook    changes `notebook`, the submission as JSON data
    folder      changes the submission's `folder`, in which the notebook lies already

All of them know `NAMES` (what the answers define), `KERNELS` (those that are lifted), `CRITERIA` (ids), `HIDDEN`
(modules that the box lacks), `PLACES` (paths of this machine by what is there: see `ground`), and `MARKER`, a word that
must turn up nowhere outside the box. An attack that has reached its goal prints `got` and the marker. Hostile code has
what is in `prelude` besides; `notebook` has `edit_kernels(change)`, which has a function change the syntax tree of each
Triton kernel, `edit_cuda(change)`, which has one change each text in CUDA C, and `into_kernels(code)`, such a function:
it puts code at the beginning of each kernel in the text, where `z` and `n` are known.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from autograder.attacking.defences import DEFENCES
from autograder.exercises import Exercise, Language

Kind = Literal["harness", "judge"]
Shape = Literal["object", "tensor", "kernel"]
Reference = Literal["keeps", "loses", "nothing", "any"]

ATTACKS = Path(__file__).parents[1] / "attacks"

_NEEDED = {"goal", "kind", "stopped by", "reference"}
_KEYS = _NEEDED | {"says", "raises", "shapes", "changes"}
_PARTS = {"before", "after", "notebook", "folder"}


class AttackError(Exception):
    """An attack's file is not as it must be."""


@dataclass(frozen=True)
class Attack:
    """An attack.

    Attributes:
        name: Of its file.
        goal: What it wants.
        kind: What it goes at.
        stopped_by: The defence that it fails at.
        reference: What becomes of the reference's points.
        says: What must be said of it; may be empty.
        raises: What ends its own code; empty for nothing.
        shapes: The shapes of exercises that it is for.
        changes: What the kernels that it changes are written in; empty if it changes none.
        parts: Its code, by where it goes.
    """

    name: str
    goal: str
    kind: Kind
    stopped_by: str
    reference: Reference
    says: str
    raises: str
    shapes: tuple[Shape, ...]
    changes: Language | Literal[""]
    parts: dict[str, str]

    def fits(self, exercise: Exercise) -> bool:
        """Returns whether it is for an exercise."""
        return exercise.shape in self.shapes and (not self.changes or self.changes in exercise.languages)


def attacks(folder: Path = ATTACKS) -> list[Attack]:
    """Returns all attacks, by name.

    Raises:
        AttackError: One is not as it must be.
    """
    return [read_attack(path) for path in sorted(folder.glob("*.py"))]


def read_attack(path: Path) -> Attack:
    """Reads an attack.

    Raises:
        AttackError: It is not as it must be.
    """
    head, *rest = re.split(r"^# %% ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    header = dict(_header(head, path))
    if not _NEEDED <= header.keys() <= _KEYS:
        raise AttackError(f"{path.name} must say at its top: {', '.join(f'# {key}: …' for key in sorted(_NEEDED))}")
    parts = {name: code.strip() + "\n" for name, code in (part.split("\n", 1) for part in rest)}
    if not parts or not parts.keys() <= _PARTS or len(parts) < len(rest):
        raise AttackError(f"{path.name} has the parts {', '.join(parts)}: each may be there once, of {sorted(_PARTS)}")
    shapes = tuple(header.get("shapes", ", ".join(get_args(Shape))).split(", "))
    if header["stopped by"] not in DEFENCES:
        raise AttackError(f"{path.name} is stopped by {header['stopped by']}, which is none of {', '.join(DEFENCES)}")
    said = [(header["kind"], Kind), (header["reference"], Reference), *((one, Shape) for one in shapes)]
    if changes := header.get("changes", ""):
        said.append((changes, Language))
    for value, allowed in said:
        if value not in get_args(allowed):
            raise AttackError(f"{path.name} says {value}: it may be one of {', '.join(get_args(allowed))}")
    return Attack(
        name=path.stem,
        goal=header["goal"],
        kind=header["kind"],  # type: ignore[arg-type]  # checked above
        stopped_by=header["stopped by"],
        reference=header["reference"],  # type: ignore[arg-type]
        says=header.get("says", ""),
        raises=header.get("raises", ""),
        shapes=shapes,  # type: ignore[arg-type]
        changes=changes,  # type: ignore[arg-type]
        parts=parts,
    )


def _header(head: str, path: Path) -> Iterator[tuple[str, str]]:
    for line in head.strip().splitlines():
        found = re.fullmatch(r"# ([a-z ]+): (.+)", line)
        if not found:
            raise AttackError(f"{path.name}: its top has the line {line!r}, which is no `# key: value`")
        yield found[1], found[2]
