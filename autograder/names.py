"""Finds what a name on the command line means."""

from collections.abc import Sequence


class UnknownNameError(LookupError):
    """A name on the command line is nothing that is known, or fits several."""


def pick(name: str, known: Sequence[str], kind: str) -> str:
    """Returns the name that is meant: the one that is given, or the only one that begins with it.

    Args:
        name: What was given.
        known: All names.
        kind: What they are names of: "chapter".

    Raises:
        UnknownNameError: None fits, or several; the message lists them.
    """
    fitting = [one for one in known if one == name] or [one for one in known if name and one.startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    problem = f"fits several {kind}s" if fitting else f"is no {kind}"
    raise UnknownNameError(f"'{name}' {problem}: {', '.join(fitting or known) or 'none yet'}")
