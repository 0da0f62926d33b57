"""`/federation/{provider}/start` and `/callback`: to a provider and back, and into a session."""

from dataclasses import replace
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.accounts import throttle
from ragecho.identity.accounts.model import AMR_FEDERATED, AMR_MULTI, LoggedIn
from ragecho.identity.federation import store_sign_ins
from ragecho.identity.federation.errors import FederationFailed
from ragecho.identity.federation.leaving import BrowserCookie, failure, leave
from ragecho.identity.federation.model import Connected, Destination, MustSignInFirst, SignedIn
from ragecho.identity.federation.sign_in import (
    Answer,
    FederatedSignIn,
    browsers_secret,
    login_buttons,
    route_email,
)
from ragecho.identity.pages.kit import Kit, Upstream
from ragecho.identity.pages.routes_sign_in import signed_in
from ragecho.identity.pages.ways import Way
from ragecho.platform.database import Session
from ragecho.platform.telemetry import get_logger

log = get_logger(__name__)
_LONGEST = 4096


class FederationUpstreams:
    """What the login page offers of federation (`ragecho.identity.pages.kit.Upstreams`)."""

    async def buttons(self, db: Session, way: Way) -> list[Upstream]:
        """Return the providers that everybody may sign in with."""
        return [Upstream(button.name, f"{button.href}?{way.suffix}") for button in await login_buttons(db)]

    async def route(self, db: Session, email: str, way: Way) -> str | None:
        """Return the address to send a person of this e-mail domain to, or None for a password here."""
        button = await route_email(db, email)
        return f"{button.href}?{way.suffix}&from=form" if button else None


def federation_routes(kit: Kit, federation: FederatedSignIn) -> APIRouter:
    """Return the routes, to be mounted where the identity service is."""
    router = APIRouter(prefix=f"{kit.pages.root}/federation", route_class=kit.page_route(), include_in_schema=False)
    cookie = BrowserCookie(kit)

    @router.get("/{provider_id}/start")
    async def start(request: Request, provider_id: UUID) -> Response:
        way = Way.of(request.query_params)
        async with kit.transaction() as db:
            address = request.client.host if request.client else None
            await throttle.begin_attempt(db, throttle.visit_counters("federation", address))
            interaction = await kit.interaction(db, request, way)
        secret = browsers_secret(cookie.of(request))
        try:
            url = await federation.start(
                provider_id,
                browser_secret=secret,
                destination=Destination(way.interaction, way.page),
                login_hint=interaction.login_hint if interaction else None,
                is_fresh=bool(interaction and interaction.needs_fresh_login),
            )
        except FederationFailed as error:
            return failure(kit, request, error, way)
        response = leave(kit, request, url, is_from_form=request.query_params.get("from") == "form")
        cookie.set(response, secret)
        return response

    @router.get("/{provider_id}/callback")
    async def callback(request: Request, provider_id: UUID) -> Response:
        try:
            async with kit.transaction() as db:
                visitor = await kit.visitor(db, request)
            answer = _answer_of(request, provider_id, cookie.of(request))
            outcome = await federation.finish(
                answer, signed_in_user_id=visitor.session.user_id if visitor.session else None
            )
        except FederationFailed as error:
            log.info("federation.failed", fault=str(error.fault), provider_id=str(provider_id), hint=error.hint)
            return failure(kit, request, error, Way())
        if isinstance(outcome, Connected):
            return kit.go(kit.address("federation/connections"))
        if isinstance(outcome, MustSignInFirst):
            return kit.go(kit.address(f"federation/link/{outcome.pending_id}"))
        return await _enter(kit, request, outcome)

    return router


def _answer_of(request: Request, provider_id: UUID, browser_secret: str | None) -> Answer:
    """Read the authorization response; a parameter that comes twice counts as missing (RFC 6749, 3.1)."""

    def one(name: str) -> str | None:
        found = request.query_params.getlist(name)
        return found[0] if len(found) == 1 and 0 < len(found[0]) <= _LONGEST else None

    return Answer(
        provider_id,
        browser_secret,
        state=one("state"),
        code=one("code"),
        error=one("error"),
        issuer=one("iss"),
    )


async def _enter(kit: Kit, request: Request, found: SignedIn) -> Response:
    """Start the session. The provider's second factor counts as one here; its time of authentication is kept."""
    amr = (AMR_FEDERATED, *((AMR_MULTI,) if AMR_MULTI in found.identity.amr else ()))
    async with kit.transaction() as db:
        visitor = await kit.visitor(db, request)
        entered = await kit.sign_in.enter(db, found.user_id, amr, browser=kit.browser(request, visitor))
        session = entered.session
        if found.identity.auth_time is not None:
            moment = await store_sign_ins.date_session(db, session.id, found.identity.auth_time)
            session = replace(session, authenticated_at=moment) if moment else session
        await store_sign_ins.insert_federated_session(
            db, session.id, found.identity_id, upstream_session=found.identity.upstream_session
        )
    outcome = LoggedIn(session, entered.secret, entered.device_secret)
    way = Way(found.destination.interaction, found.destination.next_page)
    return await signed_in(kit, request, way, outcome)
