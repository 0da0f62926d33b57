"""HTTP of the protocol: every route reads its input, asks one function, and shapes the answer."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from html import escape
from urllib.parse import urlencode
from uuid import UUID

import orjson
from authlib.oauth2 import OAuth2Error
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from ragecho.identity.client_model import GrantType
from ragecho.identity.protocol import authorize as authorization
from ragecho.identity.protocol.authorize import Answer, ErrorPage, ToClient, ToPage
from ragecho.identity.protocol.device_endpoint import device_reply
from ragecho.identity.protocol.interactions import binding_cookie_name
from ragecho.identity.protocol.metadata import metadata_of
from ragecho.identity.protocol.pages import ProtocolPages, content_security_policy
from ragecho.identity.protocol.provider import Provider, Work
from ragecho.identity.protocol.pushed import push
from ragecho.identity.protocol.requests import HttpInput, ProtocolRequest, parse_parameters, read_form
from ragecho.identity.protocol.server import Reply, error_reply, token_reply
from ragecho.identity.protocol.token_endpoints import introspect, revoke
from ragecho.identity.protocol.userinfo import userinfo as user_claims

# Browsers may call these from any origin: they never look at cookies.
OPEN = {"Access-Control-Allow-Origin": "*"}
_PREFLIGHT = {
    **OPEN,
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": "86400",
}
_KEYS_FRESH_SECONDS = 300

Endpoint = Callable[[Work, ProtocolRequest], Awaitable[Reply]]
_ENDPOINTS: Mapping[str, Endpoint] = {
    "/par": push,
    "/device_authorization": device_reply,
    "/introspect": introspect,
    "/revoke": revoke,
}


@asynccontextmanager
async def working(provider: Provider) -> AsyncIterator[Work]:
    """Yield one request's work with its transaction, committed at the end: refusals may have ended a grant."""
    keys = await provider.keys.state()
    async with provider.database.anonymous() as db:
        yield Work(provider, keys, db)


def build_protocol_router(provider: Provider, pages: ProtocolPages, session_cookie: str) -> APIRouter:
    """Return discovery, keys, the authorization endpoint and those that only programs call."""
    router = APIRouter(prefix="/identity", tags=["identity"], include_in_schema=False)
    _add_program_routes(router, provider)
    _add_documents(router, provider)
    _add_browser_routes(router, provider, pages, session_cookie)
    return router


def _add_documents(router: APIRouter, provider: Provider) -> None:
    document = orjson.dumps(metadata_of(provider))

    @router.get("/.well-known/openid-configuration")
    @router.get("/.well-known/oauth-authorization-server")
    async def discovery() -> Response:
        headers = {**OPEN, "Cache-Control": "public, max-age=300"}
        return Response(document, media_type="application/json", headers=headers)

    @router.get("/jwks.json")
    async def keys() -> Response:
        state = await provider.keys.state()
        headers = {**OPEN, "Cache-Control": f"public, max-age={_KEYS_FRESH_SECONDS}"}
        return Response(orjson.dumps(state.published), media_type="application/json", headers=headers)

    @router.get("/form_post.js")
    async def form_post_script() -> Response:
        return Response("document.forms[0].submit();\n", media_type="text/javascript")


