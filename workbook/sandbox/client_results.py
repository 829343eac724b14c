"""What a client of the sandbox's service gives back: results of cells, files, fetched pages. All of it is untrusted."""

import base64
import binascii
import json
from dataclasses import dataclass, field
from html import escape
from typing import Any

from workbook.sandbox.client_errors import BadAnswer, SandboxError
from workbook.sandbox.outputs import CellError, Output

_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_STATUSES = ("ok", "error", "timeout", "died")


class CellFailed(SandboxError):  # noqa: N818 - named as what it is
    """A cell did not end well; `result` has all of it."""

    def __init__(self, result: "CellResult") -> None:
        super().__init__(str(result.error or result.status), kind=result.status)
        self.result = result


@dataclass(frozen=True)
class CellResult:
    """What came of a cell.

    Attributes:
        text: What a reader of plain text sees.
        outputs: nbformat's outputs, in order.
        status: "ok"; "error", an exception; "timeout", interrupted at its deadline; "died", its process ended.
        error: Why, unless the status is "ok".
        state_lost: What earlier cells defined is gone.
        truncated: Output beyond the limits was dropped.
        seconds: That it took, by the service's clock.
        execution_count: The number beside it.
        cell: Its id in the session's log.
    """

    text: str
    outputs: list[Output] = field(repr=False)
    status: str
    error: CellError | None
    state_lost: bool
    truncated: bool
    seconds: float
    execution_count: int | None
    cell: str

    @property
    def ok(self) -> bool:
        """Whether it ended well."""
        return self.status == "ok"

    def check(self) -> "CellResult":
        """Returns itself.

        Raises:
            CellFailed: It did not end well.
        """
        if not self.ok:
            raise CellFailed(self)
        return self

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        shown = "".join(_html(output) for output in self.outputs)
        problem = "" if self.error is None or shown.endswith("<!--error-->") else _pre(str(self.error), "#b00")
        return f"<div>{shown}{problem}</div>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:  # noqa: ARG002
        return {"text/plain": self.text, "text/html": self._repr_html_()}


def result_of(answer: dict[str, Any]) -> CellResult:
    """Reads a result.

    Raises:
        BadAnswer: It is none.
    """
    error = answer.get("error")
    if error is not None:
        error = CellError(*(typed(error, name, str) for name in ("name", "message", "traceback")))
    outputs = typed(answer, "outputs", list)
    if not all(isinstance(one, dict) and isinstance(one.get("output_type"), str) for one in outputs):
        raise BadAnswer("the service has sent outputs that are none")
    count, status = answer.get("execution_count"), typed(answer, "status", str)
    if status not in _STATUSES:
        raise BadAnswer(f"the service has sent a result of the status {status[:40]!r}")
    return CellResult(
        text=typed(answer, "text", str),
        outputs=outputs,
        status=status,
        error=error,
        state_lost=typed(answer, "state_lost", bool),
        truncated=typed(answer, "truncated", bool),
        seconds=float(typed(answer, "seconds", (int, float))),
        execution_count=count if isinstance(count, int) else None,
        cell=typed(answer, "cell", str),
    )


@dataclass(frozen=True)
class FileEntry:
    """A file of a session.

    Attributes:
        name: Its name, without the folder.
        kind: "file", "folder", "link" or "other".
        size: Bytes.
        modified: Seconds since 1970.
    """

    name: str
    kind: str
    size: int
    modified: float


def entry_of(answer: object) -> FileEntry:
    """Reads an entry; BadAnswer where it is none."""
    name, kind, size = (typed(answer, *one) for one in (("name", str), ("kind", str), ("size", int)))
    return FileEntry(name, kind, size, float(typed(answer, "modified", (int, float))))


@dataclass(frozen=True)
class Fetched:
    """What a fetch has brought.

    Attributes:
        status: As 200; 0 where no response came.
        headers: By name, in small letters.
        content: The body's bytes.
        url: Where it came from, after redirects.
        attempts: How often it was tried.
        seconds: How long all took.
        truncated: Whether the body was cut off.
        error: Why no response came.
    """

    status: int
    headers: dict[str, str]
    content: bytes = field(repr=False)
    url: str
    attempts: int
    seconds: float
    truncated: bool
    error: str | None

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON; ValueError where it is none."""
        return json.loads(self.content)


def fetched_of(answer: dict[str, Any]) -> Fetched:
    """Reads what a fetch has brought; BadAnswer where it is none."""
    headers, error = typed(answer, "headers", dict), answer.get("error")
    return Fetched(
        status=typed(answer, "status", int),
        headers={str(name): str(value) for name, value in headers.items()},
        content=unpacked(typed(answer, "body_base64", str)),
        url=typed(answer, "url", str),
        attempts=typed(answer, "attempts", int),
        seconds=float(typed(answer, "seconds", (int, float))),
        truncated=typed(answer, "truncated", bool),
        error=None if error is None else str(error),
    )


def unpacked(text: str) -> bytes:
    """Reads Base64; BadAnswer where it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadAnswer("the service has sent Base64 that is none") from None


def typed(answer: object, name: str, kind: Any) -> Any:
    """Returns a member of an answer; BadAnswer where it is not there, or not of its kind."""
    value = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise BadAnswer(f"the service has sent an answer without {name!r}, or not of its kind")
    return value


def _html(output: Output) -> str:
    """Shows an output in a page that is not its own: nothing of it is run there."""
    data = output.get("data")
    if isinstance(data, dict):
        for kind in _IMAGES:
            if isinstance(image := data.get(kind), str) and (packed := _base64(image)):
                return f'<img src="data:{kind};base64,{packed}">'
        if isinstance(drawing := data.get("image/svg+xml"), str):
            packed = base64.b64encode(drawing.encode("utf-8", "replace")).decode()
            return f'<img src="data:image/svg+xml;base64,{packed}">'
        if isinstance(page := data.get("text/html"), str):
            height = min(40 + 25 * page.count("<tr"), 500) if "<tr" in page else 150
            style = f"border:0;width:100%;height:{height}px;resize:vertical"
            return f'<iframe sandbox="" style="{style}" srcdoc="{escape(page)}"></iframe>'
        return _pre(str(data.get("text/plain", "")))
    if output["output_type"] == "error":
        return _pre(f"{output.get('ename', '')}: {output.get('evalue', '')}", "#b00") + "<!--error-->"
    return _pre(str(output.get("text", "")), "#b00" if output.get("name") == "stderr" else "inherit")


def _pre(text: str, colour: str = "inherit") -> str:
    return f'<pre style="color:{colour};white-space:pre-wrap">{escape(text)}</pre>' if text else ""


def _base64(text: str) -> str:
    try:
        return base64.b64encode(base64.b64decode("".join(text.split()), validate=True)).decode()
    except (binascii.Error, ValueError):
        return ""
