"""Puts documents into the index the way ingestion does, without parsing."""

from hashlib import sha256

from tests.db.conftest import Tenant

from ragecho.engines.fakes import FakeEmbedder
from ragecho.ingest.steps.analyse import analyse
from ragecho.kernel.caller import Access, Caller, readers_of
from ragecho.kernel.ids import DocumentId, UserId, VersionId, uuid7
from ragecho.kernel.passages import ChunkSpan
from ragecho.library import store_chunks, store_uploads
from ragecho.library.model import IndexedVersion, Version
from ragecho.library.search import vector_literal
from ragecho.platform.database import Database, Session


async def add_document(
    database: Database,
    tenant: Tenant,
    embedder: FakeEmbedder,
    *texts: str,
    access: Access = Access.WORKSPACE,
    owner_id: UserId | None = None,
    tags: tuple[str, ...] = (),
    filename: str = "note.txt",
) -> DocumentId:
    """Store a ready document with one chunk per text and return its id."""
    document_id = DocumentId(uuid7())
    worker = tenant.worker()
    async with database.transaction(worker) as session:
        await store_chunks.lock_index(session, worker)
        version = Version(VersionId(uuid7()), document_id, 1, filename, "text/plain", 1, sha256(b"1").hexdigest())
        await store_uploads.insert_documents(
            session,
            worker,
            [version],
            tags=tags,
            metadata={},
            access=access,
            owner_id=None,
            readers=readers_of(access, owner_id=owner_id),
        )
        await index(session, worker, tenant, embedder, version, texts, readers_of(access, owner_id=owner_id))
    return document_id


async def index(
    session: Session,
    worker: Caller,
    tenant: Tenant,
    embedder: FakeEmbedder,
    version: Version,
    texts: tuple[str, ...],
    readers: tuple[str, ...],
) -> None:
    whole = "\n\n".join(texts)
    spans = []
    position = 0
    for ordinal, text in enumerate(texts):
        spans.append(ChunkSpan(ordinal, position, position + len(text), text, (), 1, 10, text))
        position += len(text) + 2
    vectors = await embedder.embed_passages(list(texts))
    await store_chunks.store_parsed(session, worker, {version.id: (whole, "{}", "test")})
    await store_chunks.delete_chunks(session, worker, version.document_id)
    indexed = IndexedVersion(
        version.document_id,
        version.id,
        readers,
        tuple(analyse(worker.workspace_id, spans, [vector_literal(vector) for vector in vectors])),
        pages=1,
    )
    await store_chunks.insert_versions(session, worker, space_id=tenant.space.id, versions=[indexed])
    await store_chunks.finish_versions(session, worker, [indexed])
