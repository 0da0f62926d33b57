"""The whole exception tree. Below the edge these are raised; the edge maps `code` to an HTTP status (platform/http)."""

from collections.abc import Mapping


class EchoError(Exception):
    """A failure that the caller can understand. `code` is stable; the message names the fact and, where there is one, the fix."""

    code = "internal_error"

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts: Mapping[str, object] = facts


class InvalidInput(EchoError):
    """The request is well formed but its content is not acceptable."""

    code = "invalid_input"


class IdempotencyMismatch(InvalidInput):
    """An `Idempotency-Key` was used before for another request."""

    code = "idempotency_mismatch"


class WorkspaceFull(InvalidInput):
    """The workspace has as many documents, or as many bytes, as it may have; `facts` hold the limit."""

    code = "workspace_full"


class Unauthenticated(EchoError):
    """No credential, or one that does not count (unknown, expired, revoked)."""

    code = "unauthenticated"


class Forbidden(EchoError):
    """The caller is known and the object visible, but the act needs a scope or role that the caller lacks."""

    code = "forbidden"


class CsrfRefused(Forbidden):
    """A change by session cookie did not prove that it comes from our own pages."""

    code = "csrf"


class NotFound(EchoError):
    """The object does not exist, or the caller may not know that it does (house style rule 9)."""

    code = "not_found"


class Conflict(EchoError):
    """The act does not fit the present state of the object."""

    code = "conflict"


ARCHIVED_MESSAGE = "This workspace is archived: it can be read but not changed. Restore it first."


class WorkspaceArchived(Conflict):
    """The workspace is archived: it can be read, and refuses every write until it is restored."""

    code = "workspace_archived"


class IdempotencyInProgress(Conflict):
    """A request with the same `Idempotency-Key` is being answered now; `facts['retry_after_seconds']` says when to ask again."""

    code = "idempotency_in_progress"


class OffsetConflict(Conflict):
    """A piece of an upload does not begin where the last one ended; `facts["offset"]` is where that was."""

    code = "offset_conflict"


class LastOwner(Conflict):
    """The organisation would be left without an owner who can act."""

    code = "last_owner"


class SelectionChanged(Conflict):
    """What a filter selects is not what the caller saw; `facts["total"]` is the present number."""

    code = "selection_changed"


class TooLarge(EchoError):
    """The input is over a limit; `facts` hold the limit."""

    code = "too_large"


class RateLimited(EchoError):
    """Too many requests; `facts['retry_after_seconds']` says when to come back."""

    code = "rate_limited"


class Unavailable(EchoError):
    """Something this needs does not answer now; trying again later is right."""

    code = "unavailable"


class ConfigurationError(EchoError):
    """A setting is missing or wrong; the message names the setting and never its value."""

    code = "configuration_error"


class ParseFailed(EchoError):
    """A document could not be read. `reason` is a stable word; the message is for a person and says what to do."""

    code = "parse_failed"

    def __init__(self, reason: str, message: str, **facts: object) -> None:
        super().__init__(message, reason=reason, **facts)
        self.reason = reason


class NeedsRecognition(ParseFailed):
    """The document has pages that are pictures of text, and the caller asked not to recognise them now."""


class GenerationFailed(EchoError):
    """No configured generator produced an answer."""

    code = "generation_failed"
