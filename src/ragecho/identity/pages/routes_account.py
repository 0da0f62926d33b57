"""`/account`: profile, address, password, and the end of an account; signing out here."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.accounts.errors import BadCredentials, PasswordRefused
from ragecho.identity.accounts.sessions import end_session
from ragecho.identity.pages.kit import UNPROCESSABLE, Kit, form_status, refused
from ragecho.identity.pages.routes_register import mail_sent
from ragecho.identity.pages.security import security_page
from ragecho.identity.pages.signed_in import Me, account_page, done, me, must_be_recent, submitted
from ragecho.identity.pages.ways import own_page
from ragecho.kernel.errors import EchoError, InvalidInput

PROFILE, SECURITY, DELETE = "account", "account/security", "account/delete"


def account_routes(kit: Kit) -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=kit.page_route(), include_in_schema=False)
    accounts = kit.services.accounts

    @router.get("/account")
    async def show_profile(request: Request) -> Response:
        return await _profile_page(kit, request, await me(kit, request, page=PROFILE))

    @router.post("/account/profile")
    async def save_profile(request: Request) -> Response:
        person, form = await submitted(kit, request, page=PROFILE)
        try:
            await accounts.update_profile(
                person.account.id,
                name=form.get("name"),
                locale=form.get("locale", person.account.locale),
                zoneinfo=form.get("zoneinfo", person.account.zoneinfo),
            )
        except InvalidInput as error:
            problems = {"zoneinfo" if "zone" in error.message else "name": kit.problem_of(person.language, error)}
            return await _profile_page(kit, request, person, error=error, problems=problems, **form)
        return done(kit, PROFILE, "account.saved")

    @router.post("/account/verify-email")
    async def send_verification(request: Request) -> Response:
        person, _ = await submitted(kit, request, page=PROFILE)
        await accounts.request_email_verification(person.account.id)
        return mail_sent(kit, request, "register.sent_title", "account.link_sent", email=person.account.email)

    @router.post("/account/email")
    async def change_email(request: Request) -> Response:
        person, form = await submitted(kit, request, page=PROFILE, is_sensitive=True)
        new_email = form.get("new_email", "").strip()
        try:
            await accounts.request_email_change(person.session, new_email)
        except InvalidInput as error:
            problems = {"new_email": str(person.language.text("login.email_invalid"))}
            return await _profile_page(kit, request, person, error=error, problems=problems, new_email=new_email[:254])
        return mail_sent(kit, request, "register.sent_title", "account.link_sent", email=new_email)

    @router.post("/account/password")
    async def change_password(request: Request) -> Response:
        person, form = await submitted(kit, request, page=SECURITY)
        async with kit.transaction() as db:
            visitor = await kit.visitor(db, request)
        try:
            _, secret = await accounts.change_password(
                person.session,
                current=form.get("current_password"),
                new=form.get("new_password", ""),
                browser=kit.browser(request, visitor),
            )
        except BadCredentials:
            problems = {"current_password": str(person.language.text("security.password_wrong"))}
            return await security_page(kit, request, person, status=UNPROCESSABLE, problems=problems)
        except PasswordRefused as error:
            problems = {"new_password": kit.problem_of(person.language, error)}
            return await security_page(kit, request, person, status=UNPROCESSABLE, problems=problems)
        except EchoError as error:
            must_be_recent(kit, request, person, page=SECURITY)
            said = kit.problem_of(person.language, error)
            return refused(await security_page(kit, request, person, status=form_status(error), problem=said), error)
        response = done(kit, SECURITY, "security.password_changed")
        kit.cookies.sign_in(response, secret=secret, device_secret=None)
        return response

    return router


def leaving_routes(kit: Kit) -> APIRouter:
    """Return the routes of signing out here and of deleting an account."""
    router = APIRouter(route_class=kit.page_route(), include_in_schema=False)

    @router.post("/account/sign-out")
    async def sign_out(request: Request) -> Response:
        person, form = await submitted(kit, request, page=PROFILE)
        async with kit.transaction() as db:
            await end_session(db, person.session.id, person.account.id)
        page = own_page(f"invitation?token={form['invitation']}") if form.get("invitation") else ""
        response = kit.go(kit.address(page or "signed-out"))
        kit.cookies.sign_out(response)
        return response

    @router.get("/signed-out")
    async def signed_out(request: Request) -> Response:
        return _farewell(kit, request, "logout")

    @router.get("/account/delete")
    async def show_delete(request: Request) -> Response:
        person = await me(kit, request, page=DELETE)
        must_be_recent(kit, request, person, page=DELETE)
        return account_page(kit, request, person, "account_delete.html", "profile")

    @router.post("/account/delete")
    async def delete(request: Request) -> Response:
        person, form = await submitted(kit, request, page=DELETE, is_sensitive=True)
        if form.get("email", "").strip().casefold() != person.account.email.casefold():
            problems = {"email": str(person.language.text("delete.mismatch"))}
            return account_page(
                kit, request, person, "account_delete.html", "profile", status=UNPROCESSABLE, problems=problems
            )
        try:
            await kit.services.accounts.delete(person.session)
        except EchoError as error:
            said = kit.problem_of(person.language, error)
            page = account_page(
                kit, request, person, "account_delete.html", "profile", status=form_status(error), problem=said
            )
            return refused(page, error)
        response = _farewell(kit, request, "delete")
        kit.cookies.sign_out(response)
        return response

    return router


async def _profile_page(
    kit: Kit, request: Request, person: Me, *, error: EchoError | None = None, **values: Any
) -> Response:
    account = person.account
    shown: dict[str, Any] = {
        "name": account.name or "",
        "zoneinfo": account.zoneinfo or "",
        "locale": account.locale or "",
        "new_email": "",
        **{key: values[key] for key in ("name", "zoneinfo", "locale", "new_email", "problems") if key in values},
    }
    return account_page(
        kit, request, person, "account_profile.html", "profile", status=form_status(error) if error else 200, **shown
    )


def _farewell(kit: Kit, request: Request, kind: str) -> Response:
    language = kit.pages.language(request)
    return kit.pages.page(
        request,
        "message.html",
        language=language,
        title=language.text(f"{kind}.done_title"),
        text=language.text(f"{kind}.done"),
        next_url=kit.home_url,
        next_label=language.text("logout.again" if kind == "logout" else "error.home"),
        outbox_url=None,
    )
