import asyncio
from collections.abc import AsyncIterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import anyio
import pytest
import structlog
from aiosmtpd.controller import Controller
from pydantic import SecretStr
from sqlalchemy import text
from tests.db.accounts_driver import VAULT, browser, identity_database, mailed_token, make_account, new_email, services

from ragecho.identity.accounts.build import AccountServices
from ragecho.identity.mail import store
from ragecho.identity.mail.delivery import Mailer
from ragecho.identity.mail.render import Mail, render
from ragecho.identity.mail.settings import MailSettings, smtp_server
from ragecho.identity.mail.smtp import NotDelivered, SmtpTransport
from ragecho.platform.database import Database

pytestmark = pytest.mark.anyio


class Inbox:
    """What a mail server received; refuses recipients that are told to it, one code each."""

    def __init__(self) -> None:
        self.received: list[tuple[list[str], bytes]] = []
        self.refusals: dict[str, str] = {}

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802 - the library's name
        if address in self.refusals:
            return self.refusals[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - the library's name
        self.received.append((envelope.rcpt_tos, envelope.content))
        return "250 OK"


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
async def mail_server(inbox: Inbox) -> AsyncIterator[MailSettings]:
    controller = Controller(inbox, hostname="127.0.0.1", port=0, server_hostname="test")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(controller.factory, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield MailSettings(smtp_url=SecretStr(f"smtp://127.0.0.1:{port}"), mail_from="Echo <echo@example.com>")
    server.close()
    controller.loop.close()


@pytest.fixture
async def database_of_identity(owner_url: str) -> AsyncIterator[Database]:
    database = identity_database(owner_url)
    async with database.anonymous() as db:
        await db.execute(text("delete from identity_outbox"))
    yield database
    await database.close()


async def rows(accounts: AccountServices) -> list[Any]:
    async with accounts.tools.database.anonymous() as db:
        found = await db.execute(text("select * from identity_outbox order by created_at"))
        return list(found.mappings())


async def due_again(accounts: AccountServices) -> None:
    async with accounts.tools.database.anonymous() as db:
        await db.execute(text("update identity_outbox set next_attempt_at = now()"))


async def test_a_mail_is_sent_in_text_and_html_once_and_then_forgotten(
    database_of_identity: Database, mail_server: MailSettings, inbox: Inbox
) -> None:
    accounts = services(database_of_identity, mail=mail_server)
    _, email = await make_account(accounts)
    await accounts.accounts.request_password_reset(email, browser=browser())
    assert await accounts.mailer.deliver_due() == 1
    assert await accounts.mailer.deliver_due() == 0
    ((recipients, content),) = inbox.received
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert recipients == [email]
    assert (message["From"], message["To"]) == ("Echo <echo@example.com>", email)
    assert [part.get_content_type() for part in message.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    plain, html = (part.get_content() for part in message.iter_parts() if isinstance(part, EmailMessage))
    assert "/reset-password?token=" in plain
    assert "/reset-password?token=" in html
    (row,) = await rows(accounts)
    assert row["sent_at"] is not None
    assert row["body_sealed"] is None


async def test_several_processes_send_each_mail_once(
    database_of_identity: Database, mail_server: MailSettings, inbox: Inbox
) -> None:
    accounts = [services(database_of_identity, mail=mail_server) for _ in range(4)]
    wanted = {new_email() for _ in range(20)}
    for email in wanted:
        await accounts[0].accounts.request_password_reset(email, browser=browser())

    async def work(one: AccountServices) -> None:
        while await one.mailer.deliver_due():
            pass

    await asyncio.gather(*(work(one) for one in accounts))
    assert sorted(to[0] for to, _ in inbox.received) == sorted(wanted)


async def test_a_refusal_for_now_is_tried_again_later_and_a_final_one_is_not(
    database_of_identity: Database, mail_server: MailSettings, inbox: Inbox
) -> None:
    accounts = services(database_of_identity, mail=mail_server)
    later, never = new_email(), new_email()
    inbox.refusals = {later: "451 come back", never: "550 no such person"}
    for email in (later, never):
        await accounts.accounts.request_password_reset(email, browser=browser())
    assert await accounts.mailer.deliver_due() == 0
    by_recipient = {row["recipient"]: row for row in await rows(accounts)}
    assert by_recipient[never]["failed_at"] is not None
    assert by_recipient[never]["body_sealed"] is None
    assert by_recipient[later]["last_error"] == "smtp_451"
    assert by_recipient[later]["next_attempt_at"] > by_recipient[later]["created_at"]
    inbox.refusals = {}
    assert await accounts.mailer.deliver_due() == 0
    await due_again(accounts)
    assert await accounts.mailer.deliver_due() == 1
    assert [to for to, _ in inbox.received] == [[later]]


async def test_a_mail_server_that_is_away_loses_nothing(database_of_identity: Database) -> None:
    closed = MailSettings(smtp_url=SecretStr("smtp://127.0.0.1:1"), mail_from="echo@example.com")
    accounts = services(database_of_identity, mail=closed)
    await accounts.accounts.request_password_reset(new_email(), browser=browser())
    assert await accounts.mailer.deliver_due() == 0
    (row,) = await rows(accounts)
    assert row["body_sealed"] is not None
    assert row["failed_at"] is None
    assert row["attempts"] == 1


async def test_a_mail_that_is_never_taken_fails_in_the_end(database_of_identity: Database) -> None:
    class Refusing:
        async def send(self, message: EmailMessage) -> None:
            raise NotDelivered("TimeoutError", is_final=False)

    accounts = services(database_of_identity)
    mailer = Mailer(database_of_identity, accounts.tools.outbox, Refusing(), sender="echo@example.com")
    await accounts.accounts.request_password_reset(new_email(), browser=browser())
    for _ in range(10):
        await due_again(accounts)
        await mailer.deliver_due()
    (row,) = await rows(accounts)
    assert row["failed_at"] is not None
    assert row["body_sealed"] is None


async def test_delivery_in_the_background_starts_when_a_mail_is_written(
    database_of_identity: Database, mail_server: MailSettings, inbox: Inbox
) -> None:
    accounts = services(database_of_identity, mail=mail_server)
    async with accounts.upkeep.running():
        await accounts.accounts.request_password_reset(new_email(), browser=browser())
        with anyio.fail_after(20):
            while not (await rows(accounts))[0]["sent_at"]:
                await anyio.lowlevel.checkpoint()
    assert len(inbox.received) == 1


async def test_passwords_are_not_sent_to_a_mail_server_without_encryption(mail_server: MailSettings) -> None:
    assert mail_server.smtp_url is not None
    port = smtp_server(mail_server.smtp_url.get_secret_value()).port
    transport = SmtpTransport(smtp_server(f"smtp://me:secret@mail.example:{port}"))
    server = smtp_server(f"smtp://me:secret@mail.example:{port}")
    assert server.requires_starttls
    assert "secret" not in repr(server)
    # Reached on this machine, it still insists.
    object.__setattr__(transport._server, "host", "127.0.0.1")
    with pytest.raises(NotDelivered) as refused:
        await transport.send(EmailMessage())
    assert not refused.value.is_final


async def test_the_log_says_where_a_development_mail_is_read_and_never_its_link(database_of_identity: Database) -> None:
    accounts = services(database_of_identity)
    _, email = await make_account(accounts)
    with structlog.testing.capture_logs() as logged:
        await accounts.accounts.request_password_reset(email, browser=browser())
    token = await mailed_token(accounts, email)
    (entry,) = [entry for entry in logged if entry["event"] == "mail.queued"]
    assert (entry["recipient"], entry["subject"]) == (email, "Choose a new password")
    assert entry["read_it_at"].endswith("/identity/outbox")
    assert token not in str(logged)


async def test_with_a_mail_server_the_log_names_nobody_and_no_page_shows_mails(
    database_of_identity: Database, mail_server: MailSettings
) -> None:
    accounts = services(database_of_identity, mail=mail_server)
    _, email = await make_account(accounts)
    with structlog.testing.capture_logs() as logged:
        await accounts.accounts.request_password_reset(email, browser=browser())
        await accounts.mailer.deliver_due()
    assert {entry["event"] for entry in logged} == {"mail.queued", "mail.sent"}
    assert email not in str(logged)
    async with accounts.tools.database.anonymous() as db:
        assert await accounts.tools.outbox.list_outbox(db) == []


async def test_old_mails_are_forgotten(database_of_identity: Database) -> None:
    accounts = services(database_of_identity)
    for _ in range(2):
        await accounts.accounts.request_password_reset(new_email(), browser=browser())
    first, second = await rows(accounts)
    async with accounts.tools.database.anonymous() as db:
        for row, age in ((first, "3 days"), (second, "8 days")):
            await db.execute(
                text("update identity_outbox set created_at = now() - cast(:age as interval) where id = :id"),
                {"id": row["id"], "age": age},
            )
        await store.forget_old(db)
    (left,) = await rows(accounts)
    assert left["id"] == first["id"]
    assert left["body_sealed"] is None


async def test_a_body_sealed_for_another_server_fails_alone(
    database_of_identity: Database, mail_server: MailSettings, inbox: Inbox
) -> None:
    accounts = services(database_of_identity, mail=mail_server)
    for _ in range(2):
        await accounts.accounts.request_password_reset(new_email(), browser=browser())
    first, second = await rows(accounts)
    async with accounts.tools.database.anonymous() as db:
        await db.execute(
            text("update identity_outbox set body_sealed = :sealed where id = :id"),
            {"id": first["id"], "sealed": VAULT.encrypt("{}", purpose="something else")},
        )
    assert await accounts.mailer.deliver_due() == 1
    assert inbox.received[0][0] == [second["recipient"]]


def test_names_cannot_add_lines_or_markup() -> None:
    mail = render(
        Mail.INVITATION,
        link="https://echo.example/invitation?token=x&more=1",
        issuer="https://echo.example",
        inviter="Eve\r\nBcc: victim@example.com",
        organization='<img src=x onerror="alert(1)">',
        role="member",
        expires="tomorrow",
    )
    assert "\n" not in mail.subject
    assert "\r" not in mail.text
    assert "<img" not in mail.html
    assert 'href="https://echo.example/invitation?token=x&amp;more=1"' in mail.html


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("mail", list(Mail))
def test_every_mail_renders_in_both_forms(mail: Mail, language: str) -> None:
    rendered = render(
        mail,
        language=language,
        link="https://echo.example/x?token=y",
        issuer="https://echo.example",
        minutes=60,
        inviter="Ada",
        organization="Acme",
        role="member",
        expires="tomorrow",
        new_email="new@example.com",
        is_done=1,
        user_agent="Firefox",
        ip="192.0.2.1",
        what="passkey_added",
        name="Laptop",
    )
    assert rendered.subject
    assert "https://echo.example" in rendered.text
    assert f'<html lang="{language}">' in rendered.html
    assert f"<title>{rendered.subject}</title>" in rendered.html


def test_a_mail_comes_in_the_readers_language_or_in_english() -> None:
    values: dict[str, Any] = {"issuer": "https://echo.example", "minutes": 60}
    subjects = [
        render(Mail.RESET_PASSWORD, language=tag, **values).subject for tag in ("de-AT", "DE", "fr", "x\x00", None)
    ]
    german, english = "Wählen Sie ein neues Passwort", "Choose a new password"
    assert subjects == [german, german, english, english, english]
