"""`/device`: a person connects a device or a terminal by the code that it shows (RFC 8628, 3.3)."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.accounts import store as accounts_store
from ragecho.identity.accounts import throttle
from ragecho.identity.accounts.model import ACR_MULTI, BrowserSession
from ragecho.identity.pages.kit import Answered, Kit, Visitor
from ragecho.identity.pages.ways import Way, own_page
from ragecho.identity.pages.words import scopes_in_words
from ragecho.identity.protocol import device
from ragecho.identity.protocol.model import DeviceRequest
from ragecho.kernel.errors import NotFound, RateLimited
from ragecho.platform.database import Session

_FREE_TRIES = 10


def device_routes(kit: Kit) -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=kit.page_route(), include_in_schema=False)

    @router.get("/device")
    async def show_device(request: Request) -> Response:
        given = request.query_params.get("user_code", "")
        async with kit.transaction() as db:
            visitor = await _signed_in(kit, db, request, given)
        if not given:
            return _entry(kit, request, visitor)
        return await _look_up(kit, request, visitor, given)

    @router.post("/device")
    async def enter_code(request: Request) -> Response:
        form = await kit.form(request)
        given = form.get("user_code", "")
        visitor = await _checked(kit, request, form)
        return await _look_up(kit, request, visitor, given)

    @router.post("/device/confirm")
    async def confirm(request: Request) -> Response:
        form = await kit.form(request)
        visitor = await _checked(kit, request, form)
        assert visitor.session is not None
        is_allowed = form.get("decision") == "allow"
        language = kit.pages.language(request)
        try:
            async with kit.transaction() as db:
                if is_allowed:
                    await device.approve(db, form.get("user_code", ""), visitor.session)
                else:
                    await device.deny(db, form.get("user_code", ""))
        except NotFound:
            return _entry(kit, request, visitor, problem=str(language.text("device.unknown")))
        outcome = "done" if is_allowed else "denied"
        return kit.pages.page(
            request,
            "message.html",
            title=language.text(f"device.{outcome}_title"),
            text=language.text(f"device.{outcome}"),
            next_url=None,
            outbox_url=None,
        )

    return router


async def _signed_in(kit: Kit, db: Session, request: Request, given: str) -> Visitor:
    """Return who is signed in, or stop on the way to the login page."""
    visitor = await kit.visitor(db, request)
    if visitor.session is None:
        raise Answered(kit.go(kit.address(f"login?{_way_back(given).suffix}")))
    if visitor.session.acr != ACR_MULTI and await accounts_store.requires_second_factor(db, visitor.session.user_id):
        raise Answered(kit.go(kit.address(f"login/step-up?{_way_back(given).suffix}")))
    return visitor


def _way_back(given: str) -> Way:
    code = device.normalize(given)
    return Way(page=own_page(f"device?user_code={code}") if code else "device")


async def _checked(kit: Kit, request: Request, form: Mapping[str, str]) -> Visitor:
    async with kit.transaction() as db:
        visitor = await _signed_in(kit, db, request, form.get("user_code", ""))
    kit.check_form(request, form, session=visitor.binding, back=kit.address("device"))
    return visitor


async def _look_up(kit: Kit, request: Request, visitor: Visitor, given: str) -> Response:
    """Return the page that asks for confirmation, or the entry with what is wrong. Guesses are slowed down."""
    language = kit.pages.language(request)
    address = throttle.network_of(request.client.host if request.client else None)
    session = visitor.session
    assert session is not None
    counters = [
        throttle.Counter(
            throttle.key_of("device-code", str(session.user_id), address), free=_FREE_TRIES, forgives_seconds=600
        )
    ]
    try:
        async with kit.transaction() as db:
            await throttle.begin_attempt(db, counters)
    except RateLimited as error:
        return _entry(kit, request, visitor, given=given, problem=kit.problem_of(language, error), status=429)
    async with kit.transaction() as db:
        found = await device.find(db, given)
        if found is not None:
            await throttle.succeeded(db, counters)
            return await _confirmation(kit, db, request, found, session)
    return _entry(kit, request, visitor, given=given, problem=str(language.text("device.unknown")), status=404)


def _entry(
    kit: Kit, request: Request, visitor: Visitor, *, given: str = "", problem: str | None = None, status: int = 200
) -> Response:
    problems: dict[str, Any] = {"user_code": problem} if problem else {}
    return kit.pages.page(
        request, "device.html", status=status, session=visitor.binding, user_code=given[:16], problems=problems
    )


async def _confirmation(
    kit: Kit, db: Session, request: Request, found: DeviceRequest, session: BrowserSession
) -> Response:
    account = await kit.person(db, session)
    language = kit.pages.language(request)
    return kit.pages.page(
        request,
        "device_confirm.html",
        session=str(session.id),
        client=found.client_name,
        user_code=found.user_code,
        name=account.name,
        email=account.email,
        grants=scopes_in_words(language, found.scopes),
    )
