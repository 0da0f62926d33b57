"""Typed identifiers. Every id is a UUIDv7 (RFC 9562): unique without coordination and ordered by creation time."""

import os
import time
from typing import NewType
from uuid import UUID

OrganizationId = NewType("OrganizationId", UUID)
WorkspaceId = NewType("WorkspaceId", UUID)
UserId = NewType("UserId", UUID)
GroupId = NewType("GroupId", UUID)
ApiKeyId = NewType("ApiKeyId", UUID)
ServiceAccountId = NewType("ServiceAccountId", UUID)
DocumentId = NewType("DocumentId", UUID)
VersionId = NewType("VersionId", UUID)
ChunkId = NewType("ChunkId", UUID)
JobId = NewType("JobId", UUID)
AnswerId = NewType("AnswerId", UUID)


def uuid7(*, at_ms: int | None = None, entropy: bytes | None = None) -> UUID:
    """Return a UUIDv7 for `at_ms` (milliseconds since the epoch, now by default) and 10 bytes of `entropy`.

    Those of now are in the order of making: the 12 bits behind the milliseconds are the clock's next ones (RFC 9562, 6.2, method 3).
    """
    now = time.time_ns()
    milliseconds = now // 1_000_000 if at_ms is None else at_ms
    raw = bytearray(milliseconds.to_bytes(6, "big") + (os.urandom(10) if entropy is None else entropy))
    if at_ms is None and entropy is None:
        raw[6:8] = (now % 1_000_000 * 4096 // 1_000_000).to_bytes(2, "big")
    raw[6] = 0x70 | (raw[6] & 0x0F)
    raw[8] = 0x80 | (raw[8] & 0x3F)
    return UUID(bytes=bytes(raw))
