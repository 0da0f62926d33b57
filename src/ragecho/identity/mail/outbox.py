"""The outbox: mails are written in the transaction that makes them necessary, and sent after it.

What a mail says is sealed by the vault while it waits (it holds links that work) and cleared once it is sent. Where no
mail server is set, a development server keeps it readable on its outbox page; the log says where, never what.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import orjson

from ragecho.identity.mail import store
from ragecho.identity.mail.render import Mail, RenderedMail, render
from ragecho.identity.vault import Vault, VaultError
from ragecho.kernel.ids import uuid7
from ragecho.platform.database import Row, Session
from ragecho.platform.telemetry import get_logger

log = get_logger(__name__)

PURPOSE = "outbox"


@dataclass(frozen=True, slots=True)
class OutboxMail:
    """A mail in the outbox; `text` and `html` are None once it was sent."""

    id: UUID
    recipient: str
    subject: str
    created_at: datetime
    text: str | None = field(repr=False)
    html: str | None = field(repr=False)


class Outbox:
    """Where accounts put their mail. `page_url` is set where mail is read on a page instead of being sent."""

    def __init__(self, vault: Vault, *, issuer: str, page_url: str | None = None) -> None:
        self._vault = vault
        self._issuer = issuer
        self.page_url = page_url
        self.has_mail = asyncio.Event()

    async def put(
        self,
        db: Session,
        mail: Mail,
        *,
        to: str,
        language: str | None = None,
        link: str | None = None,
        **values: str | int | None,
    ) -> None:
        """Write a mail in this transaction, in the reader's language (a tag like `de`) where there is one for it."""
        rendered = render(mail, link=link, language=language, issuer=self._issuer, **values)
        await store.insert_mail(
            db,
            {
                "id": uuid7(),
                "recipient": to,
                "template": str(mail),
                "subject": rendered.subject,
                "sealed": self._vault.encrypt(
                    orjson.dumps({"subject": rendered.subject, "text": rendered.text, "html": rendered.html}),
                    purpose=PURPOSE,
                ),
            },
        )
        self.has_mail.set()
        if self.page_url is None:
            log.info("mail.queued", template=str(mail))
        else:
            # Development only: which mail, to whom, and where to read it; the link in it stays there.
            log.info("mail.queued", subject=rendered.subject, recipient=to, read_it_at=self.page_url)

    def open(self, sealed: str) -> RenderedMail:
        """Return what a waiting mail says. Raises `VaultError`."""
        return RenderedMail(**orjson.loads(self._vault.decrypt(sealed, purpose=PURPOSE)))

    async def list_outbox(self, db: Session, *, limit: int = 50) -> list[OutboxMail]:
        """Return the newest mails with what they say, for the outbox page of a development server. Empty elsewhere."""
        if self.page_url is None:
            return []
        return [self._shown(row) for row in await store.list_mails(db, limit=limit)]

    def _shown(self, row: Row) -> OutboxMail:
        opened = None
        if row["body_sealed"] is not None:
            try:
                opened = self.open(row["body_sealed"])
            except VaultError:
                log.warning("mail.unreadable", mail_id=str(row["id"]))
        return OutboxMail(
            id=row["id"],
            recipient=row["recipient"],
            subject=row["subject"],
            created_at=row["created_at"],
            text=opened.text if opened else None,
            html=opened.html if opened else None,
        )
