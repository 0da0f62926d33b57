"""What the library hands out."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from ragecho.kernel.caller import Access
from ragecho.kernel.ids import ChunkId, DocumentId, GroupId, UserId, VersionId
from ragecho.kernel.passages import EmbeddingSpace


@dataclass(frozen=True, slots=True)
class NamedReaders:
    """People and groups who may read a document besides its owner and those its access level names."""

    users: tuple[UserId, ...] = ()
    groups: tuple[GroupId, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A document as its readers see it. `version` counts from 1 once a version is ready; `chunks` are its live ones."""

    id: DocumentId
    filename: str
    title: str | None
    content_type: str | None
    size_bytes: int
    sha256: str
    status: str
    error: dict[str, Any] | None
    progress: float
    pages: int | None
    chunks: int
    tags: tuple[str, ...]
    metadata: dict[str, Any]
    access: Access
    owner_id: UserId | None
    readers: tuple[str, ...]
    version: int
    current_version_id: VersionId | None
    created_at: datetime
    updated_at: datetime
    language: str | None = None
    authors: tuple[str, ...] = ()
    written_at: datetime | None = None

    @property
    def named_readers(self) -> NamedReaders:
        """The people and groups who were named, in the order of their ids; the owner is not among them."""
        by_kind: dict[str, list[UUID]] = {"user": [], "group": []}
        for kind, _, name in (reader.partition(":") for reader in self.readers):
            if kind in by_kind and name != str(self.owner_id):
                by_kind[kind].append(UUID(name))
        users, groups = sorted(by_kind["user"]), sorted(by_kind["group"])
        return NamedReaders(tuple(map(UserId, users)), tuple(map(GroupId, groups)))


@dataclass(frozen=True, slots=True)
class Version:
    """One uploaded state of a document. `sealed` is the password that opened its file, encrypted."""

    id: VersionId
    document_id: DocumentId
    number: int
    filename: str
    content_type: str | None
    size_bytes: int
    sha256: str
    sealed: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as listed."""

    id: ChunkId
    version_id: VersionId
    ordinal: int
    start: int
    end: int
    page: int | None
    heading_path: tuple[str, ...]
    tokens: int
    text: str


@dataclass(frozen=True, slots=True)
class DocumentFilter:
    """Which documents to list. Empty means all."""

    status: str | None = None
    tag: str | None = None
    access: Access | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """Which documents to search; a field that is empty (or None) excludes nothing.

    `tags`: all of them; `any_tags`: at least one; `documents`: among these; `metadata`: holds these keys with these values;
    `created_from` and `created_before`: when the document was first uploaded; `filename`: a part of the name, in any case.
    """

    tags: tuple[str, ...] = ()
    documents: tuple[DocumentId, ...] | None = None
    any_tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    created_from: datetime | None = None
    created_before: datetime | None = None
    content_types: tuple[str, ...] = ()
    access: tuple[Access, ...] = ()
    filename: str = ""


@dataclass(frozen=True, slots=True)
class IndexedChunk:
    """A chunk ready to be stored; arrays belong to it in order of the terms."""

    id: ChunkId
    ordinal: int
    start: int
    end: int
    page: int | None
    heading_path: tuple[str, ...]
    tokens: int
    sha256: bytes
    text: str
    embedding: str
    length: int
    page_breaks: tuple[int, ...] = ()
    terms: list[int] = field(default_factory=list)
    frequencies: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class IndexedVersion:
    """A version with all that makes it findable, ready to be stored in one transaction with others."""

    document_id: DocumentId
    version_id: VersionId
    readers: tuple[str, ...]
    chunks: tuple[IndexedChunk, ...]
    title: str | None = None
    pages: int | None = None
    language: str | None = None
    authors: tuple[str, ...] = ()
    written_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class WorkspaceSpaces:
    """The space that a workspace's queries use, and the one that is to take its place and is written to as well."""

    own: EmbeddingSpace
    target: EmbeddingSpace | None = None

    @property
    def all(self) -> tuple[EmbeddingSpace, ...]:
        """Both, the own one first."""
        return (self.own,) if self.target is None else (self.own, self.target)
