"""Whom an access token is for (RFC 8707, which Authlib's core lacks).

A token handed to one service must not open another. So a client may ask for the audiences that it was registered with and
no other, and gets the first of them where it names none; Echo's own API is an audience like any other.
"""

from collections.abc import Mapping, Sequence

from authlib.oauth2 import OAuth2Error

from ragecho.identity.client_model import Client, is_audience
from ragecho.identity.protocol.provider import Provider, Work

MAX_RESOURCES = 10


class InvalidTargetError(OAuth2Error):  # type: ignore[misc]  # Authlib has no annotations
    """The resource is unknown here, malformed, or not one of the client's."""

    error = "invalid_target"


def asked_resources(provider: Provider, client: Client, parameters: Mapping[str, str]) -> tuple[str, ...]:
    """Return the audiences that a request names, all of which the client may have. Raises `InvalidTargetError`."""
    asked = tuple(dict.fromkeys(parameters.get("resource", "").split()))
    if len(asked) > MAX_RESOURCES or not all(map(is_audience, asked)):
        raise InvalidTargetError(f"resource is an absolute URI without fragment, at most {MAX_RESOURCES} times.")
    _refuse_others(asked, _open_to(provider, client), client)
    return asked


def choose_audience(work: Work, client: Client, parameters: Mapping[str, str]) -> None:
    """Note what a token request names. Raises `InvalidTargetError`, before a code or token is used up."""
    work.resources = asked_resources(work.provider, client, parameters)


def refuse_beyond_grant(work: Work, client: Client, granted: Sequence[str]) -> None:
    """Raise `InvalidTargetError` where the token request goes beyond the authorization request (RFC 8707, 2.2).

    It can narrow that one's audiences; where there were none, the client's are open to it.
    """
    if granted:
        _refuse_others(work.resources, (*granted, work.provider.userinfo), client)
        if not work.resources:
            _refuse_others(granted[:1], _open_to(work.provider, client), client)  # taken away meanwhile


def audience_of_token(work: Work, client: Client, scope: str) -> str | list[str]:
    """Return the token's `aud`: what the token request names, else the grant's first, else the client's first.

    Tokens with the scope `openid` are for userinfo besides, unless the token request has narrowed them.
    """
    provider = work.provider
    if work.resources:
        return list(work.resources) if len(work.resources) > 1 else work.resources[0]
    granted = work.grant["resources"] if work.grant else ()
    chosen: str = granted[0] if granted else client.audiences_at(provider.audience)[0]
    if work.grant and "openid" in scope.split() and chosen != provider.userinfo:
        return [chosen, provider.userinfo]
    return chosen


def _refuse_others(asked: Sequence[str], allowed: Sequence[str], client: Client) -> None:
    for resource in asked:
        if resource not in allowed:
            raise InvalidTargetError(f"The client {client.id} may not get tokens for '{resource}' here.")


def _open_to(provider: Provider, client: Client) -> tuple[str, ...]:
    userinfo = (provider.userinfo,) if "openid" in client.scopes else ()
    return (*client.audiences_at(provider.audience), *userinfo)
