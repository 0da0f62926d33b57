"""Signing out: at a client's request (OpenID Connect RP-Initiated Logout 1.0), and what else ends with a session."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidRequestError
from authlib.oidc.rpinitiated import EndSessionEndpoint

from ragecho.identity.client_model import Client
from ragecho.identity.protocol import store_logout
from ragecho.identity.protocol.authorize import ErrorPage
from ragecho.identity.protocol.keys import read_own_token
from ragecho.identity.protocol.model import BrowserSession
from ragecho.identity.protocol.provider import Work
from ragecho.identity.protocol.requests import ProtocolRequest
from ragecho.identity.protocol.server import ProtocolServer
from ragecho.platform.bridge import run
from ragecho.platform.database import Session

FIELDS = ("id_token_hint", "logout_hint", "client_id", "post_logout_redirect_uri", "state", "ui_locales")


@dataclass(frozen=True, slots=True)
class LogoutRequest:
    """A checked request. `needs_confirmation` where it cannot be told that the person wants it."""

    needs_confirmation: bool
    redirect_uri: str | None
    client: Client | None
    fields: dict[str, str]


class _EndSession(EndSessionEndpoint):  # type: ignore[misc]  # Authlib has no annotations
    def _validate_id_token_hint(self, id_token_hint: str) -> dict[str, Any]:
        """Return the claims of an ID token of ours, however old."""
        work: Work = self.server.work
        claims = read_own_token(id_token_hint, work.keys.verification)
        if claims is None or claims.get("iss") != work.provider.issuer or claims["typ"] == "at+jwt":
            raise InvalidRequestError("id_token_hint is no ID token of this server.")
        return claims

    def _is_valid_post_logout_redirect_uri(self, client: Client, post_logout_redirect_uri: str) -> bool:
        if post_logout_redirect_uri not in client.post_logout_redirect_uris:
            raise InvalidRequestError("post_logout_redirect_uri is not registered for this client.")
        return True

    def is_post_logout_redirect_uri_legitimate(self, *_: object) -> bool:
        """Return True: without a hint the person is asked first, and the address is registered for the named client."""
        return True


async def check_logout(
    work: Work, request: ProtocolRequest, session: BrowserSession | None
) -> LogoutRequest | ErrorPage:
    """Return what is asked for, or the page that says what is wrong with it; nobody is signed out by a wrong request."""
    server = ProtocolServer(work)
    try:
        checked = await run(_EndSession(server).validate_request, request)
        if request.args.get("post_logout_redirect_uri") and checked.client is None:
            raise InvalidRequestError("post_logout_redirect_uri needs an id_token_hint or a known client_id.")
    except OAuth2Error as error:
        return ErrorPage(str(error.error), str(error.description or ""))
    claims = checked.id_token_claims
    is_theirs = claims is not None and (session is None or _is_of(claims, session))
    return LogoutRequest(
        needs_confirmation=not is_theirs,
        redirect_uri=checked.redirect_uri,
        client=checked.client,
        fields={name: request.args[name] for name in FIELDS if name in request.args},
    )


def _is_of(claims: dict[str, Any], session: BrowserSession) -> bool:
    """Return whether the ID token is about this very session, or at least (a token without `sid`) this person."""
    if claims.get("sub") != str(session.user_id):
        return False
    return claims.get("sid") in (None, str(session.id))


async def end(work: Work, session: BrowserSession) -> None:
    """End the browser's session and everything that hangs on it."""
    await work.provider.end_session(work.db, session.id, session.user_id)
    await session_ended(work.db, session.id)


async def session_ended(db: Session, session_id: UUID) -> None:
    """End the grants of a session that is over, and note which clients are to be told."""
    await store_logout.enqueue(db, session_id)
    await store_logout.end_grants(db, session_id)
