"""The e-mail domains whose verified members are internal; who else is a member is external.

With no domain listed every member is internal. A change takes effect with each member's next request: levels are decided then,
and no document is re-labelled.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import Conflict, InvalidInput, NotFound
from ragecho.kernel.ids import OrganizationId
from ragecho.platform.audit_log import Target, record
from ragecho.platform.database import Session
from ragecho.tenancy import store_domains

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_LONGEST = 253


@dataclass(frozen=True, slots=True)
class Domain:
    """A listed domain."""

    domain: str
    created_at: datetime


async def list_domains(
    caller: Caller, session: Session, organization_id: OrganizationId, *, limit: int, offset: int
) -> tuple[Sequence[Domain], int]:
    """Return one page of the domains in order, and how many there are. Raises `NotFound`."""
    _require_own(caller, organization_id)
    found, total = await store_domains.list_domains(session, caller, limit=limit, offset=offset)
    return [Domain(*row) for row in found], total


async def add_domain(caller: Caller, session: Session, organization_id: OrganizationId, name: str) -> Domain:
    """List a domain. Raises `NotFound`, `InvalidInput`, or `Conflict` when it is listed already."""
    _require_own(caller, organization_id)
    domain = checked_domain(name)
    created_at = await store_domains.insert_domain(session, caller, domain)
    if created_at is None:
        raise Conflict(f"The domain '{domain}' is listed already.")
    await record(session, caller, "domain.added", Target("domain", domain))
    return Domain(domain, created_at)


async def remove_domain(caller: Caller, session: Session, organization_id: OrganizationId, name: str) -> None:
    """Take a domain off the list. Raises `NotFound`."""
    _require_own(caller, organization_id)
    domain = name.strip().lower()
    if not await store_domains.delete_domain(session, caller, domain):
        raise NotFound("There is no such domain.")
    await record(session, caller, "domain.removed", Target("domain", domain))


def checked_domain(name: str) -> str:
    """Return the domain as it is compared: lower case, without a final dot. Raises `InvalidInput`."""
    domain = name.strip().lower().removesuffix(".")
    if len(domain) > _LONGEST or not _DOMAIN.fullmatch(domain):
        raise InvalidInput("A domain is written like 'example.com'; one with other letters in its ASCII form (xn--…).")
    return domain


def _require_own(caller: Caller, organization_id: OrganizationId) -> None:
    if organization_id != caller.organization_id:
        raise NotFound("There is no such organisation, or the request is made in another one.")
