"""`/setup`: the first administrator, by the one-time link that the first start prints."""

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.accounts.errors import LinkNotValid, PasswordRefused
from ragecho.identity.pages.kit import Kit, dead_link, form_status, refused
from ragecho.identity.pages.routes_register import placed
from ragecho.identity.pages.routes_sign_in import signed_in
from ragecho.identity.pages.ways import Way
from ragecho.kernel.errors import EchoError, InvalidInput


def setup_routes(kit: Kit) -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=kit.page_route(), include_in_schema=False)
    first = kit.services.first_administrator

    @router.get("/setup")
    async def show_setup(request: Request) -> Response:
        token = request.query_params.get("token", "")
        if not await first.is_valid(token):
            return dead_link(kit, request)
        return _page(kit, request, token, {})

    @router.post("/setup")
    async def set_up(request: Request) -> Response:
        form = await kit.form(request)
        kit.check_form(request, form, back=kit.address("setup"))
        token = form.get("token", "")
        async with kit.transaction() as db:
            visitor = await kit.visitor(db, request)
        try:
            outcome = await first.set_up(
                token,
                email=form.get("email", ""),
                password=form.get("password", ""),
                name=form.get("name"),
                browser=kit.browser(request, visitor),
            )
        except LinkNotValid:
            return dead_link(kit, request)
        except EchoError as error:
            return refused(_page(kit, request, token, form, error=error), error)
        return await signed_in(kit, request, Way(), outcome)

    return router


def _page(
    kit: Kit, request: Request, token: str, form: Mapping[str, str], *, error: EchoError | None = None
) -> Response:
    problems, problem = placed(kit, request, error, {PasswordRefused: "password", InvalidInput: "email"})
    return kit.pages.page(
        request,
        "setup.html",
        status=form_status(error) if error else 200,
        token=token,
        name=form.get("name", ""),
        email=form.get("email", ""),
        problem=problem,
        problems=problems,
        min_password_length=kit.tools.policy.min_length,
    )
