"""Mailboxes over IMAP4rev1 (RFC 3501), by the standard library's client in a thread, on an address that was judged first.

A message's key is its folder, the folder's UIDVALIDITY and its UID: together they name one message for ever. Folders are
opened read-only, and messages are peeked at: nothing is marked as read.
"""

import asyncio
import email
import email.policy
import imaplib
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ragecho.engines.sources.utf7 import encode_folder
from ragecho.kernel.errors import Unavailable
from ragecho.platform.outbound import AddressRefused, is_public, system_resolve
from ragecho.ports.source import Fetched, Gone, Item, Listing, Outcome, Skipped, SourceRefused
from ragecho.ports.source_configs import ImapConfig

SECONDS = 30.0
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class ImapSource:
    """The messages in folders of a mailbox."""

    at_once = 1

    def __init__(
        self, config: ImapConfig, secrets: Mapping[str, str], *, allow_private: bool = False, max_bytes: int
    ) -> None:
        self._config = config
        self._password = secrets.get("password", "")
        self._allow_private = allow_private
        self._max_bytes = max_bytes
        self._connection: imaplib.IMAP4 | None = None
        self._folder: tuple[str, str] | None = None

    @property
    def max_items(self) -> int:
        """How many messages one run looks at."""
        return self._config.max_messages

    async def list_changes(self, cursor: Mapping[str, Any] | None) -> Listing:
        """Return all messages of the folders; a message never changes, so only new ones are fetched."""
        return await self._do(self._list)

    async def fetch(self, item: Item) -> Outcome:
        """Return a message as it was sent."""
        return await self._do(lambda connection: self._fetch(connection, item))

    async def close(self) -> None:
        """Sign out."""
        if self._connection is not None:
            await asyncio.to_thread(_sign_out, self._connection)

    async def _do[T](self, act: Callable[[imaplib.IMAP4], T]) -> T:
        try:
            if self._connection is None:
                self._connection = await self._connected()
            return await asyncio.to_thread(act, self._connection)
        except (imaplib.IMAP4.abort, OSError) as error:
            self._connection, self._folder = None, None
            if isinstance(error, ssl.SSLCertVerificationError):
                message = f"The certificate of {self._config.host} is not valid: {error.verify_message}."
                raise SourceRefused("bad_certificate", message) from error
            raise Unavailable(f"{self._config.host} cannot be reached, or closed the connection.") from error
        except imaplib.IMAP4.error as error:
            raise SourceRefused("unexpected_answer", f"{self._config.host} refused a command.") from error

    async def _connected(self) -> imaplib.IMAP4:
        config = self._config
        if config.security == "none" and not self._allow_private:
            raise SourceRefused("not_permitted", "A password is not sent over a connection without encryption.")
        address = await self._judged()
        return await asyncio.to_thread(self._connect, address)

    async def _judged(self) -> str:
        """Return an address of the host. Raises `AddressRefused` unless all of them are public."""
        try:
            found = await system_resolve(self._config.host, self._config.port)
        except (OSError, UnicodeError) as error:
            raise Unavailable(f"{self._config.host} has no address.") from error
        for address in found:
            if not self._allow_private and not is_public(ipaddress.ip_address(address.partition("%")[0])):
                raise AddressRefused(f"{self._config.host} is not on the public internet.")
        return found[0]

    def _connect(self, address: str) -> imaplib.IMAP4:
        config = self._config
        context = ssl.create_default_context()
        connection: imaplib.IMAP4
        if config.security == "tls":
            connection = _PinnedTls(config.host, config.port, address=address, context=context)
        else:
            connection = _Pinned(config.host, config.port, address=address)
        if config.security == "starttls":
            connection.starttls(context)
        try:
            connection.login(config.username, self._password)
        except imaplib.IMAP4.abort:
            raise
        except (imaplib.IMAP4.error, UnicodeError) as error:
            _sign_out(connection)
            raise SourceRefused(
                "not_permitted", f"{config.host} does not accept this user name and password."
            ) from error
        return connection

    def _list(self, connection: imaplib.IMAP4) -> Listing:
        items: list[Item] = []
        for folder in self._config.folders:
            validity = self._open(connection, folder)
            criteria = "ALL"
            if self._config.days is not None:
                since = datetime.now(UTC) - timedelta(days=self._config.days)
                criteria = f"SINCE {since.day}-{_MONTHS[since.month - 1]}-{since.year}"
            _, data = connection.uid("SEARCH", criteria)
            uids = (data[0] or b"").split()
            # The newest first: where there are too many, the oldest are left out.
            items += [Item(f"{folder};{validity};{uid.decode('ascii')}", revision="1") for uid in reversed(uids)]
        return Listing(tuple(items))

    def _fetch(self, connection: imaplib.IMAP4, item: Item) -> Outcome:
        folder, validity, uid = item.key.rsplit(";", 2)
        if self._open(connection, folder) != validity:
            return Gone()
        _, sizes = connection.uid("FETCH", uid, "(RFC822.SIZE)")
        size = re.search(rb"RFC822\.SIZE (\d+)", sizes[0] if sizes and isinstance(sizes[0], bytes) else b"")
        if size is not None and int(size[1]) > self._max_bytes:
            return Skipped(f"It has more than {self._max_bytes} bytes.", revision="1")
        _, data = connection.uid("FETCH", uid, "(BODY.PEEK[])")
        content = next((part[1] for part in data if isinstance(part, tuple)), None)
        if content is None:
            return Gone()
        head = email.message_from_bytes(content.split(b"\r\n\r\n", 1)[0], policy=email.policy.default)
        subject = _header(head, "subject") or "No subject"
        facts = {
            "subject": subject,
            "from": _header(head, "from"),
            "date": _header(head, "date"),
            "message_id": _header(head, "message-id"),
            "folder": folder,
        }
        metadata = {name: value for name, value in facts.items() if value}
        return Fetched(item.key, f"{subject}.eml", _whole(content), "message/rfc822", metadata=metadata, revision="1")

    def _open(self, connection: imaplib.IMAP4, folder: str) -> str:
        """Open a folder read-only and return its UIDVALIDITY."""
        if self._folder is not None and self._folder[0] == folder:
            return self._folder[1]
        status, _ = connection.select(encode_folder(folder), readonly=True)
        if status != "OK":
            raise SourceRefused("no_folder", f"The mailbox has no folder '{folder}'.")
        told = connection.untagged_responses.get("UIDVALIDITY") or [b"0"]
        first = told[0]
        self._folder = (folder, first.decode("ascii", "replace") if isinstance(first, bytes) else "0")
        return self._folder[1]


