"""Domains that an organisation shows to control: by a TXT record, or by the word of whoever operates the server."""

import re
import secrets
from collections.abc import Awaitable, Callable

from ragecho.identity.federation import store_providers
from ragecho.identity.federation.model import Domain
from ragecho.kernel.errors import Conflict, InvalidInput, NotFound, Unavailable
from ragecho.kernel.ids import OrganizationId, uuid7
from ragecho.platform.database import Session

TxtLookup = Callable[[str], Awaitable[list[str]]]
"""From a DNS name to its TXT records, none where there are none. Raises `Unavailable`."""

RECORD_LABEL = "_echo"
_PREFIX = "echo-domain-verification="
_NAME = re.compile(r"(?=.{4,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+")
_LOOKUP_SECONDS = 5.0
# Everybody has an address there: no organisation can speak for it.
PUBLIC_MAIL = frozenset({
    "gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "live.com", "msn.com", "yahoo.com", "icloud.com", "me.com",
    "aol.com", "gmx.de", "gmx.net", "web.de", "t-online.de", "proton.me", "protonmail.com", "mail.ru", "yandex.ru", "qq.com",
    "163.com", "126.com", "naver.com", "zoho.com", "fastmail.com",
})  # fmt: skip


async def dns_txt(name: str) -> list[str]:
    """Return the TXT records of a name, from the system's resolver."""
    import dns.asyncresolver
    import dns.exception
    import dns.resolver

    try:
        found = await dns.asyncresolver.resolve(name, "TXT", lifetime=_LOOKUP_SECONDS, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except (dns.exception.DNSException, OSError) as error:
        raise Unavailable("The domain name system does not answer; try again later.") from error
    return [b"".join(record.strings).decode("utf-8", "replace") for record in found]


def normal_domain(name: str) -> str:
    """Return a domain as it is stored: ASCII, lower case. Raises `InvalidInput`."""
    wanted = name.strip().rstrip(".").lower()
    try:
        wanted = wanted.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise InvalidInput("That is not a domain name.") from error
    if not _NAME.fullmatch(wanted):
        raise InvalidInput("That is not a domain name, like example.com.")
    return wanted


async def add_domain(db: Session, organization_id: OrganizationId, name: str) -> Domain:
    """Return the organisation's claim to a domain. Raises `InvalidInput` or `Conflict`."""
    domain = normal_domain(name)
    if domain in PUBLIC_MAIL:
        raise InvalidInput("Everybody can have an address there, so no organisation can speak for that domain.")
    made = await store_providers.insert_domain(
        db, uuid7(), organization_id, domain, txt_value=f"{_PREFIX}{secrets.token_urlsafe(24)}"
    )
    if made is None:
        raise Conflict("That domain is in the list already.")
    return made


def check_records(domain: Domain, records: list[str]) -> None:
    """Raise `Conflict`, saying what is missing, unless the records show that the organisation controls the domain."""
    if domain.txt_value not in records:
        raise Conflict(
            f"The TXT record of {RECORD_LABEL}.{domain.name} does not say {domain.txt_value} (yet)."
            " A new record can take some time to be seen everywhere.",
            record=f"{RECORD_LABEL}.{domain.name}",
            expected=domain.txt_value,
        )


async def mark_verified(db: Session, domain: Domain, *, by: str) -> Domain:
    """Return the domain, verified. Raises `Conflict` where another organisation has verified it, `NotFound`."""
    done = await store_providers.mark_verified(db, domain.organization_id, domain.id, by=by)
    if done is not None:
        return done
    if await store_providers.find_domain(db, domain.organization_id, domain_id=domain.id) is None:
        raise NotFound("There is no such domain.")
    raise Conflict("Another organisation of this server has verified that domain. Ask whoever operates the server.")
