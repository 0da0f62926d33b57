"""What people type, so that it can be stored and compared."""

import re
import unicodedata

from ragecho.kernel.errors import InvalidInput

MAX_EMAIL = 254
MAX_NAME = 200
_LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")


def storable(value: str | None, longest: int) -> str | None:
    """Return what a client sent so that PostgreSQL takes it: no NUL, no lone surrogates, not endless."""
    if value is None:
        return None
    return value.encode("utf-8", "replace").decode().replace("\x00", "")[:longest] or None


def looked_up(email: str) -> str:
    """Return an address as typed at sign-in for looking it up; nonsense finds nobody."""
    return unicodedata.normalize("NFC", storable(email.strip(), MAX_EMAIL) or "")


def checked_email(email: str) -> str:
    """Return the address in the form to store. Raises `InvalidInput`."""
    from email_validator import EmailNotValidError, validate_email

    try:
        # Whether the domain takes mail shows when the mail is sent; no name service is asked here. Special names
        # (localhost, .test) are for development.
        checked = validate_email(email.strip(), check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise InvalidInput("That is not an e-mail address.") from error
    if len(checked.normalized) > MAX_EMAIL:
        raise InvalidInput(f"An e-mail address has at most {MAX_EMAIL} characters.")
    return checked.normalized


def checked_name(name: str | None) -> str | None:
    """Return a person's name, trimmed; None for nothing. Raises `InvalidInput`."""
    text = unicodedata.normalize("NFC", (name or "").strip())
    if len(text) > MAX_NAME:
        raise InvalidInput(f"A name has at most {MAX_NAME} characters.")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise InvalidInput("A name holds no control characters.")
    return text or None


def checked_locale(locale: str | None) -> str | None:
    """Return a language tag like `de` or `pt-BR` (BCP 47), None for nothing. Raises `InvalidInput`."""
    text = (locale or "").strip().replace("_", "-")
    if text and not _LOCALE.fullmatch(text):
        raise InvalidInput("A language is written like 'de' or 'pt-BR'.")
    return text or None


def checked_zoneinfo(zone: str | None) -> str | None:
    """Return a time zone like `Europe/Berlin` (IANA), None for nothing. Raises `InvalidInput`."""
    from zoneinfo import available_timezones

    text = (zone or "").strip()
    if text and text not in available_timezones():
        raise InvalidInput("A time zone is written like 'Europe/Berlin'.")
    return text or None
