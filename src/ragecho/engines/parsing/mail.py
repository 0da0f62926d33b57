"""E-mail: headers, text and attachments of messages as sent (EML) and as Outlook stores them (MSG)."""

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any

from ragecho.engines.parsing.build import DocumentBuilder, clean
from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.html import read_html
from ragecho.engines.parsing.plain import read_plain
from ragecho.kernel.parsed import BlockKind

_HEADERS = ("From", "To", "Cc", "Date")
_MOST_PARTS = 2_000
_ATTACHMENT = re.compile(r"__attach_version1\.0_#[0-9A-F]{8}$", re.I)
_DATE_TAGS = (0x00390040, 0x0E060040)  # PidTagClientSubmitTime, PidTagMessageDeliveryTime
_PROPERTIES_HEADER = 32
_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Mail:
    """A message. `attachments` are names and bytes, in its order; pictures shown in the text are not among them."""

    subject: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    date: datetime | None = None
    plain: str = ""
    html: str = ""
    attachments: list[tuple[str, bytes]] = field(default_factory=list)


def add_mail(builder: DocumentBuilder, mail: Mail) -> None:
    """Add subject, headers and text; not the attachments."""
    sender = re.sub(r"\s*<[^>]*>", "", mail.headers.get("From", "")).strip("\"' ") or mail.headers.get("From", "")
    builder.describe(title=mail.subject, authors=[sender], created=mail.date)
    builder.add(BlockKind.HEADING, " ".join(mail.subject.split()), level=1)
    builder.add(BlockKind.META, "\n".join(f"{name}: {text}" for name, text in mail.headers.items() if text))
    if mail.plain.strip():
        read_plain(builder, mail.plain)
    elif mail.html:
        read_html(builder, mail.html)


def eml(data: bytes) -> Mail:
    """Return a message in the format of RFC 5322."""
    message = message_from_bytes(data, policy=policy.default)
    mail = Mail(subject=_header(message, "Subject"))
    mail.headers = {name: _header(message, name) for name in _HEADERS}
    try:
        mail.date = parsedate_to_datetime(mail.headers["Date"]) if mail.headers["Date"] else None
    except ValueError:
        mail.date = None
    for part in _parts(message):
        _take(mail, part)
    if not (mail.subject or any(mail.headers.values())) and not mail.plain and not mail.html:
        raise failure("damaged")
    return mail


def _header(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(str(message.get(name, "")).split())
    except (ValueError, IndexError, AttributeError):  # the library stumbles over some broken headers
        return ""


def _parts(message: EmailMessage) -> Iterator[EmailMessage]:
    """Yield what has content: a message within this one as a whole, the rest part by part."""
    waiting = [message]
    seen = 0
    while waiting:
        part = waiting.pop(0)
        seen += 1
        if seen > _MOST_PARTS:
            raise failure("too_many_members", limit=_MOST_PARTS)
        if part.get_content_maintype() == "multipart":
            waiting[:0] = [one for one in part.get_payload() if isinstance(one, EmailMessage)]
        else:
            yield part


def _take(mail: Mail, part: EmailMessage) -> None:
    kind = part.get_content_type()
    name = part.get_filename() or ""
    is_attached = part.get_content_disposition() == "attachment" or bool(name)
    if kind == "message/rfc822":
        inner = part.get_payload()
        for message in [one for one in inner if isinstance(one, EmailMessage)] if isinstance(inner, list) else ():
            mail.attachments.append((name or f"{_header(message, 'Subject') or 'message'}.eml", message.as_bytes()))
    elif is_attached and not (part.get("Content-ID") and kind.startswith("image/") and _is_inline(part)):
        mail.attachments.append((name or f"attachment.{part.get_content_subtype()}", _payload(part)))
    elif kind == "text/plain":
        mail.plain = f"{mail.plain}\n\n{_text(part)}".strip()
    elif kind == "text/html":
        mail.html += _text(part)


def _is_inline(part: EmailMessage) -> bool:
    return part.get_content_disposition() != "attachment"


def _payload(part: EmailMessage) -> bytes:
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _text(part: EmailMessage) -> str:
    charset = part.get_content_charset() or "utf-8"
    try:
        return _payload(part).decode(charset, "replace")
    except LookupError:
        return _payload(part).decode("utf-8", "replace")


def msg(data: bytes) -> Mail:
    """Return a message as Outlook stores it ([MS-OXMSG]). Its text may be missing: Outlook sometimes keeps only RTF."""
    import olefile

    try:
        store = olefile.OleFileIO(io.BytesIO(data))
        mail = Mail(subject=_property(store, "", "0037"))
        address = _property(store, "", "5D01") or _property(store, "", "0C1F")
        name = _property(store, "", "0C1A")
        mail.headers = {
            "From": f"{name} <{address}>" if name and "@" in address and name != address else name or address,
            "To": _property(store, "", "0E04"),
            "Cc": _property(store, "", "0E03"),
        }
        mail.date = _sent_at(store)
        if mail.date is not None:
            mail.headers["Date"] = mail.date.isoformat(timespec="seconds")
        mail.plain = _property(store, "", "1000")
        raw = _stream(store, "__substg1.0_10130102")
        mail.html = raw.decode("utf-8", "replace") if raw else _property(store, "", "1013")
        folders = sorted({path[0] for path in store.listdir() if _ATTACHMENT.fullmatch(path[0])})
        for folder in folders:
            content = _stream(store, f"{folder}/__substg1.0_37010102")
            title = _property(store, folder, "3707") or _property(store, folder, "3704") or "attachment"
            if content:
                mail.attachments.append((title, content))
    except (OSError, ValueError, IndexError, struct.error) as error:
        raise failure("damaged") from error
    return mail


def _stream(store: Any, path: str) -> bytes:
    return bytes(store.openstream(path).read()) if store.exists(path) else b""


def _property(store: Any, folder: str, tag: str) -> str:
    prefix = f"{folder}/" if folder else ""
    if wide := _stream(store, f"{prefix}__substg1.0_{tag}001F"):
        return clean(wide.decode("utf-16-le", "replace"))
    return clean(_stream(store, f"{prefix}__substg1.0_{tag}001E").decode("cp1252", "replace"))


def _sent_at(store: Any) -> datetime | None:
    """Return the time of the fixed-size properties: entries of 16 bytes, the value of a time in 100 ns since 1601."""
    raw = _stream(store, "__properties_version1.0")
    found: dict[int, datetime] = {}
    for place in range(_PROPERTIES_HEADER, len(raw) - 15, 16):
        tag, _, value = struct.unpack_from("<IIQ", raw, place)
        if tag in _DATE_TAGS and value:
            try:
                found[tag] = _FILETIME_EPOCH + timedelta(microseconds=value // 10)
            except OverflowError:
                continue
    return next((found[tag] for tag in _DATE_TAGS if tag in found), None)
