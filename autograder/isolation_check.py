"""Refuses to grade where the sandbox lacks a layer that it needs, unless somebody accepts that."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbook.sandbox.isolation.probes import Probe

ACCEPT = "--accept-weak-isolation"
"""The option that accepts it; nbgrader's is `SandboxedAutograde.accept_weak_isolation`."""

_all_hold = False  # as this process has found


class WeakIsolationError(Exception):
    """A needed layer does not hold, or no box can be made at all. Names each, and the way to get it."""


def check_isolation(*, accept_weak: bool) -> list[str]:
    """Tries each layer of the sandbox, unless this process has found before that all of them hold.

    Args:
        accept_weak: Go on where a layer does not hold.

    Returns:
        The names of the needed layers that do not hold.

    Raises:
        WeakIsolationError: There are some, and that is not accepted; or no box can be made, which cannot be accepted.
    """
    from workbook.sandbox.isolation.probes import SANDBOX, probe

    global _all_hold  # noqa: PLW0603  # a machine does not change while it holds; where it does not, somebody may mend it
    if _all_hold:
        return []
    missing = [found for found in probe() if found.needed and not found.ok]
    if any(found.layer == SANDBOX for found in missing):
        raise WeakIsolationError(f"grading needs a sandbox for students' code: {_way(missing[0])}")
    if missing and not accept_weak:
        lines = [f"    {found.layer}: {_way(found)}" for found in missing]
        raise WeakIsolationError(
            "grading is refused: on this machine a layer of the sandbox for students' code does not hold.\n"
            + "\n".join(lines)
            + f"\n    {ACCEPT} grades all the same, and every report says so; for nbgrader,\n"
            "    SandboxedAutograde.accept_weak_isolation does. `autograder doctor` shows all layers."
        )
    _all_hold = not missing
    return [found.layer for found in missing]


def weakness(layers: Sequence[str]) -> str:
    """Says in a report that these layers did not hold; empty where there are none."""
    return (
        f"Graded with weak isolation: these layers of the sandbox did not hold: {', '.join(layers)}." if layers else ""
    )


def _way(found: "Probe") -> str:
    return f"{found.detail} ({found.remedy})" if found.remedy else found.detail
