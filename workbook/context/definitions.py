"""Tool definitions as a context holds them: sorted by name, a line of canonical JSON each."""

from collections.abc import Mapping, Sequence
from typing import Any

from workbook.context.canonical import canonical


def opening(system: str, tools: Mapping[str, str]) -> str:
    """Returns the text of the system message: the prompt, and a line of JSON for each tool."""
    return "\n".join([system, "", "Tools:", *tools.values()]) if tools else system


def sorted_tools(tools: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Returns each definition as a line of JSON, by name, sorted."""
    named: dict[str, str] = {}
    for tool in tools:
        inner = tool.get("function")
        name = (inner if isinstance(inner, Mapping) else tool).get("name")
        if not isinstance(name, str) or not name:
            raise ValueError(f"a tool definition has a name, and this one has none: {canonical(tool)}")
        if name in named:
            raise ValueError(f"two tools are called {name!r}")
        named[name] = canonical(tool)
    return dict(sorted(named.items()))
