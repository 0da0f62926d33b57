"""The typed client of Echo: `Echo` for synchronous programs, `AsyncEcho` for asynchronous ones."""

from ragecho_sdk.async_client import AsyncEcho
from ragecho_sdk.client import Echo
from ragecho_sdk.errors import (
    EchoAPIError,
    EchoAuthenticationError,
    EchoConflictError,
    EchoConnectionError,
    EchoError,
    EchoNotFoundError,
    EchoPermissionError,
    EchoProtocolError,
    EchoRateLimitError,
    EchoTimeoutError,
    EchoUnavailableError,
)
from ragecho_sdk.models import (
    Answer,
    AnswerEvent,
    Chunk,
    Citation,
    Document,
    Failure,
    Health,
    Job,
    Me,
    Organization,
    Page,
    Person,
    Place,
    SearchHit,
    SearchResult,
    UploadedDocument,
    Workspace,
)
from ragecho_sdk.transport import VERSION

__version__ = VERSION

__all__ = [
    "Answer",
    "AnswerEvent",
    "AsyncEcho",
    "Chunk",
    "Citation",
    "Document",
    "Echo",
    "EchoAPIError",
    "EchoAuthenticationError",
    "EchoConflictError",
    "EchoConnectionError",
    "EchoError",
    "EchoNotFoundError",
    "EchoPermissionError",
    "EchoProtocolError",
    "EchoRateLimitError",
    "EchoTimeoutError",
    "EchoUnavailableError",
    "Failure",
    "Health",
    "Job",
    "Me",
    "Organization",
    "Page",
    "Person",
    "Place",
    "SearchHit",
    "SearchResult",
    "UploadedDocument",
    "Workspace",
]
