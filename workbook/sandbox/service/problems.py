"""What can go wrong, as problem documents (RFC 9457): of a stable type, for programs, and a detail, for people."""

import json
import math

from starlette.responses import Response

from workbook.sandbox.isolation.box import IsolationError
from workbook.sandbox.service.egress import EgressDenied, FetchError
from workbook.sandbox.service.environments import EnvironmentChangedError, EnvironmentUnavailableError
from workbook.sandbox.service.exchange import FetchTimeout, TooLarge
from workbook.sandbox.service.live_types import ContextLost, FileRefused, SessionLost
from workbook.sandbox.service.mounts import MountError
from workbook.sandbox.service.node import ElsewhereError
from workbook.sandbox.service.programs import UnknownProgramError
from workbook.sandbox.service.room import FullError
from workbook.sandbox.service.session_calls import KeyConflictError, OutcomeUnknownError
from workbook.sandbox.service.store import (
    FencedError,
    QuotaError,
    RefusedError,
    SessionExistsError,
    StoreError,
    UnknownSessionError,
)

TYPE = "urn:inference-workbook:problem:"
"""What each problem's type begins with."""

_MOST_DETAIL = 4000

_FILES = {  # the error of a file system, and what that is in HTTP
    **dict.fromkeys(("ENOENT", "ENOTDIR"), 404),
    **dict.fromkeys(("EEXIST", "EISDIR", "ENOTEMPTY", "EBUSY", "ETXTBSY", "EAGAIN"), 409),
    **dict.fromkeys(("ENOSPC", "EFBIG", "EDQUOT", "E2BIG"), 413),
}


class Problem(Exception):  # noqa: N818 - it is named as what it is
    """An answer that says what went wrong.

    Attributes:
        status: Of HTTP.
        name: The end of its type.
        title: What the type means.
        detail: What happened.
        more: Other members of the document.
        retry_after: Seconds after which the same request may fare better; None where it never will by itself.
    """

    def __init__(
        self, status: int, name: str, title: str, detail: str, *, retry_after: float | None = None, **more: object
    ) -> None:
        super().__init__(f"{title}: {detail}")
        self.status, self.name, self.title, self.detail = status, name, title, detail[:_MOST_DETAIL]
        self.retry_after, self.more = retry_after, more

    def document(self) -> dict[str, object]:
        """What is sent."""
        return {
            "type": TYPE + self.name,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.more,
        }

    def response(self) -> Response:
        """The answer itself."""
        headers: dict[str, str] = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return Response(
            json.dumps(self.document()), self.status, headers=headers, media_type="application/problem+json"
        )


KNOWN: tuple[type[Exception], ...] = (
    *(Problem, UnknownSessionError, UnknownProgramError, ContextLost, SessionExistsError, KeyConflictError),
    *(OutcomeUnknownError, QuotaError, FullError, FileRefused, MountError, EnvironmentUnavailableError, FetchError),
    *(RefusedError, SessionLost, FencedError, ElsewhereError, StoreError, IsolationError),
)
"""What `problem_of` knows; anything else is a mistake of the service."""


def problem_of(error: BaseException) -> Problem:
    """Returns an error as a problem; what is not foreseen says nothing of itself to the caller."""
    text = str(error)
    match error:
        case Problem():
            return error
        case UnknownSessionError():
            # Whose it may be otherwise is not said: another tenant's session is as unknown as none.
            return Problem(404, "unknown-session", "There is no such session", "it was ended, or there never was one")
        case UnknownProgramError():
            return Problem(404, "unknown-program", "There is no such program", text)
        case ContextLost():
            return Problem(404, "unknown-context", "There is no such context", text)
        case SessionExistsError():
            return Problem(409, "session-exists", "There is such a session already", text)
        case KeyConflictError():
            return Problem(409, "key-conflict", "The idempotency key was used for something else", text)
        case OutcomeUnknownError():
            return Problem(409, "outcome-unknown", "Nobody knows what came of it", text)
        case QuotaError():
            return Problem(403, "quota", "The tenant has as much as it may have", text)
        case FullError():
            return Problem(429, "full", "There is no room", text, retry_after=error.retry_after)
        case FileRefused():
            status = _FILES.get(error.code, 400)
            return Problem(status, "file-refused", "The session's file system refuses", text, code=error.code)
        case MountError():
            return Problem(424, "mount", "A mount cannot be had", text, mount=error.mount)
        case EnvironmentChangedError():
            return Problem(409, "environment-changed", "The session's environment is another one by now", text)
        case EnvironmentUnavailableError():
            return Problem(422, "environment", "The environment cannot be had", text)
        case EgressDenied():
            return Problem(403, "egress-denied", "It may not be fetched", text)
        case FetchTimeout():
            return Problem(504, "fetch-timeout", "It took too long to fetch", text)
        case TooLarge():
            return Problem(502, "fetch-too-large", "What came is larger than it may be", text)
        case FetchError():
            return Problem(502, "fetch-failed", "It could not be fetched", text)
        case RefusedError():
            if "at most" in text:
                return Problem(413, "too-large", "It is more than is kept", text)
            return invalid(text)
    return _passing(error)


def _passing(error: BaseException) -> Problem:
    """Those that may be gone when the same is asked for again; and the rest."""
    text = str(error)
    match error:
        case SessionLost():
            return Problem(503, "session-lost", "The session's box has ended, twice", text, retry_after=1)
        case FencedError() | ElsewhereError():
            return Problem(503, "moved", "Another node has the session now", "ask again", retry_after=1)
        case StoreError():
            return Problem(503, "store", "The store is out of reach", text, retry_after=2)
        case IsolationError():
            return Problem(503, "no-box", "No box can be made", text, retry_after=5)
    return Problem(500, "internal", "The service has made a mistake", "it is in the service's log")


def invalid(detail: str) -> Problem:
    """A request that is no valid one."""
    return Problem(422, "invalid", "The request is not valid", detail)


def too_large(most: int) -> Problem:
    """A body beyond its bound."""
    return Problem(413, "body-too-large", "The request's body is too large", f"at most {most:,} bytes are taken")
