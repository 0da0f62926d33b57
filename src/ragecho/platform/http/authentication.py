"""Who is calling: the credential of a request to a `Caller`, by the first verifier that knows its kind."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.security import HTTPBearer

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import CsrfRefused, InvalidInput, Unauthenticated
from ragecho.platform.http.permissions import Authenticate
from ragecho.platform.telemetry import bind_caller
from ragecho.ports.session_verifier import SessionVerifier
from ragecho.ports.token_verifier import TokenVerifier

__all__ = ["Authenticate", "authentication", "is_same_origin"]

_LONGEST_TOKEN = 8192
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def authentication(verifiers: Sequence[TokenVerifier], sessions: SessionVerifier | None = None) -> Authenticate:
    """Return the dependency that routes ask for their caller. Raises `Unauthenticated` when nobody vouches for it.

    A session cookie counts where no other credential is sent; changes by it need the session's CSRF token and must come
    from our own pages (`CsrfRefused`). Tokens and keys need neither: no browser sends them on its own.
    """
    return _Authentication(verifiers, sessions)


class _Authentication(HTTPBearer):
    """To the framework a security scheme, by which the OpenAPI description names it; openapi.py adds the header of keys to it.

    Not a function that depends on schemes: each dependency costs every request as much as finding its route.
    """

    def __init__(self, verifiers: Sequence[TokenVerifier], sessions: SessionVerifier | None) -> None:
        super().__init__(scheme_name="HTTPBearer", auto_error=False, description="An access token or API key.")
        self._verifiers = verifiers
        self._sessions = sessions

    async def __call__(self, request: Request) -> Caller:  # type: ignore[override]  # whose credential it is, instead of it
        sessions = self._sessions
        workspace = request.headers.get("x-workspace-id") or None
        cookie = request.cookies.get(sessions.cookie_name) if sessions and not _has_token(request) else None
        if sessions is not None and cookie:
            _refuse_forgery(request, sessions, cookie)
            return _bound(await sessions.verify(cookie, workspace=workspace))
        token = _token_of(request)
        for verifier in self._verifiers:
            caller = await verifier.verify(token, workspace=workspace)
            if caller is not None:
                return _bound(caller)
        raise Unauthenticated("This token is not one that Echo issued.")


def is_same_origin(request: Request, origin: str) -> bool:
    """Return whether a browser says that the request comes from our own pages, or is no browser that would say.

    `origin` is our public one; behind a proxy the request itself may name another host.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    sender = request.headers.get("origin")
    return sender is None or sender == origin or urlsplit(sender).netloc == request.headers.get("host")


def _refuse_forgery(request: Request, sessions: SessionVerifier, cookie: str) -> None:
    if request.method in _SAFE_METHODS:
        return
    if not is_same_origin(request, sessions.origin):
        raise CsrfRefused("This change was asked for by another site.")
    if not sessions.is_csrf_token(cookie, request.headers.get("x-csrf-token", "")):
        raise CsrfRefused("Send the session's CSRF token (GET /auth/me) as X-CSRF-Token.")


def _bound(caller: Caller) -> Caller:
    bind_caller(workspace_id=str(caller.workspace_id), user_id=str(caller.user_id) if caller.user_id else None)
    return caller


def _has_token(request: Request) -> bool:
    return "authorization" in request.headers or "x-api-key" in request.headers


def _token_of(request: Request) -> str:
    named = request.headers.get("x-api-key")
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    bearer = bearer.strip() if scheme.lower() == "bearer" else ""
    if named and bearer and named != bearer:
        raise InvalidInput("Send one credential: either Authorization or X-API-Key.")
    token = named or bearer
    if not token:
        raise Unauthenticated(
            "Send an access token or API key, 'Authorization: Bearer <token>' or 'X-API-Key: <key>'; browsers sign in at"
            " /auth/login."
        )
    if len(token) > _LONGEST_TOKEN:
        raise Unauthenticated("That credential is too long to be one of ours.")
    return token
