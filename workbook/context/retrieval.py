"""The tool that gives back what was moved out of the context: byte ranges, lines, and lines that hold a text.

What it returns is bounded, says where it stands in the whole, and how to get the rest; the pieces joined are what was
stored, byte for byte.
"""

import base64
from collections.abc import Mapping
from typing import Any

from workbook.context.canonical import canonical
from workbook.context.memory import Memory, MemoryFailure, split_lines

RETRIEVE: dict[str, Any] = {
    "name": "memory_retrieve",
    "description": (
        "Returns an observation that was moved to a file, or a part of it. Give its ref; then either a range of bytes "
        "(start, end), a range of lines (first_line, last_line, counted from 1), or a text to find (contains)."
    ),
    "parameters": {
        "type": "object",
        "properties": {
            "ref": {"type": "string"},
            "start": {"type": "integer", "minimum": 0},
            "end": {"type": "integer", "minimum": 0},
            "first_line": {"type": "integer", "minimum": 1},
            "last_line": {"type": "integer", "minimum": 1},
            "contains": {"type": "string", "minLength": 1},
        },
        "required": ["ref"],
        "additionalProperties": False,
    },
}
"""The tool's definition, for a context's tools."""

_NUMBERS = ("start", "end", "first_line", "last_line")
_MIN_LIMIT = 16


