"""`/forgot-password`, `/reset-password`, `/verify-email`, `/change-email`: the links that come by mail.

Opening a link only shows a page: mail scanners open links, too. What it does is done by the form.
"""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.accounts.errors import LinkNotValid, PasswordRefused
from ragecho.identity.pages.kit import Kit, dead_link, form_status, refused
from ragecho.identity.pages.routes_register import address_form, mail_sent, placed
from ragecho.identity.pages.routes_sign_in import signed_in
from ragecho.identity.pages.ways import Way
from ragecho.kernel.errors import EchoError


def recover_routes(kit: Kit) -> APIRouter:
    """Return the routes of a forgotten password."""
    router = APIRouter(route_class=kit.page_route(), include_in_schema=False)
    accounts = kit.services.accounts

    @router.get("/forgot-password")
    async def show_forgot(request: Request) -> Response:
        way = Way.of(request.query_params)
        async with kit.transaction() as db:
            interaction = await kit.interaction(db, request, way)
        return address_form(kit, request, "forgot_password.html", way, interaction=interaction, form={})

    @router.post("/forgot-password")
    async def forgot(request: Request) -> Response:
        form = await kit.form(request)
        way = Way.of(form)
        async with kit.transaction() as db:
            interaction = await kit.interaction(db, request, way)
            visitor = await kit.visitor(db, request)
        kit.check_form(request, form, back=kit.address(f"forgot-password?{way.suffix}"))
        email = form.get("email", "").strip()
        try:
            await accounts.request_password_reset(email, browser=kit.browser(request, visitor))
        except EchoError as error:
            page = address_form(
                kit, request, "forgot_password.html", way, interaction=interaction, form=form, error=error
            )
            return refused(page, error)
        minutes = kit.tools.settings.link_minutes
        response = mail_sent(
            kit, request, "register.sent_title", "forgot.sent", email=email, interaction=interaction, minutes=minutes
        )
        kit.cookies.keep_way(response, way)
        return response

    @router.get("/reset-password")
    async def show_reset(request: Request) -> Response:
        token = request.query_params.get("token", "")
        email = await accounts.reset_address(token)
        return _reset_page(kit, request, token, email) if email else dead_link(kit, request)

    @router.post("/reset-password")
    async def reset(request: Request) -> Response:
        form = await kit.form(request)
        kit.check_form(request, form, back=kit.address("forgot-password"))
        token = form.get("token", "")
        async with kit.transaction() as db:
            visitor = await kit.visitor(db, request)
        try:
            outcome = await accounts.reset_password(
                token, form.get("password", ""), browser=kit.browser(request, visitor)
            )
        except LinkNotValid:
            return dead_link(kit, request)
        except EchoError as error:
            email = await accounts.reset_address(token)
            if email is None:
                return dead_link(kit, request)
            return refused(_reset_page(kit, request, token, email, error=error), error)
        return await signed_in(kit, request, kit.cookies.way(request), outcome)

    return router


def confirm_routes(kit: Kit) -> APIRouter:
    """Return the routes that confirm an address."""
    router = APIRouter(route_class=kit.page_route(), include_in_schema=False)
    accounts = kit.services.accounts

    def add(path: str, confirm: Callable[[str], Awaitable[object]]) -> None:
        @router.get(f"/{path}")
        async def show(request: Request) -> Response:
            token = request.query_params.get("token", "")
            return kit.pages.page(request, "verify_email.html", token=token, action=kit.address(path))

        @router.post(f"/{path}")
        async def do(request: Request) -> Response:
            form = await kit.form(request)
            kit.check_form(request, form, back=kit.home_url)
            try:
                await confirm(form.get("token", ""))
            except LinkNotValid:
                return dead_link(kit, request)
            language = kit.pages.language(request)
            return kit.pages.page(
                request,
                "message.html",
                title=language.text("verify.done_title"),
                text=language.text("verify.done"),
                next_url=kit.address("account"),
                next_label=language.text("error.account"),
                outbox_url=None,
            )

    add("verify-email", accounts.verify_email)
    add("change-email", accounts.confirm_email_change)
    return router


def _reset_page(kit: Kit, request: Request, token: str, email: str, *, error: EchoError | None = None) -> Response:
    problems, problem = placed(kit, request, error, {PasswordRefused: "password"})
    return kit.pages.page(
        request,
        "reset_password.html",
        status=form_status(error) if error else 200,
        token=token,
        email=email,
        problem=problem,
        problems=problems,
        min_password_length=kit.tools.policy.min_length,
    )
