"""What a process of the identity service does by itself: telling clients of logouts, and replacing old keys.

Deliveries are rows, so nothing is lost with a process; several processes share them (`for update skip locked`).
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx

from ragecho.identity.protocol import store_logout as store
from ragecho.identity.protocol.keys import ensure_keys, sign
from ragecho.identity.protocol.logout import session_ended
from ragecho.identity.protocol.provider import Provider
from ragecho.kernel.errors import EchoError
from ragecho.kernel.ids import uuid7
from ragecho.platform.background import in_background
from ragecho.platform.outbound import outbound_client
from ragecho.platform.telemetry import get_logger

log = get_logger(__name__)

ROUND_SECONDS = 5.0
TIDY_SECONDS = 3600.0
RETRY_SECONDS = (5, 30, 300, 1800, 7200)
LEASE_SECONDS = 60
TOKEN_SECONDS = 120
_EVENT = "http://schemas.openid.net/event/backchannel-logout"


class Upkeep:
    """The background work of one process. `wake` starts a round at once."""

    def __init__(self, provider: Provider, *, allows_private_addresses: bool) -> None:
        self._provider = provider
        self._allows_private = allows_private_addresses
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """Begin a round now: somebody has signed out."""
        self._awake.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run for as long as the context lasts."""
        async with in_background(self._run(), name="upkeep of the identity service"):
            yield

    async def _run(self) -> None:
        next_tidying = 0.0
        async with outbound_client(allow_private=self._allows_private, total_seconds=10.0) as client:
            while True:
                try:
                    await self.notice_ends()
                    await self.deliver(client)
                    if time.monotonic() >= next_tidying:
                        await self._tidy()
                        next_tidying = time.monotonic() + TIDY_SECONDS
                except Exception as error:  # noqa: BLE001 - whatever it was, the next round tries again
                    log.warning("identity.upkeep_failed", kind=type(error).__name__)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._awake.wait(), ROUND_SECONDS)
                self._awake.clear()

    async def notice_ends(self) -> None:
        """End the grants of sessions that ended remotely, by a new password, or by suspension."""
        async with self._provider.database.anonymous() as db:
            for session_id in await store.unnoticed_ends(db):
                await session_ended(db, session_id)

    async def deliver(self, client: httpx.AsyncClient) -> int:
        """Tell clients what is due; return how many were tried."""
        async with self._provider.database.anonymous() as db:
            due = await store.take_due(db, lease_seconds=LEASE_SECONDS)
        for row in due:
            await self._deliver_one(client, row)
        return len(due)

    async def _deliver_one(self, client: httpx.AsyncClient, row: Any) -> None:
        error = await self._send(client, row)
        async with self._provider.database.anonymous() as db:
            if error is None:
                await store.note_delivery(db, row["id"])
                return
            tries = row["attempts"]
            retry = RETRY_SECONDS[tries - 1] if tries <= len(RETRY_SECONDS) else None
            await store.note_failure(db, row["id"], error=error, retry_seconds=retry)
        log.warning("identity.logout_not_delivered", client_id=row["client_id"], attempts=tries, reason=error)

    async def _send(self, client: httpx.AsyncClient, row: Any) -> str | None:
        """Return what went wrong, or None."""
        try:
            answer = await client.post(
                row["backchannel_logout_uri"], data={"logout_token": await self._logout_token(row)}
            )
        except (httpx.HTTPError, EchoError, OSError) as error:
            return type(error).__name__
        return None if answer.is_success else f"status {answer.status_code}"

    async def _logout_token(self, row: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": self._provider.issuer,
            "aud": row["client_id"],
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "jti": str(uuid7()),
            "sub": row["subject"],
            "sid": str(row["session_id"]),
            "events": {_EVENT: {}},
        }
        keys = await self._provider.keys.state()
        found = await self._provider.clients.find(row["client_id"])
        return sign(keys.current[found.id_token_alg if found else "ES256"], claims, typ="logout+jwt")

    async def _tidy(self) -> None:
        """Replace keys that are too old, and forget what is long over."""
        async with self._provider.database.anonymous() as db:
            await store.delete_old(db)
            await ensure_keys(db, self._provider.vault, rotation_days=self._provider.settings.key_rotation_days)
