"""`/account/security`: authenticator app and recovery codes."""

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.accounts.errors import BadCode
from ragecho.identity.accounts.model import ACR_MULTI, AMR_MULTI, AMR_OTP
from ragecho.identity.accounts.sessions import step_up
from ragecho.identity.accounts.totp import TotpSetup
from ragecho.identity.pages.kit import UNPROCESSABLE, Kit, form_status, refused
from ragecho.identity.pages.security import security_page
from ragecho.identity.pages.signed_in import Me, account_page, done, me, must_be_recent, submitted
from ragecho.kernel.errors import EchoError

SECURITY = "account/security"


def factor_routes(kit: Kit) -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=kit.page_route(), include_in_schema=False)
    factors = kit.services.factors

    @router.get(f"/{SECURITY}")
    async def show_security(request: Request) -> Response:
        return await security_page(kit, request, await me(kit, request, page=SECURITY))

    @router.post("/account/totp")
    async def begin(request: Request) -> Response:
        person, _ = await submitted(kit, request, page=SECURITY, is_sensitive=True)
        try:
            setup = await factors.begin_totp(person.session)
        except EchoError as error:
            return await _refusal(kit, request, person, error)
        return _totp_page(kit, request, person, setup, {})

    @router.post("/account/totp/confirm")
    async def confirm(request: Request) -> Response:
        person, form = await submitted(kit, request, page=SECURITY, is_sensitive=True)
        async with kit.transaction() as db:
            visitor = await kit.visitor(db, request)
        try:
            codes = await factors.confirm_totp(
                person.session, form.get("code", ""), browser=kit.browser(request, visitor)
            )
        except EchoError as error:
            setup = await factors.pending_totp(person.session)
            if setup is None:
                return await _refusal(kit, request, person, error)
            is_wrong = isinstance(error, BadCode)
            said = str(person.language.text("totp.wrong")) if is_wrong else kit.problem_of(person.language, error)
            return refused(_totp_page(kit, request, person, setup, {"code": said}), error)
        response = _codes_page(kit, request, person, codes) if codes else done(kit, SECURITY, "security.totp_added")
        if person.session.acr != ACR_MULTI:
            # The code was a second factor; asked for again at once, the same one would not count.
            async with kit.transaction() as db:
                _, secret = await step_up(db, person.session.id, amr=(*person.session.amr, AMR_OTP, AMR_MULTI))
            kit.cookies.sign_in(response, secret=secret, device_secret=None)
        return response

    @router.post("/account/totp/remove")
    async def remove(request: Request) -> Response:
        person, _ = await submitted(kit, request, page=SECURITY, is_sensitive=True)
        try:
            await factors.remove_totp(person.session)
        except EchoError as error:
            return await _refusal(kit, request, person, error)
        return done(kit, SECURITY, "security.totp_removed")

    @router.post("/account/recovery-codes")
    async def new_codes(request: Request) -> Response:
        person, _ = await submitted(kit, request, page=SECURITY, is_sensitive=True)
        try:
            codes = await factors.new_recovery_codes(person.session)
        except EchoError as error:
            return await _refusal(kit, request, person, error)
        return _codes_page(kit, request, person, codes)

    # What the forms answer with stays in the address bar: who loads it again gets a page, not an error.
    @router.get("/account/totp")
    @router.get("/account/totp/confirm")
    @router.get("/account/recovery-codes")
    @router.get("/account/password")
    async def back() -> Response:
        return kit.go(kit.address(SECURITY))

    return router


def _totp_page(kit: Kit, request: Request, person: Me, setup: TotpSetup, problems: Mapping[str, str]) -> Response:
    return account_page(
        kit,
        request,
        person,
        "account_totp.html",
        "security",
        status=UNPROCESSABLE if problems else 200,
        problems=dict(problems),
        qr=qr_of(setup.uri),
        secret=" ".join(setup.secret[place : place + 4] for place in range(0, len(setup.secret), 4)),
    )


def qr_of(text: str) -> str:
    """Return a QR code as a `data:` image, which the policy allows; the secret in it never touches a disk or another host."""
    import segno

    return segno.make(text, error="m", micro=False).svg_data_uri(scale=4, border=2, dark="#000", light="#fff")


def _codes_page(kit: Kit, request: Request, person: Me, codes: tuple[str, ...]) -> Response:
    return account_page(kit, request, person, "account_codes.html", "security", codes=codes)


async def _refusal(kit: Kit, request: Request, person: Me, error: EchoError) -> Response:
    must_be_recent(kit, request, person, page=SECURITY)
    said = kit.problem_of(person.language, error)
    return refused(await security_page(kit, request, person, status=form_status(error), problem=said), error)
