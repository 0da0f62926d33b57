"""Requests that are repeated: the same `Idempotency-Key` within a day gets the answer of the first, and nothing is done twice.

What was answered is kept in the transaction that did what was asked for: after a crash either both are there, or neither.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from ragecho.ingest import store
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import IdempotencyInProgress, IdempotencyMismatch
from ragecho.platform.database import Session


class Repetition:
    """One request that may be a repetition. Without a key it never is one, and nothing is kept.

    `operation` and `asked` are all that the request asks for, except secrets: a digest of it is stored. A key is the caller's
    own, in one workspace.
    """

    def __init__(self, caller: Caller, key: str | None, operation: str, asked: Mapping[str, Any]) -> None:
        self._caller = caller
        self._key = None if key is None else hashlib.sha256(key.encode()).digest()
        content = orjson.dumps({"operation": operation, **asked}, option=orjson.OPT_SORT_KEYS)
        self._fingerprint = hashlib.sha256(content).digest()

    async def known_answer(self, session: Session) -> Any | None:
        """Return what the first request was answered, as JSON; None for a first one, whose key is held until this commits.

        Raises `IdempotencyInProgress` while the first is being answered, `IdempotencyMismatch` when it asked for something else.
        """
        if self._key is None:
            return None
        if not await store.try_lock_key(session, self._caller, self._key):
            raise IdempotencyInProgress(
                "A request with this Idempotency-Key is being answered. Repeat it in a moment.", retry_after_seconds=1
            )
        known = await store.find_answer(session, self._caller, self._key)
        if known is None:
            return None
        if known[0] != self._fingerprint:
            raise IdempotencyMismatch(
                "This Idempotency-Key was used for another request. Take a new key for a new request."
            )
        return known[1]

    async def keep(self, session: Session, answer: Mapping[str, Any]) -> None:
        """Keep the answer; part of the transaction that did what was asked for."""
        if self._key is not None:
            await store.keep_answer(session, self._caller, self._key, self._fingerprint, answer)
