"""Which byte broke the prefix, in which message, and why.

    found = diagnose(before, after)
    print(found)    # None, or: byte 71 (message 0, system): time stamp. …

The cache of an engine is a cache of beginnings: a request reuses what its bytes share with an earlier one, up to the
first that differs. `diagnose` finds that byte in any two renderings of a context and says what its likely cause is; the
causes are heuristics over the words at the place, so each comes with what stood there and stands there now.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from workbook.context.causes import Cause, Finding, distinct, findings
from workbook.context.parts import Part, Rendering, parts, shared

ADVICE = {
    Cause.TIME: "say it at the end of the context, or not at all",
    Cause.ORDER: "serialize with sorted keys (and sort what came from a set or a folder)",
    Cause.ID: "keep ids out of the beginning; give them to the tools, or say them at the end",
    Cause.EDITED: "append a correction instead; what has been sent stays as it was",
    Cause.TOOLS: "keep all definitions, in one order, and mask those that may not be called now",
    Cause.COUNTER: "say it at the end of the context, or not at all",
    Cause.FORMAT: "serialize in one place, with fixed separators and escapes",
    Cause.UNICODE: "take text as it comes, or normalize it once, before it is first sent",
}
_EXCERPT = 80


@dataclass(frozen=True)
class Break:
    """Where a rendering stops being the beginning of the next one.

    Attributes:
        offset: the first byte that differs, counted from the start of the earlier rendering.
        message: the message in which it lies, counted from 0; None where it lies in the tool definitions.
        role: that message's role; "tools" for definitions, "text" where the rendering names no roles.
        cause: the likely cause of this byte.
        detail: what happened, in a few words.
        was: what stood there, cut to 80 characters.
        now: what stands there now, cut likewise.
        also: further causes in the same message, in the order in which they appear.
    """

    offset: int
    message: int | None
    role: str
    cause: Cause
    detail: str
    was: str
    now: str
    also: tuple[Cause, ...] = ()

    @property
    def place(self) -> str:
        """The byte and the message, in words."""
        where = "the tool definitions" if self.message is None else f"message {self.message}, {self.role}"
        return f"byte {self.offset:,} ({where})"

    def to_dict(self) -> dict[str, object]:
        """Returns the break for JSON, with the advice."""
        return {**asdict(self), "cause": str(self.cause), "also": [*map(str, self.also)], "advice": ADVICE[self.cause]}

    def __str__(self) -> str:
        also = f" (then: {', '.join(self.also)})" if self.also else ""
        changed = f"{self.was!r} became {self.now!r}"
        return f"{self.place}: {self.cause}{also}. {self.detail}: {changed}. Better: {ADVICE[self.cause]}."


class PrefixBroken(ValueError):  # noqa: N818  named by what happened
    """What was sent is not the beginning of what would be sent now, so the cache is lost from that byte on.

    Attributes:
        found: the byte, the message and the likely cause.
    """

    def __init__(self, found: Break) -> None:
        self.found = found
        super().__init__(f"the prefix breaks at {found}")


def diagnose(before: Rendering, after: Rendering) -> Break | None:
    """Returns the first break; None where `before` is the beginning of `after`.

    Args:
        before: what was sent: text, bytes, a list of messages or a request body (`workbook.context.parts`).
        after: what is sent now, in the same form.
    """
    if isinstance(before, str | bytes) and isinstance(after, str | bytes) and after[: len(before)] == before:
        return None
    found = _breaks(parts(before), parts(after), first=True)
    return found[0] if found else None


def diagnose_all(before: Rendering, after: Rendering) -> list[Break]:
    """Returns a break for each message that differs, in order: what is left to mend after the first one.

    Messages that went or came are one break, and what follows them is compared with its counterpart.
    """
    return _breaks(parts(before), parts(after), first=False)


def check(before: Rendering, after: Rendering) -> None:
    """Does nothing where `before` is the beginning of `after`.

    Raises:
        PrefixBroken: It is not.
    """
    found = diagnose(before, after)
    if found is not None:
        raise PrefixBroken(found)


def _breaks(before: Sequence[Part], after: Sequence[Part], *, first: bool) -> list[Break]:
    found: list[Break] = []
    i = j = offset = 0
    while i < len(before):
        old, new = before[i], after[j] if j < len(after) else None
        grown = new is not None and i == len(before) - 1 and old.role == "text" and new.raw.startswith(old.raw)
        skipped, came = 1, 1
        if new is None or (old.raw != new.raw and not grown):
            one, skipped, came = _compare(before[i:], after[j:], offset)
            found.append(one)
            if first:
                return found
        offset += sum(len(part.raw) for part in before[i : i + skipped])
        i, j = i + skipped, j + came
    return found


def _compare(before: Sequence[Part], after: Sequence[Part], offset: int) -> tuple[Break, int, int]:
    """Returns the break at the first of these parts, and how many parts of either side it takes."""
    old = before[0]
    if not after:
        lost = f"the rendering ends here; {len(before)} messages of the earlier one are gone"
        return _break(offset, old, [_history(lost, old, None)]), len(before), 0
    new = after[0]
    common = shared(old.raw, new.raw)
    if (old.index is None) != (new.index is None):
        gone = old.index is None
        detail = "all tool definitions went" if gone else "tool definitions came"
        part = old if gone else new
        one = Finding(Cause.TOOLS, detail, old.text, new.text)
        return _break(offset + common, part, [one]), int(gone), int(not gone)
    found = _in_place(old, new)
    moved = _moved(before, after)
    # A window that slides puts a result in the place of another, and the two may differ in a number alone: where all
    # that follows stands where the move would have put it, it is the move.
    if moved is not None and (found[0].cause is Cause.EDITED or _explains(before, after, moved)):
        detail, skipped, came = moved
        return _break(offset + common, old, [_history(detail, old, new)]), skipped, came
    return _break(offset + common, old, found), 1, 1


def _in_place(old: Part, new: Part) -> list[Finding]:
    if old.role != new.role:
        return [_history(f"the role {old.role} became {new.role}", old, new)]
    if old.index is None:
        found = findings(old.text, new.text)
        return [replace(one, cause=Cause.TOOLS) if one.cause is Cause.EDITED else one for one in found]
    return (
        findings(old.text, new.text)
        or findings(old.raw.decode(errors="replace"), new.raw.decode(errors="replace"))
        or [_history("bytes that are not UTF-8 differ", old, new)]
    )


def _moved(before: Sequence[Part], after: Sequence[Part]) -> tuple[str, int, int] | None:
    """Says how messages moved, where what follows shows that some went or came; None where it shows neither."""
    old, new = [part.raw for part in before], [part.raw for part in after]
    size = min(len(old), len(new))
    if size > 1 and old[:size] != new[:size] and sorted(old[:size]) == sorted(new[:size]):
        return "the same messages in another order", size, size
    if new[0] in old[1:]:
        gone = old.index(new[0], 1)
        return f"{gone} messages that had been sent are gone", gone, 0
    if old[0] in new[1:]:
        came = new.index(old[0], 1)
        return f"{came} messages came before one that had been sent", 0, came
    return None


def _explains(before: Sequence[Part], after: Sequence[Part], moved: tuple[str, int, int]) -> bool:
    """Says whether nothing else differs, as far as both sides reach, once the messages have moved."""
    _, skipped, came = moved
    pairs = list(zip(before[skipped:], after[came:], strict=False))
    return all(old.raw == new.raw for old, new in pairs)


def _history(detail: str, old: Part, new: Part | None) -> Finding:
    return Finding(Cause.EDITED, detail, old.text, new.text if new else "")


def _break(offset: int, part: Part, found: Sequence[Finding]) -> Break:
    first = found[0]
    also = tuple(cause for cause in distinct(found) if cause is not first.cause)
    # JSON may say half of a surrogate pair, which nothing can print.
    role, detail, was, now = (
        text.encode(errors="backslashreplace").decode()
        for text in (part.role, first.detail, *_excerpts(first.was, first.now))
    )
    return Break(offset, part.index, role, first.cause, detail, was, now, also)


def _excerpts(was: str, now: str) -> tuple[str, str]:
    """Cuts both around the first character that differs."""
    start = max(0, shared(was, now) - _EXCERPT // 2)
    cut = [text if len(text) <= _EXCERPT else text[start : start + _EXCERPT] for text in (was, now)]
    return cut[0], cut[1]