class _Pinned(imaplib.IMAP4):
    """Connects to an address that was judged, not to what its name may mean by then."""

    def __init__(self, host: str, port: int, *, address: str) -> None:
        self._address = address
        super().__init__(host, port, timeout=SECONDS)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return socket.create_connection((self._address, self.port), timeout)


class _PinnedTls(imaplib.IMAP4_SSL):
    """The same, encrypted; the certificate must be for the name."""

    def __init__(self, host: str, port: int, *, address: str, context: ssl.SSLContext) -> None:
        self._address = address
        self._context = context
        super().__init__(host, port, ssl_context=context, timeout=SECONDS)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        plain = socket.create_connection((self._address, self.port), timeout)
        return self._context.wrap_socket(plain, server_hostname=self.host)


def _sign_out(connection: imaplib.IMAP4) -> None:
    try:
        connection.logout()
    except (imaplib.IMAP4.error, OSError):
        connection.shutdown()


def _header(message: Any, name: str) -> str:
    """Return a header on one line; mail is full of headers that no parser likes."""
    try:
        value = str(message[name] or "")
    except Exception:  # noqa: BLE001 - the library's parser raises many kinds; the message is read all the same
        return ""
    return " ".join(value.encode("utf-8", "replace").decode().replace("\0", "").split())[:500]


async def _whole(content: bytes) -> AsyncGenerator[bytes]:
    yield content
