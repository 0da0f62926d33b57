"""From the claims of an ID token to who somebody is. Everything in them may be of any type."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from email_validator import EmailNotValidError, validate_email

from ragecho.identity.federation.model import UpstreamIdentity

LONGEST = 320
_MOST_METHODS = 10
_LONGEST_METHOD = 32
_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


def identity_of(claims: Mapping[str, Any]) -> UpstreamIdentity:
    """Return the identity; claims that are malformed count as missing. `iss` and `sub` have been validated."""
    return UpstreamIdentity(
        issuer=claims["iss"],
        subject=claims["sub"],
        email=normal_email(text_claim(claims, "email")),
        is_email_verified=_truth(claims.get("email_verified")),
        hosted_domain=text_claim(claims, "hd", longest=255),
        name=text_claim(claims, "name", longest=200),
        locale=text_claim(claims, "locale", longest=35),
        amr=_methods(claims.get("amr")),
        acr=text_claim(claims, "acr", longest=200),
        auth_time=_moment(claims.get("auth_time")),
        upstream_session=text_claim(claims, "sid", longest=255),
    )


def text_claim(claims: Mapping[str, Any], name: str, *, longest: int = LONGEST) -> str | None:
    """Return a claim that is a text which can be stored, of at most `longest` characters; else None."""
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest or "\x00" in value:
        return None
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return None
    return value


def normal_email(address: str | None) -> str | None:
    """Return the address as we store it, or None for what is no address."""
    if address is None:
        return None
    try:
        found = validate_email(address, check_deliverability=False, allow_smtputf8=True)
    except EmailNotValidError:
        return None
    return found.normalized


def domain_of(email: str) -> str:
    """Return the domain of an address, in ASCII and lower case."""
    domain = email.rpartition("@")[2].lower()
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return domain


def _truth(value: object) -> bool | None:
    """Return what the claim says, None where it says nothing. Some providers send the words instead of the values."""
    if value is None:
        return None
    return value is True or value == "true"


def _methods(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    words = [item for item in value if isinstance(item, str) and item.isascii() and 0 < len(item) <= _LONGEST_METHOD]
    return tuple(words[:_MOST_METHODS])


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _LATEST:
        return None
    return datetime.fromtimestamp(value, UTC)
