"""Messages that can be read and not changed: what was sent stays what it was.

A context hands out its messages at each step. Copies of a thousand dicts would cost more than all the rest of a step;
the messages themselves, open to change, would let anybody edit history without a trace.
"""

from typing import Any, NoReturn


def freeze(value: Any) -> Any:
    """Returns plain JSON data with its dicts and lists read-only, all the way down."""
    if isinstance(value, dict):
        return FrozenDict({key: freeze(item) for key, item in value.items()})
    if isinstance(value, list):
        return FrozenList([freeze(item) for item in value])
    return value


def thaw(value: Any) -> Any:
    """Returns a copy made of ordinary dicts and lists."""
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    return [thaw(item) for item in value] if isinstance(value, list) else value


def _refuse(*_: object, **__: object) -> NoReturn:
    raise TypeError("what is in the context stays as it is: append a correction, or change a copy (dict(message))")


class _Frozen:
    """What the two have in common: a copy, by whatever means, is an ordinary one that may be changed."""

    def __copy__(self) -> Any:
        return thaw(self)

    def __deepcopy__(self, memo: object) -> Any:
        return thaw(self)

    def __reduce__(self) -> Any:
        return type(thaw(self)), (thaw(self),)

    def copy(self) -> Any:
        """Returns a copy that may be changed."""
        return thaw(self)


class FrozenDict(_Frozen, dict[str, Any]):
    """A dict that refuses to be changed."""

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse


class FrozenList(_Frozen, list[Any]):
    """A list that refuses to be changed."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = extend = insert = remove = pop = clear = sort = reverse = _refuse
