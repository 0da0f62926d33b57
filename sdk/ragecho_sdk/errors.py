"""The whole exception tree of the client. The message is one line and names the fix where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ragecho_sdk.models import Document


class EchoError(Exception):
    """Any failure of a call; catch this to catch them all."""


class EchoConnectionError(EchoError):
    """The server could not be reached, or the connection broke."""


class EchoTimeoutError(EchoError, TimeoutError):
    """The server, or the documents that were waited for, took longer than allowed.

    `documents` holds what was known of the documents waited for, when it was a wait that ended.
    """

    def __init__(self, message: str, documents: Sequence[Document] = ()) -> None:
        super().__init__(message)
        self.documents = tuple(documents)


class EchoProtocolError(EchoError):
    """The answer is not what an Echo server sends; the address most likely belongs to something else."""


class EchoAPIError(EchoError):
    """The server refused (RFC 9457 problem details).

    `code` is stable and meant for programs, `detail` is meant for people, `request_id` finds the request in the server's
    log, `problem` holds every member that was sent, `retry_after_seconds` says when trying again makes sense.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        request_id: str | None = None,
        *,
        problem: Mapping[str, Any] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(f"{detail} ({status} {code})")
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.problem: Mapping[str, Any] = problem or {}
        self.retry_after_seconds = retry_after_seconds


class EchoAuthenticationError(EchoAPIError):
    """401: no credential, or one that does not count."""


class EchoPermissionError(EchoAPIError):
    """403: the credential lacks a scope or a role."""


class EchoNotFoundError(EchoAPIError):
    """404: it does not exist, or the caller may not know that it does."""


class EchoConflictError(EchoAPIError):
    """409: the act does not fit the present state."""


class EchoRateLimitError(EchoAPIError):
    """429: too many requests; see `retry_after_seconds`."""


class EchoUnavailableError(EchoAPIError):
    """503: something the server needs does not answer now."""


ERRORS_BY_STATUS: Mapping[int, type[EchoAPIError]] = {
    401: EchoAuthenticationError,
    403: EchoPermissionError,
    404: EchoNotFoundError,
    409: EchoConflictError,
    429: EchoRateLimitError,
    503: EchoUnavailableError,
}
