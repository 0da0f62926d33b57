"""What the server answers, as frozen values. Each keeps the server's own JSON in `raw`.

Reading is tolerant: fields that this version does not know stay in `raw`, and fields that the server leaves out take the
default. Only what gives a value its identity is required; without it `EchoProtocolError` is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, Generic, TypeVar

from ragecho_sdk.errors import EchoProtocolError

T = TypeVar("T")
M = TypeVar("M", bound="Model")

JSON = Mapping[str, Any]


@dataclass(frozen=True)
class Model:
    """Base of every result. `raw` is the JSON object it was read from."""

    raw: JSON = field(default_factory=dict, repr=False, compare=False, kw_only=True)

    # How a field is built from its JSON; fields that are not named are taken as they are. Filled below the classes.
    _readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}

    @classmethod
    def read(cls: type[M], data: Any) -> M:
        """Return the value of one JSON object; raise `EchoProtocolError` when it is not one of this kind."""
        if not isinstance(data, Mapping):
            raise EchoProtocolError(f"The server sent no {cls.__name__}; is this the address of an Echo server?")
        values: dict[str, Any] = {"raw": data}
        for spec in fields(cls):
            if spec.name == "raw":
                continue
            value = data.get(spec.name)
            if value is not None:
                reader = cls._readers.get(spec.name)
                values[spec.name] = reader(value) if reader else value
            elif spec.default is MISSING and spec.default_factory is MISSING:
                raise EchoProtocolError(f"The server sent a {cls.__name__} without '{spec.name}'.")
        return cls(**values)


@dataclass(frozen=True)
class Page(Model, Generic[T]):
    """One page of a list, newest first unless said. `total` counts all pages together."""

    items: tuple[T, ...]
    total: int = 0
    limit: int = 0
    offset: int = 0

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class Failure(Model):
    """Why something failed: a stable `code` and a message that says what to do."""

    message: str
    code: str | None = None

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Document(Model):
    """A document. `status` is queued, processing, ready or failed; `error` says why it failed; `progress` is 0 to 1."""

    id: str
    filename: str
    status: str
    title: str | None = None
    content_type: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    error: Failure | None = None
    progress: float | None = None
    pages: int | None = None
    chunks: int | None = None
    tags: tuple[str, ...] = ()
    access: str | None = None
    metadata: JSON = field(default_factory=dict)
    version: int | None = None
    created_at: str | None = None
    updated_at: str | None = None
    language: str | None = None
    authors: tuple[str, ...] = ()
    written_at: str | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the document can be asked about."""
        return self.status == "ready"

    @property
    def is_failed(self) -> bool:
        """Whether the document could not be read; `error` says why."""
        return self.status == "failed"

    @property
    def is_settled(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.is_ready or self.is_failed


@dataclass(frozen=True)
class UploadedDocument(Model):
    """One file of an upload. `duplicate_of` names the document that already held the same content.

    `id` is None only for a file that was refused, and `error` says why.
    """

    filename: str
    status: str
    id: str | None = None
    job_id: str | None = None
    duplicate_of: str | None = None
    error: Failure | None = None


@dataclass(frozen=True)
class Upload(Model):
    """A file that is sent in pieces. `document` is there once it is complete and taken in."""

    id: str
    received_bytes: int = 0
    size_bytes: int = 0
    document: UploadedDocument | None = None
    batch: str | None = None


@dataclass(frozen=True)
class Version(Model):
    """One uploaded state of a document. `ready_at` is when it began to answer, None for one that never did."""

    id: str
    number: int
    filename: str | None = None
    size_bytes: int | None = None
    sha256: str | None = None
    created_at: str | None = None
    ready_at: str | None = None
    is_current: bool = False


@dataclass(frozen=True)
class Deleted(Model):
    """What was deleted, and which ids were no documents of the caller's."""

    deleted: int
    ids: tuple[str, ...] = ()
    not_found: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeletionPreview(Model):
    """How many documents a filter selects, and the newest of them."""

    total: int
    sample: tuple[Document, ...] = ()


@dataclass(frozen=True)
class Chunk(Model):
    """A piece of a document's text; `start` and `end` count code points of that text."""

    id: str
    start: int
    end: int
    text: str = ""
    ordinal: int | None = None
    page: int | None = None
    heading_path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job(Model):
    """Work in the background. `status` is queued, running, succeeded, failed, cancelled or dead."""

    id: str
    status: str
    kind: str | None = None
    document_id: str | None = None
    stage: str | None = None
    attempts: int | None = None
    max_attempts: int | None = None
    progress: float | None = None
    error: Failure | None = None
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    priority: str | None = None
    batch: str | None = None


@dataclass(frozen=True)
class Batch(Model):
    """How far an upload is: how many of its jobs are in each status, and the share done, 0 to 1."""

    id: str
    total: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)
    progress: float = 0.0
    is_over: bool = False


@dataclass(frozen=True)
class Span(Model):
    """A part of a document's text, in code points."""

    start: int
    end: int


@dataclass(frozen=True)
class Duplicate(Model):
    """Another place where the text of a result stands."""

    document_id: str
    filename: str
    chunk_id: str | None = None


@dataclass(frozen=True)
class ExactForm(Model):
    """An identifier or quoted phrase of a query; `found`: something that you may read holds it letter by letter."""

    text: str
    found: bool


@dataclass(frozen=True)
class SearchHit(Model):
    """A passage found. `scores` names each signal; `text` is the document's text from `start` to `end`.

    `matched` is what was found in a text that was expanded; `duplicates` is where the text stands as well.
    """

    document_id: str
    filename: str
    text: str
    score: float
    title: str | None = None
    page: int | None = None
    start: int | None = None
    end: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    chunk_id: str | None = None
    heading_path: tuple[str, ...] = ()
    matched: tuple[Span, ...] = ()
    duplicates: tuple[Duplicate, ...] = ()


