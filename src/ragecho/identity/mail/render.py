"""Mails from templates: each is written once, as a subject, paragraphs and an action; text and HTML are made from that."""

import re
from dataclasses import dataclass, field
from email.message import EmailMessage
from enum import StrEnum
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"
DEFAULT_LANGUAGE = "en"
# A new language is a new folder of templates, and its words for this.
_COPY = {"en": "Or copy this address into the browser:", "de": "Oder kopieren Sie diese Adresse in den Browser:"}


class Mail(StrEnum):
    """The mails that accounts send; each is a template of that name."""

    REGISTRATION = "registration"
    ALREADY_REGISTERED = "already_registered"
    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - a template's name
    RESET_UNKNOWN = "reset_unknown"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a template's name
    CHANGE_EMAIL = "change_email"
    EMAIL_TAKEN = "email_taken"
    EMAIL_CHANGED = "email_changed"
    INVITATION = "invitation"
    NEW_DEVICE = "new_device"
    SIGN_IN_CHANGED = "sign_in_changed"
    ACCOUNT_DELETED = "account_deleted"


@dataclass(frozen=True, slots=True)
class RenderedMail:
    """A mail in both forms. It may hold a link that works: seal it, do not log it."""

    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)


def mail_language(tag: str | None) -> str:
    """Return the language of a mail for somebody who reads `tag` (BCP 47)."""
    language = (tag or "").partition("-")[0].lower()
    return language if language in _COPY else DEFAULT_LANGUAGE


def render(
    mail: Mail, *, link: str | None = None, language: str | None = None, **values: str | int | None
) -> RenderedMail:
    """Return the mail with these values; `link` is where its action leads, `language` a tag like `de-AT`."""
    tongue = mail_language(language)
    template = _plain().get_template(f"{tongue}/{mail}.jinja")
    context = template.new_context({name: _one_line(value) for name, value in values.items()})

    def block(name: str) -> str:
        return "".join(template.blocks[name](context)).strip() if name in template.blocks else ""

    subject = _one_line(block("subject"))
    paragraphs = [_one_line(paragraph) for paragraph in re.split(r"\n\s*\n", block("text")) if paragraph.strip()]
    shown = {
        "language": tongue,
        "copy": _COPY[tongue],
        "subject": subject,
        "paragraphs": paragraphs,
        "action": _one_line(block("action")) if link else None,
        "link": link,
        "note": _one_line(block("note")),
    }
    return RenderedMail(
        str(subject),
        _plain().get_template("layout.txt").render(shown),
        _escaping().get_template("layout.html").render(shown),
    )


def message_of(mail: RenderedMail, *, sender: str, recipient: str, message_id: str) -> EmailMessage:
    """Return what is handed to the mail server."""
    message = EmailMessage()
    message["From"] = sender
    message["To"] = recipient
    message["Subject"] = mail.subject
    message["Message-ID"] = message_id
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    return message


@cache
def _plain() -> Environment:
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=False, undefined=StrictUndefined)  # noqa: S701 - plain text


@cache
def _escaping() -> Environment:
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)


def _one_line[T](value: T) -> T | str:
    """Return a text without line breaks and control characters: names come from people, and one may be in a subject."""
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", value).strip() if isinstance(value, str) else value
