"""Two inspections side by side: what a change of the source, of an option or of the chip has changed in the code."""

from dataclasses import dataclass

from workbook.gpu.inspection import Inspection
from workbook.gpu.report import widths
from workbook.show import Table


@dataclass(frozen=True, repr=False)
class Comparison:
    """Two kernels, fact by fact. A notebook and `print` show it as a table in which what differs is marked.

    Attributes:
        first: One.
        second: The other.
        names: What to call them.
    """

    first: Inspection
    second: Inspection
    names: tuple[str, str]

    @property
    def facts(self) -> dict[str, tuple[str, str]]:
        """The values of both, by fact."""
        one, other = _facts(self.first), _facts(self.second)
        return {name: (one.get(name, "none"), other.get(name, "none")) for name in one | other}

    @property
    def changed(self) -> tuple[str, ...]:
        """The facts of which the values differ."""
        return tuple(name for name, (one, other) in self.facts.items() if one != other)

    def _table(self) -> Table:
        changed = self.changed
        rows = [(f"**{name}**" if name in changed else name, *values) for name, values in self.facts.items()]
        return Table(("", *self.names), rows)

    def __str__(self) -> str:
        changed = self.changed
        rows = [("*" if name in changed else "", name, *values) for name, values in self.facts.items()]
        return str(Table(("", "", *self.names), rows))

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return self._table()._repr_markdown_()


def compare(first: Inspection, second: Inspection, names: tuple[str, str] | None = None) -> Comparison:
    """Puts two inspections side by side.

    Args:
        first: One.
        second: The other.
        names: What to call them; where left out, the kernel and what it was assembled for.
    """
    if names is None:
        own = [f"{each.name} {each.target}" for each in (first, second)]
        names = (own[0], own[1]) if own[0] != own[1] else ("first", "second")
    return Comparison(first, second, names)


def _facts(found: Inspection) -> dict[str, str]:
    spills = found.spills
    facts = {
        "spills": f"{spills.store_bytes} bytes out, {spills.load_bytes} in" if spills else "none",
        "registers": str(found.registers),
        "local memory, bytes": str(found.stack),
        "shared memory, bytes": str(found.shared),
        "tensor cores": ", ".join(f"{number} {name}" for name, number in found.tensor.items()) or "none",
        **{kind: widths(found, kind) for kind in found.widths if not kind.startswith("local")},
    }
    if found.accesses is not None:
        facts["bank conflicts"] = str(len(found.accesses.conflicts) or "none")
        facts["uncoalesced accesses"] = str(len(found.accesses.uncoalesced) or "none")
        facts["accesses not analysable"] = str(sum(found.accesses.unknown.values()) or "none")
    if found.occupancy is not None:
        facts["occupancy"] = str(found.occupancy)
        facts["limited by"] = " and ".join(found.occupancy.limiters)
    facts["instructions"] = str(len(found.instructions))
    facts["of the main loop"] = str(len(found.main_loop.instructions)) if found.main_loop else "no loop"
    return facts
