"""Is everything there, and nothing else? Blobs, documents, chunks, vectors and the lexical index are compared."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ragecho.kernel.caller import Caller
from ragecho.library import store_chunks, store_index
from ragecho.platform.database import Database, Session
from ragecho.ports.blobs import BlobStore

# A blob is written before its document: one that nothing refers to yet may be an upload under way.
YOUNG = timedelta(hours=1)
MISSING_BLOBS = "missing_blobs"
ORPHANED_BLOBS = "orphaned_blobs"
WRONG_COUNTS = "wrong_counts"
# Made good by processing the document again; it keeps its words, readers and tags.
MENDED_BY_PROCESSING = (
    "missing_chunks",
    "foreign_chunks",
    "mixed_spaces",
    "missing_vectors",
    "orphaned_vectors",
    "missing_terms",
    "orphaned_terms",
    "wrong_words",
    "stuck_documents",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be: how many, what that means, and the first ids (or digests of blobs)."""

    check: str
    count: int
    says: str
    samples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IndexHealth:
    """The state of one workspace's index. It is healthy when nothing was found."""

    workspace_id: UUID
    checked: tuple[str, ...]
    findings: tuple[Finding, ...]
    sizes: dict[str, int] = field(default_factory=dict)
    duration_ms: int = 0

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is orphaned, missing or different."""
        return not self.findings


async def check_index(database: Database, blobs: BlobStore, caller: Caller) -> IndexHealth:
    """Compare everything of the caller's workspace in one snapshot; uploads and indexing go on meanwhile.

    `caller` sees all: a worker, or an administrator whose look is audited.
    """
    started = time.perf_counter()
    findings = []
    async with database.transaction(caller, is_snapshot=True) as session:
        for comparison in store_index.COMPARISONS:
            count, samples = await store_index.compare(session, caller, comparison)
            if count:
                findings.append(Finding(comparison.name, count, comparison.says, tuple(map(str, samples))))
        wrong = await store_index.wrong_counts(session, caller)
        if wrong:
            says = "numbers that ranking reads and that are not what the entries add up to"
            findings.append(Finding(WRONG_COUNTS, wrong, says, ()))
        sizes = await store_index.size_of(session, caller)
        referenced = await store_index.referenced_contents(session, caller)
    findings += await _check_blobs(database, blobs, caller, referenced)
    checked = (
        *(comparison.name for comparison in store_index.COMPARISONS),
        WRONG_COUNTS,
        MISSING_BLOBS,
        ORPHANED_BLOBS,
    )
    duration_ms = round((time.perf_counter() - started) * 1e3)
    return IndexHealth(caller.workspace_id, checked, tuple(findings), sizes, duration_ms)


async def repair_counts(session: Session, caller: Caller) -> None:
    """Make the numbers that ranking reads anew."""
    await store_chunks.lock_index(session, caller)
    await store_index.recount(session, caller)


async def repair_readers(session: Session, caller: Caller) -> None:
    """Give all pieces the readers of their documents."""
    await store_chunks.lock_index(session, caller)
    await store_index.copy_readers(session, caller)


async def wrong_ids(session: Session, caller: Caller, check: str) -> list[UUID]:
    """Return the ids of everything that a comparison finds."""
    comparison = next(one for one in store_index.COMPARISONS if one.name == check)
    return await store_index.all_wrong(session, caller, comparison)


async def orphaned_blobs(database: Database, blobs: BlobStore, caller: Caller) -> list[str]:
    """Return the digests of blobs that no version refers to and that are no upload under way."""
    before = datetime.now(UTC) - YOUNG
    # Listed first: what is referred to by the time of the question below is not orphaned.
    old = [blob.sha256 async for blob in blobs.iterate(caller.workspace_id) if blob.written_at < before]
    async with database.transaction(caller) as session:
        referenced = await store_index.referenced_contents(session, caller)
    return sorted(set(old) - referenced)


async def _check_blobs(database: Database, blobs: BlobStore, caller: Caller, referenced: set[str]) -> list[Finding]:
    findings = []
    present = {blob.sha256 async for blob in blobs.iterate(caller.workspace_id)}
    if missing := referenced - present:
        # A document that was deleted meanwhile took its blob with it.
        async with database.transaction(caller) as session:
            missing &= await store_index.referenced_contents(session, caller)
    if missing:
        says = "original files that are gone; upload them again"
        findings.append(Finding(MISSING_BLOBS, len(missing), says, tuple(sorted(missing)[: store_index.SAMPLES])))
    if orphaned := await orphaned_blobs(database, blobs, caller):
        says = "original files that no document refers to"
        findings.append(Finding(ORPHANED_BLOBS, len(orphaned), says, tuple(orphaned[: store_index.SAMPLES])))
    return findings
