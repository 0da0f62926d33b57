"""`/passkeys/…`: what the passkey script asks for and hands in, as JSON; and the passkeys of an account, as forms.

Answers are `{"challenge_id", "options"}`, `{"location"}` (where the browser goes next), or `{"problem"}` in the page's
language with a status of 400 or more.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.accounts.errors import ReauthenticationRequired
from ragecho.identity.accounts.model import PasskeyOptions
from ragecho.identity.pages.csrf import HEADER
from ragecho.identity.pages.kit import Answered, Kit, form_status
from ragecho.identity.pages.routes_sign_in import signed_in
from ragecho.identity.pages.security import security_page
from ragecho.identity.pages.signed_in import done, me, must_be_recent, submitted
from ragecho.identity.pages.ways import Way, uuid_of
from ragecho.identity.pages.words import browser_of
from ragecho.kernel.errors import EchoError, InvalidInput, Unauthenticated

SECURITY = "account/security"
Work = Callable[[Mapping[str, Any]], Awaitable[Response]]


def passkey_routes(kit: Kit) -> APIRouter:
    """Return the routes of the script."""
    router = APIRouter(include_in_schema=False)
    passkeys = kit.services.passkeys

    @router.post("/passkeys/sign-in/options")
    async def sign_in_options(request: Request) -> Response:
        async def work(_: Mapping[str, Any]) -> Response:
            return _options(await passkeys.begin_sign_in())

        return await _answered(kit, request, work)

    @router.post("/passkeys/sign-in")
    async def sign_in(request: Request) -> Response:
        return await _answered(kit, request, lambda body: _sign_in(kit, request, body, ticket=None))

    @router.post("/passkeys/second-factor/options")
    async def second_factor_options(request: Request) -> Response:
        async def work(_: Mapping[str, Any]) -> Response:
            return _options(await passkeys.begin_sign_in(ticket=kit.cookies.ticket(request) or ""))

        return await _answered(kit, request, work)

    @router.post("/passkeys/second-factor")
    async def second_factor(request: Request) -> Response:
        ticket = kit.cookies.ticket(request) or ""
        return await _answered(kit, request, lambda body: _sign_in(kit, request, body, ticket=ticket))

    @router.post("/passkeys/register/options")
    async def register_options(request: Request) -> Response:
        async def work(_: Mapping[str, Any]) -> Response:
            person = await me(kit, request, page=SECURITY)
            try:
                return _options(await passkeys.begin_registration(person.session))
            except ReauthenticationRequired:
                return _json({"location": kit.address(f"login?{Way(page=SECURITY).suffix}&again=1")})

        return await _answered(kit, request, work, is_bound=True)

    @router.post("/passkeys/register")
    async def register(request: Request) -> Response:
        async def work(body: Mapping[str, Any]) -> Response:
            person = await me(kit, request, page=SECURITY)
            name = browser_of(person.language, request.headers.get("user-agent"))
            await passkeys.finish_registration(person.session, _challenge(body), _credential(body), name=name)
            return _json({"location": kit.address(f"{SECURITY}?notice=security.passkey_added")})

        return await _answered(kit, request, work, is_bound=True)

    return router


def passkey_form_routes(kit: Kit) -> APIRouter:
    """Return the routes of an account's passkeys."""
    router = APIRouter(route_class=kit.page_route(), include_in_schema=False)

    @router.post("/account/passkeys/{passkey_id}/rename")
    async def rename(request: Request, passkey_id: UUID) -> Response:
        person, form = await submitted(kit, request, page=SECURITY)
        try:
            await kit.services.passkeys.rename(person.account.id, passkey_id, form.get("passkey_name", ""))
        except InvalidInput as error:
            said = kit.problem_of(person.language, error)
            return await security_page(kit, request, person, status=form_status(error), problem=said)
        return done(kit, SECURITY, "security.passkey_renamed")

    @router.post("/account/passkeys/{passkey_id}/delete")
    async def remove(request: Request, passkey_id: UUID) -> Response:
        person, _ = await submitted(kit, request, page=SECURITY, is_sensitive=True)
        try:
            await kit.services.passkeys.remove(person.session, passkey_id)
        except ReauthenticationRequired:
            must_be_recent(kit, request, person, page=SECURITY)
            raise
        except EchoError as error:
            key = "security.last_factor" if error.code == "conflict" else None
            said = str(person.language.text(key)) if key else kit.problem_of(person.language, error)
            return await security_page(kit, request, person, status=form_status(error), problem=said)
        return done(kit, SECURITY, "security.passkey_removed")

    return router


async def _sign_in(kit: Kit, request: Request, body: Mapping[str, Any], *, ticket: str | None) -> Response:
    async with kit.transaction() as db:
        visitor = await kit.visitor(db, request)
    outcome = await kit.services.passkeys.finish_sign_in(
        _challenge(body), _credential(body), browser=kit.browser(request, visitor), ticket=ticket
    )
    page = await signed_in(kit, request, Way.of(body), outcome)
    # A request that is over answers with a page; its login page says so again.
    location = page.headers.get("location") or kit.address(f"login?{Way.of(body).suffix}")
    response = _json({"location": location})
    for value in page.headers.getlist("set-cookie"):
        response.headers.append("set-cookie", value)
    return response


async def _answered(kit: Kit, request: Request, work: Work, *, is_bound: bool = False) -> Response:
    """Run `work` with the request's JSON if it comes from a page of ours; failures become `{"problem"}`."""
    language = kit.pages.language(request)
    binding = ""
    if is_bound:
        async with kit.transaction() as db:
            binding = (await kit.visitor(db, request)).binding
    if not kit.pages.guard.is_genuine(request, request.headers.get(HEADER), session=binding):
        return _json({"problem": str(language.text("error.form"))}, status=403)
    try:
        try:
            body = orjson.loads(await request.body())
        except orjson.JSONDecodeError:
            raise InvalidInput("This is not JSON.") from None
        return await work(body if isinstance(body, dict) else {})
    except Answered as answered:
        return _json({"location": answered.response.headers.get("location", kit.home_url)})
    except Unauthenticated as error:
        return _json({"problem": str(language.text("passkey.failed")), "code": error.code}, status=form_status(error))
    except EchoError as error:
        return _json({"problem": kit.problem_of(language, error), "code": error.code}, status=form_status(error))


def _options(made: PasskeyOptions) -> Response:
    return _json({"challenge_id": str(made.challenge_id), "options": made.options})


def _json(content: Mapping[str, Any], *, status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return Response(orjson.dumps(content), status_code=status, headers=headers, media_type="application/json")


def _challenge(body: Mapping[str, Any]) -> UUID:
    found = uuid_of(body.get("challenge_id"))
    if found is None:
        raise InvalidInput("The challenge is missing.")
    return found


def _credential(body: Mapping[str, Any]) -> Mapping[str, Any]:
    found = body.get("credential")
    if not isinstance(found, dict):
        raise InvalidInput("The passkey's answer is missing.")
    return found