@dataclass(frozen=True)
class SearchResult(Model):
    """Passages, best first, and how long each stage took.

    `corrected` maps words that nothing holds to what was searched instead; `scope` is `document` where the results show
    what one document is about, `documents` where they are one passage of each.
    """

    results: tuple[SearchHit, ...]
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    corrected: Mapping[str, str] = field(default_factory=dict)
    exact: tuple[ExactForm, ...] = ()
    scope: str | None = None

    def __iter__(self) -> Iterator[SearchHit]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)


@dataclass(frozen=True)
class Citation(Model):
    """Words quoted from a document; `verified` says that they stand there, character by character."""

    n: int
    filename: str
    quote: str
    document_id: str | None = None
    page: int | None = None
    start: int | None = None
    end: int | None = None
    verified: bool = False


@dataclass(frozen=True)
class Answer(Model):
    """An answer with its proof. `refused` means that the documents hold no evidence; `refusal_reason` says which kind.

    `unsupported` holds the answer's sentences for which no passage holds the words.
    """

    answer: str
    id: str | None = None
    citations: tuple[Citation, ...] = ()
    refused: bool = False
    refusal_reason: str | None = None
    confidence: float | None = None
    model: str | None = None
    usage: JSON = field(default_factory=dict)
    cost_usd: float | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    cached: bool = False
    unsupported: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    session_id: str | None = None


@dataclass(frozen=True)
class AnswerEvent:
    """One event of a streamed answer: status, passages, token, citation, answer, error or done, and its data."""

    event: str
    data: Any

    @property
    def token(self) -> str:
        """The words that this event adds to the answer; empty unless it is a `token` event."""
        if self.event != "token":
            return ""
        if isinstance(self.data, str):
            return self.data
        return str(self.data.get("text") or self.data.get("token") or "") if isinstance(self.data, Mapping) else ""


@dataclass(frozen=True)
class Workspace(Model):
    """A workspace: documents, members and settings that no other workspace sees."""

    id: str
    slug: str
    name: str | None = None
    description: str | None = None
    status: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    archived_at: str | None = None
    embedding_model: str | None = None
    embedding_dimensions: int | None = None


@dataclass(frozen=True)
class Person(Model):
    """A person with an account."""

    id: str
    email: str
    name: str | None = None


@dataclass(frozen=True)
class Organization(Model):
    """An organisation that the caller is in; `role` is owner, admin or member."""

    id: str
    name: str
    role: str | None = None
    is_suspended: bool = False
    created_at: str | None = None
    require_second_factor: bool = False


@dataclass(frozen=True)
class Place(Model):
    """A workspace that the caller may enter; `role` is reader, editor or admin."""

    id: str
    slug: str
    name: str | None = None
    role: str | None = None
    is_archived: bool = False


@dataclass(frozen=True)
class Me(Model):
    """Who the client acts as. `user` is None for a program that acts for itself."""

    user: Person | None = None
    organization: Organization | None = None
    workspace_id: str | None = None
    workspaces: tuple[Place, ...] = ()
    scopes: tuple[str, ...] = ()
    client_id: str | None = None
    api_key_id: str | None = None


@dataclass(frozen=True)
class Health(Model):
    """Whether the server is alive, and its version."""

    status: str
    version: str | None = None


def all_of(model: type[M]) -> Callable[[Any], tuple[M, ...]]:
    """Return the reader of a tuple of `model`."""
    return lambda items: tuple(model.read(item) for item in items)


def _failure(value: Any) -> Failure:
    """Read a failure; a server that sends only words is understood too."""
    if not isinstance(value, Mapping):
        return Failure(str(value))
    message = value.get("message") or value.get("detail") or value.get("code") or "no reason given"
    return Failure.read({**value, "message": str(message)})


Document._readers = {"tags": tuple, "authors": tuple, "error": _failure}
UploadedDocument._readers = {"error": _failure}
Upload._readers = {"document": UploadedDocument.read}
Deleted._readers = {"ids": tuple, "not_found": tuple}
DeletionPreview._readers = {"sample": all_of(Document)}
Job._readers = {"error": _failure}
Chunk._readers = {"heading_path": tuple}
SearchHit._readers = {"heading_path": tuple, "matched": all_of(Span), "duplicates": all_of(Duplicate)}
SearchResult._readers = {"results": all_of(SearchHit), "exact": all_of(ExactForm)}
Me._readers = {
    "user": Person.read,
    "organization": Organization.read,
    "workspaces": all_of(Place),
    "scopes": tuple,
}
Answer._readers = {"citations": all_of(Citation), "unsupported": tuple, "warnings": tuple}


def page_of(model: type[M]) -> Callable[[Any], Page[M]]:
    """Return the reader of a list of `model`; a server that sends a bare array is understood too."""

    def read(data: Any) -> Page[M]:
        raw: Any = {"items": data, "total": len(data)} if isinstance(data, list) else data
        if not isinstance(raw, Mapping) or not isinstance(raw.get("items"), list):
            raise EchoProtocolError(
                f"The server sent no list of {model.__name__}; is this the address of an Echo server?"
            )
        items = tuple(model.read(item) for item in raw["items"])
        limit, offset = int(raw.get("limit") or len(items)), int(raw.get("offset") or 0)
        return Page(items=items, total=int(raw.get("total") or len(items)), limit=limit, offset=offset, raw=raw)

    return read
