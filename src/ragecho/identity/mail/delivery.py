"""Sending what is in the outbox: a background task of every process that serves identity; each mail is one's alone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import parseaddr
from uuid import UUID

from ragecho.identity.mail import store
from ragecho.identity.mail.outbox import Outbox
from ragecho.identity.mail.render import message_of
from ragecho.identity.mail.smtp import NotDelivered, Transport
from ragecho.identity.vault import VaultError
from ragecho.kernel.errors import EchoError
from ragecho.platform.background import in_background
from ragecho.platform.database import Database, Row
from ragecho.platform.telemetry import get_logger

log = get_logger(__name__)

BATCH = 10
LEASE_SECONDS = 120.0
MAX_ATTEMPTS = 10
FIRST_RETRY_SECONDS = 15.0
LONGEST_RETRY_SECONDS = 3600.0
# Another process may have put a mail in, of which this one hears nothing.
LONGEST_SLEEP_SECONDS = 5.0


def retry_seconds(attempts: int) -> float:
    """Return how long to wait after this many failed attempts."""
    return float(min(FIRST_RETRY_SECONDS * 2.0 ** min(attempts - 1, 20), LONGEST_RETRY_SECONDS))


class Mailer:
    """Sends the outbox. Without a `transport` mails stay in it, to be read on the page of a development server.

    `collect` puts mails that wait elsewhere (invitations) into the outbox; it returns how many.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        transport: Transport | None,
        *,
        sender: str,
        collect: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._transport = transport
        self._sender = sender
        self._collect = collect

    async def deliver_due(self) -> int:
        """Send what is due and return how many were handed in. Safe to run in many processes at once."""
        if self._collect is not None:
            await self._collect()
        if self._transport is None:
            return 0
        async with self._database.anonymous() as db:
            due = await store.lease_due(db, limit=BATCH, lease_seconds=LEASE_SECONDS)
        sent = 0
        for row in due:
            sent += await self._deliver(self._transport, row)
        return sent

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver in the background while the block runs."""
        async with in_background(self._run(), name="mail delivery"):
            yield

    async def _run(self) -> None:
        while True:
            self._outbox.has_mail.clear()
            try:
                if await self.deliver_due() == BATCH:
                    continue
                pause = await self._pause()
            except EchoError as error:
                log.warning("mail.delivery_paused", code=error.code)
                pause = LONGEST_SLEEP_SECONDS
            except Exception:
                log.exception("mail.delivery_failed")
                pause = LONGEST_SLEEP_SECONDS
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._outbox.has_mail.wait(), pause)

    async def _pause(self) -> float:
        if self._transport is None:
            return LONGEST_SLEEP_SECONDS
        async with self._database.anonymous() as db:
            seconds = await store.seconds_until_due(db)
        return LONGEST_SLEEP_SECONDS if seconds is None else min(max(seconds, 0.1), LONGEST_SLEEP_SECONDS)

    async def _deliver(self, transport: Transport, row: Row) -> int:
        mail_id: UUID = row["id"]
        try:
            mail = self._outbox.open(row["body_sealed"])
            domain = parseaddr(self._sender)[1].rpartition("@")[2] or "localhost"
            # The same for every attempt: a mail that was taken although the answer was lost can be told as the same.
            message = message_of(
                mail, sender=self._sender, recipient=row["recipient"], message_id=f"<{mail_id}@{domain}>"
            )
            await transport.send(message)
        except (NotDelivered, VaultError, ValueError) as error:
            failure = error if isinstance(error, NotDelivered) else NotDelivered(type(error).__name__, is_final=True)
            await self._failed(row, failure)
            return 0
        async with self._database.anonymous() as db:
            await store.mark_sent(db, mail_id)
        log.info("mail.sent", mail_id=str(mail_id), template=row["template"], attempts=row["attempts"])
        return 1

    async def _failed(self, row: Row, failure: NotDelivered) -> None:
        mail_id, attempts = row["id"], row["attempts"]
        is_final = failure.is_final or attempts >= MAX_ATTEMPTS
        async with self._database.anonymous() as db:
            if is_final:
                await store.mark_failed(db, mail_id, error=failure.reason)
            else:
                await store.mark_retry(db, mail_id, error=failure.reason, seconds=retry_seconds(attempts))
        log.warning("mail.not_sent", mail_id=str(mail_id), reason=failure.reason, attempts=attempts, is_final=is_final)
