"""What a client of the sandbox's service raises."""

from typing import Any

_PREFIX = "urn:inference-workbook:problem:"
_MOST = 2000  # characters of what a server says


class SandboxError(Exception):
    """The service has refused, or could not be asked.

    Attributes:
        kind: What it is, as in "unknown-session"; empty where the service did not say.
        status: Of HTTP; 0 where no answer came.
        detail: What happened.
        more: What else the service said of it.
    """

    def __init__(self, detail: str, *, kind: str = "", status: int = 0, more: dict[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.kind, self.status, self.detail, self.more = kind, status, detail, more or {}


class Unauthorized(SandboxError):  # noqa: N818 - named as what it is, as all of these
    """The service does not know the token."""


class Forbidden(SandboxError):  # noqa: N818
    """It is not for this tenant."""


class SessionNotFound(SandboxError):  # noqa: N818
    """There is no such session: it was ended, or never was, or is another's."""


class NotFound(SandboxError):  # noqa: N818
    """The session has no such context, or no such program."""


class SessionExists(SandboxError):  # noqa: N818
    """There is a session of this name already."""


class KeyConflict(SandboxError):  # noqa: N818
    """The idempotency key was used for something else, or nobody knows what came of it."""


class Full(SandboxError):  # noqa: N818
    """There is no room, and there was none as long as the client has waited."""


class QuotaExceeded(SandboxError):  # noqa: N818
    """The tenant has as much as it may have."""


class FileRefused(SandboxError):  # noqa: N818
    """The session's file system refuses; `code` says why, as in ENOENT."""

    @property
    def code(self) -> str:
        """The name of the error."""
        return str(self.more.get("code", ""))


class MountError(SandboxError):
    """Data that the session was to begin with cannot be had."""

    @property
    def mount(self) -> str:
        """The mount's name."""
        return str(self.more.get("mount", ""))


class EnvironmentUnavailable(SandboxError):  # noqa: N818
    """There is no such environment, or it cannot be made."""


class EnvironmentChanged(EnvironmentUnavailable):
    """The session's environment is another one by now, and the session cannot be brought back."""


class EgressDenied(SandboxError):  # noqa: N818
    """It may not be fetched."""


class FetchTimeout(SandboxError):  # noqa: N818
    """It took too long to fetch."""


class FetchFailed(SandboxError):  # noqa: N818
    """It could not be fetched."""


class Invalid(SandboxError):  # noqa: N818
    """The request was not valid, or too large."""


class Unavailable(SandboxError):  # noqa: N818
    """The service cannot do it now, and could not as long as the client has waited."""


class ConnectionLost(SandboxError):  # noqa: N818
    """The service could not be reached, or went away in the middle of something that is not done twice."""


class BadAnswer(SandboxError):  # noqa: N818
    """What answered does not speak as the service does, or said more than the client takes."""


_KINDS: dict[str, type[SandboxError]] = {
    "unauthorized": Unauthorized,
    "forbidden": Forbidden,
    "unknown-session": SessionNotFound,
    "unknown-context": NotFound,
    "unknown-program": NotFound,
    "session-exists": SessionExists,
    "key-conflict": KeyConflict,
    "outcome-unknown": KeyConflict,
    "full": Full,
    "busy": Full,
    "quota": QuotaExceeded,
    "file-refused": FileRefused,
    "mount": MountError,
    "environment": EnvironmentUnavailable,
    "environment-changed": EnvironmentChanged,
    "egress-denied": EgressDenied,
    "fetch-timeout": FetchTimeout,
    "fetch-failed": FetchFailed,
    "fetch-too-large": FetchFailed,
    "invalid": Invalid,
    "too-large": Invalid,
    "body-too-large": Invalid,
}


def error_of(status: int, document: object) -> SandboxError:
    """Returns the error that a problem document stands for, whatever it really is."""
    known = document if isinstance(document, dict) else {}
    kind = str(known.get("type", ""))[: len(_PREFIX) + 100].removeprefix(_PREFIX)
    detail = str(known.get("detail") or known.get("title") or f"the service answered with status {status}")[:_MOST]
    usual = Unavailable if status >= 500 else Full if status == 429 else SandboxError
    more = {
        str(name)[:100]: value
        for name, value in list(known.items())[:20]
        if name not in ("type", "title", "status", "detail")
        and isinstance(value, str | int | float)
        and len(str(value)) < _MOST
    }
    return _KINDS.get(kind, usual)(detail, kind=kind, status=status, more=more)
