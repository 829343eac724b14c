"""Machine code beside the source lines that it comes from, as text and for a notebook."""

import html
import itertools
import linecache
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from workbook.gpu.loops import Loop
from workbook.gpu.resources import MEMORY, TENSOR
from workbook.gpu.sass import Instruction, Kernel, Place

Only = Literal["all", "memory", "tensor", "spills"]
Order = Literal["source", "program"]

_WIDTH = 60  # characters of a source line that text shows
_SPILLS = {"LDL", "STL"}
_STYLE = """<style>
.sass-listing { max-height: 40em; overflow: auto; }
.sass-listing table { border-collapse: collapse; font-family: monospace; font-size: 0.85em; color: inherit; }
.sass-listing td { text-align: left; vertical-align: top; padding: 0.1em 0.6em; border-top: 1px solid #8884;
  white-space: pre; background: none; }
.sass-listing td.number { text-align: right; opacity: 0.6; }
.sass-listing .memory { background: #3b82f633; }
.sass-listing .tensor { background: #22c55e44; }
.sass-listing .spill { background: #ef444455; }
.sass-listing .loop { border-left: 3px solid #a855f7; padding-left: 0.5em; }
.sass-listing .once { border-left: 3px solid transparent; padding-left: 0.5em; }
</style>"""


@dataclass(frozen=True)
class Group:
    """Instructions that come from one line.

    Attributes:
        line: Its number; None where the machine code does not say.
        text: The line itself; empty where it is not at hand.
        instructions: May be none.
    """

    line: int | None
    text: str
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, repr=False)
class Listing:
    """Source lines and their instructions. A notebook shows it as a table in colours, `print` as text.

    Instructions of the main loop have a bar beside them; accesses to memory are blue, the tensor cores green, spills
    red.

    Attributes:
        groups: From top to bottom.
        loop: Addresses of the instructions in the main loop.
    """

    groups: tuple[Group, ...]
    loop: frozenset[int]

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """All that are shown, in this order."""
        return tuple(itertools.chain.from_iterable(group.instructions for group in self.groups))

    def __str__(self) -> str:
        lines = []
        for group in self.groups:
            code = [
                f"{'|' if each.address in self.loop else ' '} {each.address:05x}  {each}" for each in group.instructions
            ]
            for number, instruction in enumerate(code or [""]):
                text = "" if number else f"{group.line if group.line is not None else '?':>4}  {group.text[:_WIDTH]}"
                lines.append(f"{text:<{_WIDTH + 6}}  {instruction}".rstrip())
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = []
        for group in self.groups:
            code = "".join(map(self._html, group.instructions))
            number = "?" if group.line is None else group.line
            rows.append(f'<tr><td class="number">{number}</td><td>{html.escape(group.text)}</td><td>{code}</td></tr>')
        return f'{_STYLE}<div class="sass-listing"><table>{"".join(rows)}</table></div>'

    def _html(self, instruction: Instruction) -> str:
        place = "loop" if instruction.address in self.loop else "once"
        code = html.escape(f"{instruction.address:05x}  {instruction}")
        return f'<div class="{place}"><span class="{_kind(instruction)}">{code}</span></div>'


def _kind(instruction: Instruction) -> str:
    if instruction.name in _SPILLS:
        return "spill"
    if instruction.name in TENSOR:
        return "tensor"
    return "memory" if instruction.name in MEMORY else "other"


def listing(
    kernel: Kernel,
    instructions: Iterable[Instruction],
    text: "Text",
    only: Only,
    order: Order,
    loop: Loop | None,
) -> Listing:
    """Lays out instructions of a kernel beside its source.

    Args:
        kernel: Theirs.
        instructions: Which to show.
        text: The source, or the PTX.
        only: A kind of instruction.
        order: That of the source lines, or that of the program.
        loop: The main loop, to be marked.
    """
    wanted = {"memory": MEMORY.keys(), "tensor": TENSOR.keys(), "spills": _SPILLS}
    if only != "all" and only not in wanted:
        raise ValueError(f'only={only!r}: choose "all", "memory", "tensor" or "spills"')
    if order not in ("source", "program"):
        raise ValueError(f'order={order!r}: choose "source" or "program"')
    chosen = [each for each in instructions if only == "all" or each.name in wanted[only]]
    if order == "program":
        pieces = itertools.groupby(chosen, lambda each: text.place(kernel, each))
        found = [Group(place.line if place else None, text.line(place), tuple(each)) for place, each in pieces]
    else:
        found = _by_line(kernel, chosen, text)
    return Listing(tuple(found), frozenset(each.address for each in loop.instructions) if loop else frozenset())


def _by_line(kernel: Kernel, instructions: Sequence[Instruction], text: "Text") -> list[Group]:
    of_place: dict[Place, list[Instruction]] = {}
    unknown = []
    for each in instructions:
        if (place := text.place(kernel, each)) is None:
            unknown.append(each)
        else:
            of_place.setdefault(place, []).append(each)
    found = [Group(None, "", tuple(unknown))] if unknown else []
    places = sorted(of_place, key=lambda place: place.line)
    for place, following in itertools.zip_longest(places, places[1:]):
        found.append(Group(place.line, text.line(place), tuple(of_place[place])))
        if (
            following is not None and following.line - place.line <= _NEAR
        ):  # lines of which nothing was made, for context
            between = (Place(place.file, line) for line in range(place.line + 1, following.line))
            found += [Group(each.line, text.line(each), ()) for each in between if text.line(each)]
    return found


_NEAR = 5  # lines; what lies between lines that are further apart is left out


class Text(Protocol):
    """What machine code is shown beside."""

    def place(self, kernel: Kernel, instruction: Instruction) -> Place | None:
        """Returns the line that an instruction comes from, None where that is not known."""

    def line(self, place: Place | None) -> str:
        """Returns a line without the space at its end; empty where it is not at hand."""


class PtxText:
    """PTX, whose lines the machine code knows."""

    def __init__(self, ptx: str) -> None:
        self._lines = ptx.splitlines()

    def place(self, _kernel: Kernel, instruction: Instruction) -> Place | None:  # noqa: D102
        return None if instruction.ptx is None else Place("", instruction.ptx)

    def line(self, place: Place | None) -> str:  # noqa: D102
        line = _numbered(self._lines, place)
        return "" if line.lstrip().startswith((".loc", "//")) else line


class SourceText:
    """What was compiled, whose lines are those that the compiler counted; or, where that is not at hand, the file."""

    def __init__(self, source: str) -> None:
        self._lines = source.splitlines()

    def place(self, kernel: Kernel, instruction: Instruction) -> Place | None:  # noqa: D102
        return kernel.place(instruction)

    def line(self, place: Place | None) -> str:  # noqa: D102
        if self._lines or place is None:
            return _numbered(self._lines, place)
        return linecache.getline(place.file, place.line).rstrip().expandtabs(4)


def _numbered(lines: Sequence[str], place: Place | None) -> str:
    return lines[place.line - 1].rstrip().expandtabs(4) if place and 1 <= place.line <= len(lines) else ""
