"""How much a workspace may hold: counted exactly near a limit, now and then elsewhere."""

import time
from collections import OrderedDict
from dataclasses import dataclass, replace

from ragecho.ingest import store
from ragecho.ingest.store import WorkspaceSize
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import RateLimited, WorkspaceFull
from ragecho.kernel.ids import WorkspaceId
from ragecho.platform.database import Session

REMEMBERED_SECONDS = 5.0
REMEMBERED_WORKSPACES = 10_000
# So near to a limit (documents, bytes, waiting documents) every upload counts under a lock: many at once are not to go past it
# together. Farther away no burst of uploads gets past it between two counts.
NEAR = (1_000, 1024**3, 1_000)
NEAR_SHARE = 0.2
WAIT_SECONDS = 30
# Where a limit of one workspace is set.
RULE = "PUT /api/v1/admin/document-rules"


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits of the installation; 0 means none."""

    documents: int = 0
    bytes: int = 0
    waiting: int = 0


class Room:
    """Says whether there is room for more documents."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._sizes: OrderedDict[WorkspaceId, tuple[float, WorkspaceSize]] = OrderedDict()

    async def take(self, session: Session, caller: Caller, *, documents: int, size_bytes: int) -> None:
        """Count the documents in. Raises `WorkspaceFull`, or `RateLimited` when too many wait to be processed."""
        if not documents:
            return
        seen = self._sizes.get(caller.workspace_id)
        if (
            seen is None
            or time.monotonic() - seen[0] > REMEMBERED_SECONDS
            or self._is_near(seen[1], documents, size_bytes)
        ):
            size = await store.size_of_workspace(session)
            if self._is_near(size, documents, size_bytes):
                await store.lock_size(session, caller)
                size = await store.size_of_workspace(session)
            seen = (time.monotonic(), size)
        size = seen[1]
        self._check(size, documents, size_bytes)
        grown = replace(
            size,
            documents=size.documents + documents,
            bytes=size.bytes + size_bytes,
            waiting=size.waiting + documents,
        )
        self._sizes[caller.workspace_id] = (seen[0], grown)
        self._sizes.move_to_end(caller.workspace_id)
        while len(self._sizes) > REMEMBERED_WORKSPACES:
            self._sizes.popitem(last=False)

    def _limits(self, size: WorkspaceSize) -> tuple[int, int, int]:
        documents = self._allowance.documents if size.max_documents is None else size.max_documents
        size_bytes = self._allowance.bytes if size.max_bytes is None else size.max_bytes
        return documents, size_bytes, self._allowance.waiting

    def _is_near(self, size: WorkspaceSize, documents: int, size_bytes: int) -> bool:
        wanted = (size.documents + documents, size.bytes + size_bytes, size.waiting + documents)
        return any(
            limit and want > limit - max(margin, limit * NEAR_SHARE)
            for want, limit, margin in zip(wanted, self._limits(size), NEAR, strict=True)
        )

    def _check(self, size: WorkspaceSize, documents: int, size_bytes: int) -> None:
        max_documents, max_bytes, max_waiting = self._limits(size)
        if max_documents and size.documents + documents > max_documents:
            raise WorkspaceFull(
                f"This workspace holds at most {max_documents} documents, and has {size.documents}. Delete some, or ask an"
                " administrator for more.",
                max_documents=max_documents,
                documents=size.documents,
                setting="RAGECHO_MAX_WORKSPACE_DOCUMENTS" if size.max_documents is None else RULE,
            )
        if max_bytes and size.bytes + size_bytes > max_bytes:
            raise WorkspaceFull(
                f"This workspace holds at most {max_bytes} bytes of files, and has {size.bytes}. Delete some, or ask an"
                " administrator for more.",
                max_bytes=max_bytes,
                bytes=size.bytes,
                setting="RAGECHO_MAX_WORKSPACE_BYTES" if size.max_bytes is None else RULE,
            )
        if max_waiting and size.waiting + documents > max_waiting:
            raise RateLimited(
                f"{size.waiting} documents of this workspace wait to be processed already. Send more when some are done.",
                retry_after_seconds=WAIT_SECONDS,
                waiting=size.waiting,
                setting="RAGECHO_MAX_WAITING_DOCUMENTS",
            )
