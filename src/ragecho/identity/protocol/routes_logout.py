"""HTTP of signing out."""

from collections.abc import Callable

from authlib.oauth2 import OAuth2Error
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from ragecho.identity.protocol.authorize import ErrorPage
from ragecho.identity.protocol.logout import check_logout, end
from ragecho.identity.protocol.pages import ProtocolPages
from ragecho.identity.protocol.provider import Provider
from ragecho.identity.protocol.requests import ProtocolRequest, parse_parameters, read_form
from ragecho.identity.protocol.routes import again_as_get, http_input, lacks_cookies, working

SEE_OTHER = 303


def build_logout_router(
    provider: Provider,
    pages: ProtocolPages,
    session_cookie: str,
    *,
    forget: Callable[[Response], None],
    on_logout: Callable[[], None],
) -> APIRouter:
    """Return the end-session endpoint. `forget` removes the session's cookie; `on_logout` is told afterwards."""
    router = APIRouter(prefix="/identity", tags=["identity"], include_in_schema=False)

    @router.api_route("/logout", methods=["GET", "POST"])
    async def logout(request: Request) -> Response:
        given = await http_input(request)
        try:
            if given.method == "POST":
                asked = read_form(given)
            else:
                asked = ProtocolRequest("GET", given.path, parse_parameters(given.query))
        except OAuth2Error as error:
            return pages.error(request, ErrorPage(str(error.error), str(error.description or "")))
        if lacks_cookies(request, session_cookie) and "decision" not in asked.args:
            return again_as_get(request, asked.args)
        form = dict(asked.args)
        async with working(provider) as work:
            session = await provider.current_session(work.db, request.cookies.get(session_cookie))
            found = await check_logout(work, asked, session)
            if isinstance(found, ErrorPage):
                return pages.error(request, found)
            decision = form.get("decision") if given.method == "POST" else None
            is_answered = decision is not None and pages.is_genuine(request, form, session=session)
            if is_answered and decision == "stay":
                return RedirectResponse("/identity/account", SEE_OTHER)
            if found.needs_confirmation and not is_answered and session is not None:
                name = found.client.name if found.client else None
                return pages.confirm_logout(request, fields=found.fields, client_name=name, session=session)
            if session is not None:
                await end(work, session)
        on_logout()
        response = (
            RedirectResponse(found.redirect_uri, SEE_OTHER, headers={"Cache-Control": "no-store"})
            if found.redirect_uri
            else pages.signed_out(request)
        )
        forget(response)
        return response

    return router
