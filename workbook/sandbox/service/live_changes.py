"""What a box's supervisor says of changed files, which is its code's word: taken where it is of the right types."""

from typing import Any

_KINDS = {"file", "folder", "link"}


def checked(said: Any) -> dict[str, Any] | None:
    """Returns what has changed as `workspace.Workspace.changes` returns it; None where there was too much to look at.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: It is nothing that a supervisor says.
    """
    if said is None:
        return None
    return {
        "changed": [_entry(one) for one in said["changed"]],
        "removed": [_of(path, str) for path in said["removed"]],
    }


def _entry(said: dict[str, Any]) -> dict[str, Any]:
    kind, mode, size = _of(said["kind"], str), _of(said["mode"], int), _of(said["size"], int)
    if kind not in _KINDS or not 0 <= mode <= 0o7777 or size < 0:
        raise ValueError(f"nothing in a workspace is a {kind!r}, of {size} bytes, with such permissions")
    return {
        "path": _of(said["path"], str),
        "kind": kind,
        "mode": mode,
        "size": size,
        "target": _of(said["target"], str),
    }


def _of(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"a {kind.__name__} was to come, and no {type(value).__name__}")
    return value
