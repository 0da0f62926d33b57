"""Routes of the gateway: signing in and out, who am I, and the placeholder of the browser app."""

from typing import Annotated, Any
from urllib.parse import urlsplit

import structlog
from fastapi import APIRouter, Form, Header, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from ragecho.identity.settings import base_url_of
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import CsrfRefused, NotFound, Unauthenticated
from ragecho.kernel.ids import UserId
from ragecho.platform.database import Database
from ragecho.platform.http.authentication import Authenticate, is_same_origin
from ragecho.platform.http.permissions import AUTHENTICATED, anyone
from ragecho.platform.settings import Settings
from ragecho.web import store
from ragecho.web.errors import ProviderAway, SignInFailed, TokenRefused
from ragecho.web.model import APP_PATH, CALLBACK_PATH, LOGIN_PATH, WebSession
from ragecho.web.pages import page, style_sheet
from ragecho.web.return_to import local_path
from ragecho.web.schemas import MeOut, UserOut, WorkspaceOut, organizations_of, workspaces_of
from ragecho.web.service import Gateway

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_BROWSER = anyone("answers browsers on their way to signing in or out")


def build_gateway_router(
    gateway: Gateway, identity: Database, database: Database, authenticate: Authenticate, settings: Settings
) -> APIRouter:
    """Return the routes. `identity` runs as the identity service's role, `database` as the application's."""
    router = APIRouter(tags=["sign-in"])
    base_url = base_url_of(settings)

    @router.get("/", include_in_schema=False, openapi_extra=_BROWSER)
    async def root() -> RedirectResponse:
        """Go to the browser app."""
        return RedirectResponse(APP_PATH, 307)

    @router.get(APP_PATH, include_in_schema=False, openapi_extra=_BROWSER)
    async def app_page(request: Request) -> Response:
        """Show who is signed in."""
        cookie = request.cookies.get(gateway.cookie_name)
        session = await gateway.session(cookie)
        issuer = gateway.provider.issuer
        parts = urlsplit(issuer)
        return page(
            request,
            "app.html",
            form_action=f"'self' {parts.scheme}://{parts.netloc}",
            session=session,
            csrf_token=gateway.csrf_token(cookie) if session and cookie else "",
            account_url=f"{issuer}/account",
        )

    @router.get("/app/static/app.css", include_in_schema=False, openapi_extra=_BROWSER)
    async def style() -> Response:
        """Return the pages' style sheet."""
        return Response(style_sheet(), media_type="text/css", headers={"Cache-Control": "public, max-age=3600"})

    @router.get(LOGIN_PATH, openapi_extra=_BROWSER, response_class=RedirectResponse, status_code=303)
    async def login(request: Request, return_to: str | None = None) -> Response:
        """Send the browser to the login page; it comes back to `return_to`, a path on this site."""
        if _is_other_loopback_name(request, base_url):
            # Cookies go by name: the answer arrives at the public one, so the sign-in must begin there.
            return RedirectResponse(str(request.url.replace(scheme="http", netloc=urlsplit(base_url).netloc)), 303)
        if await gateway.session(request.cookies.get(gateway.cookie_name)):
            return RedirectResponse(local_path(return_to), 303)
        try:
            begun = await gateway.begin(return_to, request.cookies.get(gateway.login_cookie_name))
        except ProviderAway as error:
            return _failed(
                request, "The identity service does not answer at the moment. Please try again.", return_to, 503, error
            )
        answer = RedirectResponse(begun.url, 303)
        _set_cookie(answer, gateway, gateway.login_cookie_name, begun.browser_secret)
        return answer

    @router.get(CALLBACK_PATH, openapi_extra=_BROWSER, response_class=RedirectResponse, status_code=303)
    async def callback(request: Request) -> Response:
        """Take the identity service's answer, make a session, and send the browser to where it wanted to go."""
        old_cookie = request.cookies.get(gateway.cookie_name)
        try:
            done = await gateway.finish(
                _single(request), request.cookies.get(gateway.login_cookie_name), old_cookie=old_cookie
            )
        except SignInFailed as error:
            if await gateway.session(old_cookie):
                # A page that was used already (the back button, a second click), by somebody who is signed in.
                return RedirectResponse(error.return_to, 303)
            return _failed(request, error.message, error.return_to, 400, error)
        answer = RedirectResponse(done.return_to, 303)
        _set_cookie(answer, gateway, gateway.cookie_name, done.secret)
        return answer

    @router.post("/auth/logout", openapi_extra=_BROWSER)
    async def logout(
        request: Request,
        csrf_token: Annotated[str, Form()] = "",
        everywhere: Annotated[bool, Form()] = False,
        x_csrf_token: Annotated[str, Header()] = "",
    ) -> Response:
        """End the session (with `everywhere`, all of the person's), and send the browser to end the provider's too.

        The answer is a redirection, or `{"redirect_to": …}` for those who accept JSON.
        """
        cookie = request.cookies.get(gateway.cookie_name)
        if cookie and await gateway.session(cookie):
            if not is_same_origin(request, gateway.origin):
                raise CsrfRefused("Signing out was asked for by another site.")
            if not gateway.is_csrf_token(cookie, x_csrf_token or csrf_token):
                raise CsrfRefused("Send the session's CSRF token (GET /auth/me) as X-CSRF-Token.")
        url = await gateway.end(cookie, is_everywhere=everywhere)
        wants_json = "application/json" in request.headers.get("accept", "")
        answer: Response = JSONResponse({"redirect_to": url}) if wants_json else RedirectResponse(url, 303)
        if cookie:
            # Not otherwise: a form of another site comes without the cookie, and must not take it away.
            _forget_cookie(answer, gateway, gateway.cookie_name)
        return answer

    @router.post(
        "/auth/backchannel-logout", openapi_extra=anyone("is called by the identity service, whose token it checks")
    )
    async def backchannel_logout(logout_token: Annotated[str, Form(max_length=16_384)]) -> Response:
        """End the sessions that a logout token names (OpenID Connect Back-Channel Logout 1.0)."""
        try:
            await gateway.end_by_logout_token(logout_token)
        except TokenRefused as error:
            return JSONResponse({"error": "invalid_request", "error_description": error.message}, 400)
        return Response(status_code=200)

    @router.get(
        "/auth/me", openapi_extra={"security": [{"HTTPBearer": [AUTHENTICATED]}, {"APIKeyHeader": [AUTHENTICATED]}]}
    )
    async def me(request: Request) -> MeOut:
        """Return who is calling, by session cookie, access token or API key, and where they belong."""
        cookie = request.cookies.get(gateway.cookie_name)
        if cookie and not (request.headers.get("authorization") or request.headers.get("x-api-key")):
            session = await gateway.session(cookie)
            if session is None:
                raise Unauthenticated("Your session has ended. Sign in again.", login_url=LOGIN_PATH)
            return await _of_session(request, session, cookie)
        return await _of_caller(await authenticate(request))

    async def _of_session(request: Request, session: WebSession, cookie: str) -> MeOut:
        try:
            caller = await gateway.verify(cookie, workspace=request.headers.get("x-workspace-id") or None)
        except NotFound:
            if request.headers.get("x-workspace-id"):
                raise
            caller = None  # a person who is not in any workspace yet
        known = await _places(session.user_id, caller)
        return known.model_copy(
            update={
                "user": UserOut(id=session.user_id, email=session.email, name=session.name),
                "csrf_token": gateway.csrf_token(cookie),
                "session_expires_at": session.expires_at,
            }
        )

    async def _of_caller(caller: Caller) -> MeOut:
        if caller.user_id is None:
            return await _program(caller)
        known = await _places(caller.user_id, caller)
        async with identity.anonymous() as db:
            email, name = await store.person(db, caller.user_id)
        return known.model_copy(update={"user": UserOut(id=caller.user_id, email=email, name=name)})

    async def _places(user_id: UserId, caller: Caller | None) -> MeOut:
        async with identity.anonymous() as db:
            places = await store.places_of(db, user_id)
        if caller is not None and caller.api_key_id is not None:
            places = [row for row in places if row["workspace_id"] == caller.workspace_id]
        found = organizations_of(places)
        return MeOut(
            user=None,
            organization=next((one for one in found if caller and one.id == caller.organization_id), None),
            workspace_id=caller.workspace_id if caller else None,
            organizations=found,
            workspaces=workspaces_of(places),
            **_credential(caller),
        )

    async def _program(caller: Caller) -> MeOut:
        async with database.transaction(caller) as session:
            slug, name = await store.workspace_names(session, caller.workspace_id)
        shown = WorkspaceOut(
            id=caller.workspace_id,
            organization_id=caller.organization_id,
            slug=slug,
            name=name,
            role=str(caller.workspace_role) if caller.workspace_role else None,
            is_archived=caller.is_archived,
        )
        return MeOut(
            user=None,
            organization=None,
            workspace_id=caller.workspace_id,
            organizations=[],
            workspaces=[shown],
            **_credential(caller),
        )

    return router


