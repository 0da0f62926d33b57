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
from ragecho.engines.parsing.compressed_rtf import uncompressed
from ragecho.engines.parsing.detect import decode
from ragecho.engines.parsing.failures import failure
from ragecho.engines.parsing.html import read_html
from ragecho.engines.parsing.plain import read_plain
from ragecho.engines.parsing.rtf import read_rtf, unpacked_html
from ragecho.kernel.parsed import BlockKind
from ragecho.ports.parser import ParseLimits

_HEADERS = ("From", "To", "Cc", "Date")
_MOST_PARTS = 2_000
_ATTACHMENT = re.compile(r"__attach_version1\.0_#[0-9A-F]{8}$", re.I)
_DATE_TAGS = (0x00390040, 0x0E060040)  # PidTagClientSubmitTime, PidTagMessageDeliveryTime
_PROPERTIES_HEADER = 32
_INNER_PROPERTIES_HEADER = 24
_DEEPEST = 3  # messages within each other
_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Mail:
    """A message. `attachments` are names and bytes, in its order; pictures shown in the text are not among them."""

    subject: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    date: datetime | None = None
    plain: str = ""
    html: str = ""
    rtf: bytes = b""
    attachments: list[tuple[str, bytes]] = field(default_factory=list)


def add_mail(builder: DocumentBuilder, mail: Mail, limits: ParseLimits) -> None:
    """Add subject, headers and text; not the attachments."""
    sender = re.sub(r"\s*<[^>]*>", "", mail.headers.get("From", "")).strip("\"' ") or mail.headers.get("From", "")
    builder.describe(title=mail.subject, authors=[sender], created=mail.date)
    builder.add(BlockKind.HEADING, " ".join(mail.subject.split()), level=1)
    builder.add(BlockKind.META, "\n".join(f"{name}: {text}" for name, text in mail.headers.items() if text))
    if mail.plain.strip():
        read_plain(builder, mail.plain)
    elif mail.html:
        read_html(builder, mail.html)
    elif mail.rtf:
        read_rtf(builder, mail.rtf, limits)


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
    """Return a part's text: in the encoding that it names, where it is in that one."""
    data = _payload(part)
    charset = part.get_content_charset()
    try:
        text = data.decode(charset or "utf-8")
    except (LookupError, UnicodeDecodeError):
        text = decode(data, is_html=part.get_content_type() == "text/html")[0]
    return _unfolded(text) if str(part.get_param("format", "")).lower() == "flowed" else text


def _unfolded(text: str) -> str:
    """Return text whose lines were broken for sending (RFC 3676): one that ends in a space goes on in the next."""
    lines: list[str] = []
    goes_on = False
    for line in text.replace("\r\n", "\n").split("\n"):
        shown = line[1:] if line.startswith(" ") else line
        if goes_on and not shown.startswith(">"):
            lines[-1] += shown
        else:
            lines.append(shown)
        goes_on = line.endswith(" ") and line != "-- "
    return "\n".join(lines)


def msg(data: bytes) -> Mail:
    """Return a message as Outlook stores it ([MS-OXMSG])."""
    import olefile

    try:
        return _stored(olefile.OleFileIO(io.BytesIO(data)), "", 0)
    except (OSError, ValueError, IndexError, struct.error) as error:
        raise failure("damaged") from error


def _stored(store: Any, folder: str, depth: int) -> Mail:
    """Return the message in a folder of the file, "" for the outermost."""
    mail = Mail(subject=_property(store, folder, "0037"))
    address = _property(store, folder, "5D01") or _property(store, folder, "0C1F")
    name = _property(store, folder, "0C1A")
    mail.headers = {
        "From": f"{name} <{address}>" if name and "@" in address and name != address else name or address,
        "To": _property(store, folder, "0E04"),
        "Cc": _property(store, folder, "0E03"),
    }
    mail.date = _sent_at(store, folder)
    if mail.date is not None:
        mail.headers["Date"] = mail.date.isoformat(timespec="seconds")
    mail.plain = _property(store, folder, "1000")
    raw = _stream(store, _within(folder, "__substg1.0_10130102"))
    mail.html = decode(raw, is_html=True)[0] if raw else _property(store, folder, "1013")
    if not mail.plain.strip() and not mail.html:
        mail.rtf = uncompressed(_stream(store, _within(folder, "__substg1.0_10090102")))
        mail.html = unpacked_html(mail.rtf) or ""
    mail.attachments = list(_attachments(store, folder, depth))
    return mail


def _attachments(store: Any, folder: str, depth: int) -> Iterator[tuple[str, bytes]]:
    level = len(folder.split("/")) if folder else 0
    names = {path[level] for path in store.listdir() if len(path) > level and "/".join(path[:level]) == folder}
    for one in sorted(filter(_ATTACHMENT.fullmatch, names)):
        place = _within(folder, one)
        content = _stream(store, f"{place}/__substg1.0_37010102")
        title = _property(store, place, "3707") or _property(store, place, "3704") or _property(store, place, "3001")
        if content:
            yield title or "attachment", content
        elif store.exists(f"{place}/__substg1.0_3701000D") and depth < _DEEPEST:
            inner = _stored(store, f"{place}/__substg1.0_3701000D", depth + 1)
            if inner.subject or inner.plain or inner.html:
                yield f"{inner.subject or title or 'message'}.eml", _as_eml(inner)


def _as_eml(mail: Mail) -> bytes:
    """Return a message within a message in the format that all others come in."""
    message = EmailMessage()
    for name, value in {"Subject": mail.subject, **mail.headers}.items():
        if value:
            message[name] = " ".join(value.split())
    if mail.html and not mail.plain.strip():
        message.set_content(mail.html, subtype="html")
    else:
        message.set_content(mail.plain)
    for name, content in mail.attachments:
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


def _within(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _stream(store: Any, path: str) -> bytes:
    return bytes(store.openstream(path).read()) if store.exists(path) else b""


def _property(store: Any, folder: str, tag: str) -> str:
    prefix = f"{folder}/" if folder else ""
    if wide := _stream(store, f"{prefix}__substg1.0_{tag}001F"):
        return clean(wide.decode("utf-16-le", "replace"))
    return clean(_stream(store, f"{prefix}__substg1.0_{tag}001E").decode("cp1252", "replace"))


def _sent_at(store: Any, folder: str) -> datetime | None:
    """Return the time of the fixed-size properties: entries of 16 bytes, the value of a time in 100 ns since 1601."""
    raw = _stream(store, _within(folder, "__properties_version1.0"))
    found: dict[int, datetime] = {}
    header = _INNER_PROPERTIES_HEADER if folder else _PROPERTIES_HEADER
    for place in range(header, len(raw) - 15, 16):
        tag, _, value = struct.unpack_from("<IIQ", raw, place)
        if tag in _DATE_TAGS and value:
            try:
                found[tag] = _FILETIME_EPOCH + timedelta(microseconds=value // 10)
            except OverflowError:
                continue
    return next((found[tag] for tag in _DATE_TAGS if tag in found), None)
