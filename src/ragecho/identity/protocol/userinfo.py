"""Userinfo (OpenID Connect Core 5.3).

Authlib's endpoint asks its protector for the request of the current thread; here the token is verified as any resource
server of ours does it, and the grant is looked up live.
"""

from typing import Any
from uuid import UUID

from ragecho.identity.protocol import store_grants
from ragecho.identity.protocol.provider import Person, Work, new_claims
from ragecho.identity.protocol.server import Reply
from ragecho.identity.protocol.tokens import user_info
from ragecho.identity.verify import InvalidToken, access_token_claims

JSON = (("Content-Type", "application/json"),)


async def userinfo(work: Work, token: str | None) -> Reply:
    """Return the claims that the token's grant allows."""
    if token is None:
        return Reply(401, {}, (*JSON, ("WWW-Authenticate", 'Bearer realm="userinfo"')))
    provider = work.provider
    try:
        claims = access_token_claims(token, work.keys.verification, issuer=provider.issuer, audience=provider.userinfo)
        grant = await live_grant(work, claims.get("gid"))
        if grant is None or (claims["sub"], claims["client_id"]) != (str(grant["user_id"]), grant["client_id"]):
            raise InvalidToken("It was revoked, or the person may not sign in any more.")
        row = await store_grants.find_person(work.db, grant["user_id"])
        if row is None:
            raise InvalidToken("The person may not sign in any more.")
    except InvalidToken as error:
        return refusal(401, "invalid_token", str(error))
    scopes = str(claims.get("scope") or "").split()
    if "openid" not in scopes:
        return refusal(403, "insufficient_scope", "The token needs the scope openid.")
    return Reply(200, user_info(Person(row["id"], new_claims(row)), scopes, grant["claims"]), JSON)


async def live_grant(work: Work, grant_id: object) -> Any:
    """Return the grant that a token names, if it counts at this moment."""
    try:
        named = UUID(str(grant_id))
    except ValueError:
        return None
    return await store_grants.find_grant(work.db, named)


def refusal(status: int, error: str, description: str) -> Reply:
    """Return a refusal of a bearer token (RFC 6750, 3)."""
    challenge = f'Bearer realm="userinfo", error="{error}", error_description="{description}"'
    return Reply(status, {"error": error, "error_description": description}, (*JSON, ("WWW-Authenticate", challenge)))