def _credential(caller: Caller | None) -> dict[str, Any]:
    if caller is None:
        return {"scopes": []}
    return {
        "scopes": sorted(str(scope) for scope in caller.scopes),
        "client_id": caller.client_id,
        "api_key_id": caller.api_key_id,
    }


def _single(request: Request) -> dict[str, str]:
    """Return the query's parameters; none of them where one comes twice."""
    items = request.query_params.multi_items()
    found = dict(items)
    return found if len(found) == len(items) else {}


def _is_other_loopback_name(request: Request, base_url: str) -> bool:
    wanted = urlsplit(base_url)
    return (
        wanted.scheme == "http"
        and wanted.hostname in _LOOPBACK
        and request.url.hostname in _LOOPBACK
        and request.url.hostname != wanted.hostname
    )


def _failed(request: Request, message: str, return_to: str | None, status: int, error: Exception) -> Response:
    structlog.get_logger(__name__).info("sign_in.failed", reason=type(error).__name__)
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    return page(
        request,
        "sign_in_failed.html",
        status=status,
        message=message,
        return_to=local_path(return_to),
        request_id=request_id,
    )


def _set_cookie(answer: Response, gateway: Gateway, name: str, secret: str) -> None:
    """Set a cookie for the browser's session; how long it counts is decided here, by its row."""
    answer.set_cookie(name, secret, path="/", secure=gateway.is_https, httponly=True, samesite="lax")


def _forget_cookie(answer: Response, gateway: Gateway, name: str) -> None:
    answer.delete_cookie(name, path="/", secure=gateway.is_https, httponly=True, samesite="lax")
