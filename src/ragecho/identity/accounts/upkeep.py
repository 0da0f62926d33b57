"""What accounts do by themselves in every process that serves them: sending mail, and forgetting what is over."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from ragecho.identity.accounts import links, store_links, store_sessions, store_tickets, throttle
from ragecho.identity.accounts.digests import digest_of, new_secret
from ragecho.identity.accounts.links import Link
from ragecho.identity.accounts.tools import AccountTools
from ragecho.identity.mail import store as mail_store
from ragecho.identity.mail.delivery import BATCH, Mailer
from ragecho.identity.mail.render import Mail
from ragecho.kernel.errors import EchoError
from ragecho.platform.background import in_background
from ragecho.platform.telemetry import get_logger

log = get_logger(__name__)

TIDY_SECONDS = 3600.0
# Long enough for whoever has to learn that a session has ended.
KEPT_SESSION_DAYS = 30


async def collect_invitations(tools: AccountTools) -> int:
    """Put the mails about invitations that wait to be sent into the outbox; returns how many.

    The secret of each link is made here and stored nowhere but in the sealed mail. Whoever has it reads the address's
    mail, which is what a link that an administrator copied does not show.
    """
    for count in range(BATCH):
        if not await _collect_one(tools):
            return count
    return BATCH


async def _collect_one(tools: AccountTools) -> bool:
    secret = new_secret()
    async with tools.database.anonymous() as db:
        waiting = await mail_store.claim_invitation_mail(db, digest_of(secret))
        if waiting is None:
            return False
        minutes = max(1, int((waiting["expires_at"] - datetime.now(UTC)).total_seconds() // 60))
        await store_links.insert_link(
            db, digest=digest_of(secret), kind=Link.INVITATION_MAIL, minutes=minutes, email=waiting["email"]
        )
        await tools.outbox.put(
            db,
            Mail.INVITATION,
            to=waiting["email"],
            link=links.url_of(tools.issuer, Link.INVITATION_MAIL, secret),
            inviter=waiting["inviter"] or "Somebody",
            organization=waiting["organization_name"],
            role=waiting["role"],
            expires=waiting["expires_at"].astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
        await mail_store.finish_invitation_mail(db, waiting["mail_id"], is_sent=True)
    return True


async def tidy(tools: AccountTools) -> None:
    """Forget sessions, links, tickets, counters and mails that are long over."""
    async with tools.database.anonymous() as db:
        await store_sessions.delete_ended(db, days=KEPT_SESSION_DAYS)
        await store_tickets.delete_expired(db)
        await store_links.delete_expired(db)
        await throttle.forget_old(db)
        await mail_store.forget_old(db)


class AccountUpkeep:
    """The background work of one process."""

    def __init__(self, tools: AccountTools, mailer: Mailer) -> None:
        self._tools = tools
        self._mailer = mailer

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run for as long as the context lasts."""
        async with self._mailer.running(), in_background(self._tidying(), name="tidying of accounts"):
            yield

    async def _tidying(self) -> None:
        while True:
            try:
                await tidy(self._tools)
            except EchoError as error:
                log.warning("accounts.tidying_failed", code=error.code)
            except Exception:
                log.exception("accounts.tidying_failed")
            await asyncio.sleep(TIDY_SECONDS)