def _add_browser_routes(router: APIRouter, provider: Provider, pages: ProtocolPages, session_cookie: str) -> None:
    binding = binding_cookie_name(is_https=provider.is_https)

    @router.api_route("/authorize", methods=["GET", "POST"])
    async def authorize(request: Request) -> Response:
        given = await http_input(request)
        try:
            parameters = read_form(given).args if given.method == "POST" else parse_parameters(given.query)
        except OAuth2Error as error:
            return pages.error(request, ErrorPage(str(error.error), str(error.description or "")))
        if lacks_cookies(request, session_cookie):
            return again_as_get(request, parameters)
        async with working(provider) as work:
            work.address = request.client.host if request.client else None
            session = await provider.current_session(work.db, request.cookies.get(session_cookie))
            answer = await authorization.authorize(
                work, parameters, session=session, browser_cookie=request.cookies.get(binding)
            )
        return respond(request, answer)

    @router.get("/authorize/continue")
    async def proceed(request: Request, interaction: str = "") -> Response:
        cookie = request.cookies.get(binding)
        async with working(provider) as work:
            found = await authorization.load_interaction(work, uuid_of(interaction), cookie)
            if found is None or cookie is None:
                return pages.error(request, authorization.LOST)
            session = await provider.current_session(work.db, request.cookies.get(session_cookie))
            answer = await authorization.proceed(work, found, session=session, browser_cookie=cookie)
        return respond(request, answer)

    def respond(request: Request, answer: Answer) -> Response:
        if isinstance(answer, ErrorPage):
            return pages.error(request, answer)
        if isinstance(answer, ToClient) and answer.response_mode == "form_post":
            return form_post(answer)
        # 303: a request that came as a form goes on as a GET, without the form (RFC 9700, 4.12).
        # An application may have opened this in a window of its own: a stricter policy would cut it off for good.
        headers = {"Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "unsafe-none"}
        response = RedirectResponse(answer.location, status_code=303, headers=headers)
        if isinstance(answer, ToPage):
            response.set_cookie(
                binding, answer.browser_cookie, path="/", secure=provider.is_https, httponly=True, samesite="lax"
            )
        return response


def _add_program_routes(router: APIRouter, provider: Provider) -> None:
    @router.post("/token")
    async def token(request: Request) -> Response:
        given = await http_input(request)
        try:
            asked = read_form(given)
        except OAuth2Error as error:
            return shaped(error_reply(error))
        if asked.payload.grant_type == GrantType.CLIENT_CREDENTIALS and "client_assertion" not in asked.args:
            # Nothing is stored and clients are remembered for seconds: no transaction is opened.
            return shaped(await token_reply(Work(provider, await provider.keys.state()), asked))
        async with working(provider) as work:
            return shaped(await token_reply(work, asked))

    def add(path: str, endpoint: Endpoint) -> None:
        async def answer(request: Request) -> Response:
            try:
                asked = read_form(await http_input(request))
            except OAuth2Error as error:
                return shaped(error_reply(error))
            async with working(provider) as work:
                return shaped(await endpoint(work, asked))

        router.add_api_route(path, answer, methods=["POST"])

    for path, endpoint in _ENDPOINTS.items():
        add(path, endpoint)

    @router.api_route("/userinfo", methods=["GET", "POST"])
    async def userinfo(request: Request) -> Response:
        bearer = bearer_of(await http_input(request))
        async with working(provider) as work:
            return shaped(await user_claims(work, bearer))

    async def preflight() -> Response:
        return Response(status_code=204, headers=_PREFLIGHT)

    for path in (*_ENDPOINTS, "/token", "/userinfo", "/register", "/jwks.json"):
        router.add_api_route(path, preflight, methods=["OPTIONS"])


def lacks_cookies(request: Request, session_cookie: str) -> bool:
    """Return whether this is a form that another site's page posted: browsers send no SameSite=Lax cookie with it."""
    return request.method == "POST" and session_cookie not in request.cookies


def again_as_get(request: Request, parameters: Mapping[str, str]) -> Response:
    """Send the browser here again with its cookies."""
    query = urlencode({name: value for name, value in parameters.items() if name != "client_secret"})
    return RedirectResponse(f"{request.url.path}?{query}", status_code=303, headers={"Cache-Control": "no-store"})


def bearer_of(given: HttpInput) -> str | None:
    """Return the access token of a header or, with POST, a form (RFC 6750, 2.1 and 2.2); never of an address."""
    scheme, _, token = (given.authorization or "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if given.method != "POST" or given.authorization:
        return None
    try:
        return read_form(given).args.get("access_token")
    except OAuth2Error:
        return None


async def http_input(request: Request) -> HttpInput:
    """Return what the protocol needs of a request."""
    return HttpInput(
        method=request.method,
        path=request.url.path,
        query=request.scope["query_string"],
        body=await request.body() if request.method in ("POST", "PUT") else b"",
        content_type=request.headers.get("content-type", ""),
        authorization=request.headers.get("authorization"),
    )


def shaped(reply: Reply) -> Response:
    """Return a program's answer as HTTP."""
    headers = {**OPEN, "Cache-Control": "no-store", **dict(reply.headers)}
    content = reply.body if isinstance(reply.body, str) else orjson.dumps(reply.body)
    return Response(content, status_code=reply.status, headers=headers)


def form_post(answer: ToClient) -> Response:
    """Return a page that posts the answer to the client (OAuth 2.0 Form Post Response Mode)."""
    inputs = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in answer.parameters
    )
    body = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Echo</title>'
        f'<form method="post" action="{escape(answer.redirect_uri)}">{inputs}'
        '<noscript><button type="submit">Continue</button></noscript></form>'
        '<script src="/identity/form_post.js"></script></html>'
    )
    policy = content_security_policy(answer.redirect_uri)
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Cross-Origin-Opener-Policy": "unsafe-none",
    }
    return Response(body, media_type="text/html", headers=headers)


def uuid_of(text: str) -> UUID:
    """Return the id, or one that nothing has."""
    try:
        return UUID(text)
    except ValueError:
        return UUID(int=0)
