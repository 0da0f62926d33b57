"""The page of what a person signs in with."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.pages.kit import Kit
from ragecho.identity.pages.signed_in import Me, account_page
from ragecho.identity.pages.words import when


async def security_page(
    kit: Kit,
    request: Request,
    person: Me,
    *,
    status: int = 200,
    problem: str | None = None,
    problems: Mapping[str, str] | None = None,
) -> Response:
    """Return `/account/security`."""
    factors = await kit.services.accounts.factors(person.account.id)
    passkeys = await kit.services.passkeys.list(person.account.id)
    zone, language = person.account.zoneinfo, person.language
    return account_page(
        kit,
        request,
        person,
        "account_security.html",
        "security",
        status=status,
        problem=problem,
        problems=dict(problems or {}),
        has_password=factors.has_password,
        has_totp=factors.has_totp,
        codes_left=factors.recovery_codes_left,
        has_second_factor=factors.has_totp or factors.passkeys > 0,
        may_have_passkeys=kit.services.passkeys.is_available,
        passkeys=[
            {
                "id": key.id,
                "name": key.name,
                "created": when(language, key.created_at, zone),
                "used": when(language, key.last_used_at, zone) if key.last_used_at else None,
            }
            for key in passkeys
        ],
        has_upstreams=bool(kit.upstreams),
        min_password_length=kit.tools.policy.min_length,
    )
