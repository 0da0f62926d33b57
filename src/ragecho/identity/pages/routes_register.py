"""`/register`, `/sign-up` and `/invitation`: how accounts come to be. The address comes first, the password after the mail."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.accounts.errors import (
    AccountExists,
    LinkNotValid,
    OtherAddress,
    PasswordRefused,
    RegistrationClosed,
)
from ragecho.identity.accounts.model import Invitation
from ragecho.identity.accounts.settings import Registration
from ragecho.identity.pages.kit import Kit, Visitor, dead_link, form_status, refused
from ragecho.identity.pages.routes_sign_in import signed_in
from ragecho.identity.pages.ways import Way
from ragecho.identity.protocol.model import Interaction
from ragecho.kernel.errors import EchoError, InvalidInput


def register_routes(kit: Kit) -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=kit.page_route(), include_in_schema=False)
    registrations = kit.services.registrations

    # Programs register clients with POST /register (RFC 7591); people's form goes to /sign-up.
    @router.get("/register")
    @router.get("/sign-up")
    async def show_register(request: Request) -> Response:
        way = Way.of(request.query_params)
        async with kit.transaction() as db:
            interaction = await kit.interaction(db, request, way)
        if kit.tools.settings.registration is not Registration.OPEN:
            return _closed(kit, request, interaction)
        return _register_page(kit, request, way, interaction, {})

    @router.post("/sign-up")
    async def register(request: Request) -> Response:
        form = await kit.form(request)
        way = Way.of(form)
        async with kit.transaction() as db:
            interaction = await kit.interaction(db, request, way)
            visitor = await kit.visitor(db, request)
        kit.check_form(request, form, back=kit.address(f"register?{way.suffix}"))
        email = form.get("email", "").strip()
        try:
            await registrations.start(email, browser=kit.browser(request, visitor))
        except RegistrationClosed:
            return _closed(kit, request, interaction)
        except EchoError as error:
            return refused(_register_page(kit, request, way, interaction, form, error=error), error)
        response = mail_sent(kit, request, "register.sent_title", "register.sent", email=email, interaction=interaction)
        kit.cookies.keep_way(response, way)
        return response

    @router.get("/sign-up/confirm")
    async def show_finish(request: Request) -> Response:
        values = request.query_params
        email = await registrations.address_of(values.get("token", ""))
        return _finish_page(kit, request, values, email, {}) if email else dead_link(kit, request)

    @router.post("/sign-up/confirm")
    async def finish(request: Request) -> Response:
        form = await kit.form(request)
        kit.check_form(request, form, back=kit.home_url)
        token = form.get("token", "")
        async with kit.transaction() as db:
            visitor = await kit.visitor(db, request)
        try:
            outcome = await registrations.finish(
                token,
                password=form.get("password", ""),
                name=form.get("name"),
                invitation=form.get("invitation") or None,
                browser=kit.browser(request, visitor),
            )
        except LinkNotValid:
            return dead_link(kit, request)
        except EchoError as error:
            email = await registrations.address_of(token)
            if email is None:
                return dead_link(kit, request)
            return refused(_finish_page(kit, request, form, email, form, error=error), error)
        return await signed_in(kit, request, kit.cookies.way(request), outcome)

    return router


def invitation_routes(kit: Kit) -> APIRouter:
    """Return the routes of `/invitation`."""
    router = APIRouter(route_class=kit.page_route(), include_in_schema=False)
    registrations = kit.services.registrations

    @router.get("/invitation")
    async def show_invitation(request: Request) -> Response:
        token = request.query_params.get("token", "")
        found = await registrations.invitation(token)
        if found is None:
            return dead_link(kit, request)
        async with kit.transaction() as db:
            visitor = await kit.visitor(db, request)
        return await _invitation_page(kit, request, token, found, visitor)

    @router.post("/invitation")
    async def accept(request: Request) -> Response:
        form = await kit.form(request)
        token = form.get("token", "")
        found = await registrations.invitation(token)
        async with kit.transaction() as db:
            visitor = await kit.visitor(db, request)
        kit.check_form(request, form, session=visitor.binding, back=kit.home_url)
        if found is None:
            return dead_link(kit, request)
        try:
            return await _accept(kit, request, form, found, visitor)
        except LinkNotValid:
            return dead_link(kit, request)
        except EchoError as error:
            page = await _invitation_page(kit, request, token, found, visitor, form=form, error=error)
            return refused(page, error)

    return router


async def _accept(kit: Kit, request: Request, form: Mapping[str, str], found: Invitation, visitor: Visitor) -> Response:
    registrations, token = kit.services.registrations, form.get("token", "")
    browser = kit.browser(request, visitor)
    if visitor.session is not None:
        await registrations.accept(token, visitor.session)
        return _joined(kit, request, found)
    if not found.is_mailed:
        # Whoever has this link was given it by somebody: the address gets a mail of its own first.
        await registrations.start(found.email, browser=browser, invitation=token)
        return mail_sent(kit, request, "register.sent_title", "register.sent", email=found.email)
    outcome = await registrations.join(token, password=form.get("password", ""), name=form.get("name"), browser=browser)
    return await signed_in(kit, request, Way(), outcome)


async def _invitation_page(
    kit: Kit,
    request: Request,
    token: str,
    found: Invitation,
    visitor: Visitor,
    *,
    form: Mapping[str, str] | None = None,
    error: EchoError | None = None,
) -> Response:
    language = kit.pages.language(request)
    account = None
    if visitor.session is not None:
        async with kit.transaction() as db:
            account = await kit.person(db, visitor.session)
    problems, problem = placed(kit, request, error, {PasswordRefused: "password", InvalidInput: "name"})
    return kit.pages.page(
        request,
        "invitation.html",
        language=language,
        status=form_status(error) if error else 200,
        session=visitor.binding,
        token=token,
        organization=found.organization_name,
        email=found.email,
        current=account,
        is_other=isinstance(error, OtherAddress)
        or (account is not None and account.email.casefold() != found.email.casefold()),
        has_account=bool(found.has_account),
        is_mailed=found.is_mailed,
        name=(form or {}).get("name", ""),
        problem=problem,
        problems=problems,
        login_suffix=Way(page="account").suffix,
        min_password_length=kit.tools.policy.min_length,
    )


def _joined(kit: Kit, request: Request, found: Invitation) -> Response:
    language = kit.pages.language(request)
    return kit.pages.page(
        request,
        "message.html",
        title=language.text("invitation.done_title"),
        text=language.text("invitation.done", organization=found.organization_name),
        next_url=kit.home_url,
        next_label=language.text("error.home"),
        outbox_url=None,
    )


def _register_page(
    kit: Kit,
    request: Request,
    way: Way,
    interaction: Interaction | None,
    form: Mapping[str, str],
    *,
    error: EchoError | None = None,
) -> Response:
    about = kit.about_app(kit.language(request, interaction), interaction)
    return address_form(kit, request, "register.html", way, interaction=interaction, form=form, error=error, **about)


def _finish_page(
    kit: Kit,
    request: Request,
    values: Mapping[str, str],
    email: str,
    form: Mapping[str, str],
    *,
    error: EchoError | None = None,
) -> Response:
    problems, problem = placed(kit, request, error, {PasswordRefused: "password", InvalidInput: "name"})
    return kit.pages.page(
        request,
        "sign_up.html",
        status=form_status(error) if error else 200,
        token=values.get("token", ""),
        invitation=values.get("invitation", ""),
        email=email,
        name=form.get("name", ""),
        problem=problem,
        problems=problems,
        has_account=isinstance(error, AccountExists),
        min_password_length=kit.tools.policy.min_length,
    )


def _closed(kit: Kit, request: Request, interaction: Interaction | None) -> Response:
    language = kit.language(request, interaction)
    suffix = Way(interaction.id).suffix if interaction else Way().suffix
    return kit.pages.error(
        request,
        status=403,
        title=str(language.text("register.closed_title")),
        text=str(language.text("register.closed")),
        start_url=kit.address(f"login?{suffix}&known=1"),
        start_label=str(language.text("factor.back")),
        ui_locales=interaction.ui_locales if interaction else None,
    )


def address_form(
    kit: Kit,
    request: Request,
    template: str,
    way: Way,
    *,
    interaction: Interaction | None,
    form: Mapping[str, str],
    error: EchoError | None = None,
    **values: Any,
) -> Response:
    """Return a page that asks for an e-mail address, with what is wrong with the one that was given."""
    language = kit.language(request, interaction)
    problems, problem = placed(kit, request, error, {InvalidInput: "email"})
    if problems:
        problems = {"email": str(language.text("login.email_invalid"))}
    return kit.pages.page(
        request,
        template,
        language=language,
        status=form_status(error) if error else 200,
        email=form.get("email", "")[:254],
        problem=problem,
        problems=problems,
        suffix=way.suffix,
        **way.fields,
        **values,
    )


def mail_sent(
    kit: Kit,
    request: Request,
    title: str,
    text: str,
    *,
    email: str,
    interaction: Interaction | None = None,
    session: str = "",
    **values: object,
) -> Response:
    """Return the page after a form that may have sent a mail: the same whoever exists."""
    language = kit.language(request, interaction)
    return kit.pages.page(
        request,
        "message.html",
        language=language,
        session=session,
        title=language.text(title),
        text=language.text(text, email=email, **values),
        next_url=None,
        next_label=None,
        outbox_url=kit.address("outbox") if kit.has_outbox else None,
    )


def placed(
    kit: Kit, request: Request, error: EchoError | None, places: Mapping[type[EchoError], str]
) -> tuple[dict[str, str], str | None]:
    """Return a form's error beside the field that `places` names for its class, the first that fits; else above the form."""
    if error is None:
        return {}, None
    said = kit.problem_of(kit.pages.language(request), error)
    for kind, field in places.items():
        if isinstance(error, kind):
            return {field: said}, None
    return {}, said