class Retrieval:
    """Carries out `memory_retrieve`.

    Args:
        memory: where the observations are.
        limit: most bytes of an observation that one call returns.
    """

    def __init__(self, memory: Memory, limit: int = 2000) -> None:
        if limit < _MIN_LIMIT:
            raise ValueError(f"limit must be {_MIN_LIMIT} bytes or more, not {limit}")
        self.memory = memory
        self.limit = limit

    def run(self, arguments: Mapping[str, Any]) -> str:
        """Returns what the model asked for as canonical JSON; a wrong call is answered with `{"error": …}`.

        Args:
            arguments: what the model wrote, as `RETRIEVE["parameters"]` has it.
        """
        try:
            return canonical(self._answer(arguments))
        except (MemoryFailure, ValueError, TypeError) as error:
            # A model may write half of a surrogate pair, and read of it here.
            return canonical({"error": str(error).encode(errors="backslashreplace").decode()})

    def bytes_of(self, ref: str, start: int = 0, end: int | None = None) -> dict[str, Any]:
        """Returns bytes `start` to `end` (not included), at most `limit` of them.

        Returns:
            `bytes` (the range that this is), `of` (the size of the whole), and `text`, or `base64` where the range is
            not UTF-8. The next range starts where this one ends.

        Raises:
            MemoryFailure: There is no such observation, or it is damaged.
            ValueError: The range is none.
        """
        data = self.memory.read(ref)
        end = len(data) if end is None else min(end, len(data))
        if not 0 <= start <= end:
            raise ValueError(f"bytes {start} to {end} are no range of the {len(data):,} bytes of {ref}")
        return self._piece(data, start, min(end, start + self.limit))

    def lines_of(self, ref: str, first: int = 1, last: int | None = None) -> dict[str, Any]:
        """Returns lines `first` to `last` (included, counted from 1), as many as `limit` holds.

        Returns:
            As `bytes_of`, and `lines` (the first and the last of these lines) and `of_lines`. Where the first line
            alone is longer than `limit` it is cut, `last` is the one before it, and `bytes` say where to read on.

        Raises:
            MemoryFailure: There is no such observation, or it is damaged.
            ValueError: The range is none.
        """
        data = self.memory.read(ref)
        lines = split_lines(data)
        last = len(lines) if last is None else min(last, len(lines))
        if not 1 <= first <= max(last, 1) or (first > len(lines) and first > 1):
            raise ValueError(f"lines {first} to {last} are no range of the {len(lines):,} lines of {ref}")
        start = end = sum(map(len, lines[: first - 1]))
        whole = first - 1
        for line in lines[first - 1 : last]:
            if end + len(line) - start > self.limit:
                break
            end += len(line)
            whole += 1
        if whole == first - 1 and lines:
            end = start + min(self.limit, len(lines[first - 1]))
        return {**self._piece(data, start, end), "lines": [first, whole], "of_lines": len(lines)}

    def find(self, ref: str, contains: str) -> dict[str, Any]:
        """Returns the lines that hold a text, as many as `limit` holds.

        Returns:
            `matches` (each with the number of its `line`, the byte at which its text starts, `at`, and the `text`: the
            line, or what of a long one stands around the match), `found` (how many lines match in all) and
            `of_lines`.

        Raises:
            MemoryFailure: There is no such observation, or it is damaged.
            ValueError: The text is empty.
        """
        if not contains:
            raise ValueError("the text to find is empty")
        wanted = contains.encode()
        data = self.memory.read(ref)
        lines = split_lines(data)
        matches: list[dict[str, Any]] = []
        found = start = 0
        room = self.limit
        for number, line in enumerate(lines, 1):
            place = line.find(wanted)
            if place >= 0:
                found += 1
                excerpt, offset = _around(line, place, len(wanted), max(len(wanted), self.limit // 4))
                if len(excerpt) <= room:
                    piece = excerpt.decode(errors="replace")
                    matches.append({"at": start + offset, "line": number, "text": piece})
                room -= len(excerpt)
            start += len(line)
        return {"found": found, "matches": matches, "of_lines": len(lines)}

    def whole(self, ref: str) -> bytes:
        """Returns all of an observation by calls of the tool, piece by piece: what the model could do."""
        data, size = b"", None
        while size is None or len(data) < size:
            piece = self.bytes_of(ref, start=len(data))
            data += piece["text"].encode() if "text" in piece else base64.b64decode(piece["base64"])
            size = piece["of"]
        return data

    def _answer(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(arguments, Mapping):
            raise TypeError(f"the arguments must be an object, not {type(arguments).__name__}")
        unknown = set(arguments) - set(RETRIEVE["parameters"]["properties"])
        if unknown:
            raise ValueError(f"memory_retrieve has no {', '.join(sorted(unknown))}")
        ref, contains = arguments.get("ref"), arguments.get("contains")
        if not isinstance(ref, str):
            raise TypeError("ref must be a text: the reference of an observation")
        for key in _NUMBERS:
            if key in arguments and (not isinstance(arguments[key], int) or isinstance(arguments[key], bool)):
                raise TypeError(f"{key} must be a whole number, not {arguments[key]!r}")
        ways = [bool({"start", "end"} & set(arguments)), bool({"first_line", "last_line"} & set(arguments))]
        if sum([*ways, contains is not None]) > 1:
            raise ValueError("give either start and end, or first_line and last_line, or contains")
        if contains is not None:
            if not isinstance(contains, str):
                raise TypeError(f"contains must be a text, not {contains!r}")
            return self.find(ref, contains)
        if ways[1]:
            return self.lines_of(ref, arguments.get("first_line", 1), arguments.get("last_line"))
        return self.bytes_of(ref, arguments.get("start", 0), arguments.get("end"))

    def _piece(self, data: bytes, start: int, end: int) -> dict[str, Any]:
        shown = _whole_characters(data, start, end)
        try:
            return {"bytes": [start, shown], "of": len(data), "text": data[start:shown].decode()}
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(data[start:end]).decode(), "bytes": [start, end], "of": len(data)}


def _whole_characters(data: bytes, start: int, end: int) -> int:
    """Moves `end` back where it would cut a UTF-8 character in two, if anything is left then."""
    for place in range(end - 1, max(start, end - 4), -1):
        if data[place] & 0xC0 != 0x80:
            size = 1 if data[place] < 0xC0 else 2 if data[place] < 0xE0 else 3 if data[place] < 0xF0 else 4
            return place if place + size > end and end < len(data) else end
    return end


def _around(line: bytes, place: int, length: int, most: int) -> tuple[bytes, int]:
    """Returns the line without its end, or `most` bytes of it around a match, and where that starts in it."""
    line = line.rstrip(b"\r\n") if place + length <= len(line.rstrip(b"\r\n")) else line
    if len(line) <= most:
        return line, 0
    start = max(0, min(place - (most - length) // 2, len(line) - most))
    while start < place and line[start] & 0xC0 == 0x80:
        start += 1
    end = _whole_characters(line, start, min(len(line), start + most))
    return line[start:end], start
