"""How surely a request wants to know who it is (`acr_values` and the `acr` claim, OpenID Connect Core 3.1.2.1 and 5.5.1.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidRequestError

# What a session reaches, lowest first: with one method, or with several (accounts.model).
ACR_VALUES = ("urn:echo:acr:1", "urn:echo:acr:2")


class UnmetAuthenticationRequirementsError(OAuth2Error):  # type: ignore[misc]  # Authlib has no annotations
    """What the request insists on cannot be reached (OpenID Connect Core Error Code unmet_authentication_requirements)."""

    error = "unmet_authentication_requirements"
    description = f"This person cannot sign in as the request demands; known are {' and '.join(ACR_VALUES)}."


@dataclass(frozen=True, slots=True)
class WantedAcr:
    """The levels that a request names. Essential ones must be met by one of them; of others the first is the wish."""

    values: tuple[str, ...] = ()
    is_essential: bool = False

    def told(self, acr: str) -> str | None:
        """Return what the client is told of a session of this level; None where it does not meet what is essential."""
        if not self.is_essential or acr in self.values:
            return acr
        lower = [value for value in ACR_VALUES[: _level(acr)] if value in self.values]
        return lower[-1] if lower else None

    def exceeds(self, acr: str) -> bool:
        """Return whether a second factor would bring a session of this level nearer to what is wanted."""
        known = [value for value in self.values if value in ACR_VALUES]
        if self.is_essential:
            return self.told(acr) is None and any(_level(value) > _level(acr) for value in known)
        return bool(known) and _level(known[0]) > _level(acr)


def wanted_acr(acr_values: str | None, claims: Mapping[str, Any] | None) -> WantedAcr:
    """Return what a request wants; the claim counts before the parameter.

    Raises `InvalidRequestError`, and `UnmetAuthenticationRequirementsError` for an essential level that does not exist here.
    """
    wish = ((claims or {}).get("id_token") or {}).get("acr") or {}
    named = wish.get("values", [wish["value"]] if "value" in wish else [])
    if not isinstance(named, list) or not all(isinstance(value, str) for value in named):
        raise InvalidRequestError("claims asks for an acr that is no string.")
    is_essential = wish.get("essential") is True and bool(named)
    if is_essential and not set(named) & set(ACR_VALUES):
        raise UnmetAuthenticationRequirementsError
    values: Sequence[str] = named or (acr_values or "").split()
    return WantedAcr(tuple(values), is_essential)


def _level(acr: str) -> int:
    return ACR_VALUES.index(acr) if acr in ACR_VALUES else 0
