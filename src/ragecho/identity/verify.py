"""Access tokens of this provider, checked strictly (RFC 9068, 4; RFC 8725)."""

import time
from collections.abc import Mapping
from typing import Any

import orjson
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

ALGORITHMS = ["ES256", "RS256"]
TYP = "at+jwt"
LEEWAY_SECONDS = 5
# Parameters that would make the token say how it is to be verified.
_FORBIDDEN = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc"})


class InvalidToken(Exception):
    """The token does not count. The message says why, without quoting the token."""


def is_jwt(token: str) -> bool:
    """Return whether the text has the form of a signed JWT."""
    return token.count(".") == 2 and token.startswith("eyJ")  # noqa: PLR2004 - header, claims, signature


def key_id_of(token: str) -> str | None:
    """Return the id of the key that the token says it was signed with."""
    try:
        found = jws.extract_compact(token.encode()).headers().get("kid")
    except (JoseError, ValueError, TypeError):
        return None
    return found if isinstance(found, str) else None


def access_token_claims(token: str, keys: KeySet, *, issuer: str, audience: str | None) -> Mapping[str, Any]:
    """Return the claims of an access token that counts at this moment, as far as the token itself says. Raises `InvalidToken`.

    `audience` is who asks; None where it is the provider itself, about any token that it has issued.
    """
    try:
        signed = jws.deserialize_compact(token, keys, algorithms=ALGORITHMS)
        claims = orjson.loads(signed.payload)
    except (JoseError, ValueError, TypeError) as error:
        raise InvalidToken("The signature is not one of ours.") from error
    header = signed.headers()
    if str(header.get("typ", "")).lower().removeprefix("application/") != TYP or _FORBIDDEN & header.keys():
        raise InvalidToken("This is no access token.")
    if not isinstance(claims, dict) or claims.get("iss") != issuer:
        raise InvalidToken("The token was issued by somebody else.")
    audiences = claims.get("aud")
    if audience is not None and audience not in (audiences if isinstance(audiences, list) else [audiences]):
        raise InvalidToken("The token is for another audience.")
    _check_times(claims)
    if not all(isinstance(claims.get(name), str) for name in ("sub", "client_id", "jti")):
        raise InvalidToken("The token says too little.")
    return claims


def _check_times(claims: Mapping[str, Any]) -> None:
    now = time.time()
    times = {name: claims[name] for name in ("exp", "iat", "nbf") if name in claims}
    is_sound = all(isinstance(value, int | float) and not isinstance(value, bool) for value in times.values())
    if not is_sound or not {"exp", "iat"} <= times.keys():
        raise InvalidToken("The token has no times.")
    if times["exp"] <= now - LEEWAY_SECONDS:
        raise InvalidToken("The token has expired.")
    if times["iat"] > now + LEEWAY_SECONDS or times.get("nbf", 0) > now + LEEWAY_SECONDS:
        raise InvalidToken("The token is not valid yet.")
