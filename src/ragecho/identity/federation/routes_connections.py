"""`/federation/connections` and `/federation/link/…`: which upstream accounts are a person's, and which become so."""

from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.federation import store_sign_ins
from ragecho.identity.federation.errors import FederationFailed
from ragecho.identity.federation.leaving import BrowserCookie, failure, leave
from ragecho.identity.federation.model import Destination
from ragecho.identity.federation.sign_in import (
    FederatedSignIn,
    browsers_secret,
    disconnect,
    list_connections,
    login_buttons,
)
from ragecho.identity.pages.kit import Answered, Kit, Visitor
from ragecho.identity.pages.ways import Way, uuid_of
from ragecho.kernel.errors import NotFound
from ragecho.platform.database import Session


def connection_routes(kit: Kit, federation: FederatedSignIn) -> APIRouter:
    """Return the routes, to be mounted where the identity service is."""
    router = APIRouter(prefix=f"{kit.pages.root}/federation", route_class=kit.page_route(), include_in_schema=False)
    cookie = BrowserCookie(kit)

    @router.get("/connections")
    async def show_connections(request: Request) -> Response:
        async with kit.transaction() as db:
            visitor = await _signed_in_visitor(kit, db, request, "account")
            assert visitor.session is not None
            found = await list_connections(db, visitor.session.user_id)
            buttons = await login_buttons(db)
        return kit.pages.page(
            request,
            "federation_connections.html",
            session=visitor.binding,
            connections=found,
            providers=[(button.name, button.href.removesuffix("/start")) for button in buttons],
        )

    @router.post("/connections/disconnect")
    async def remove_connection(request: Request) -> Response:
        form = await kit.form(request)
        async with kit.transaction() as db:
            visitor = await _signed_in_visitor(kit, db, request, "account")
            kit.check_form(request, form, session=visitor.binding, back=kit.address("federation/connections"))
            assert visitor.session is not None
            wanted = uuid_of(form.get("connection"))
            if wanted is None:
                raise NotFound("There is no such connection.")
            await disconnect(db, visitor.session.user_id, wanted)
        return kit.go(kit.address("federation/connections"))

    @router.get("/link/{pending_id}")
    async def show_link(request: Request, pending_id: UUID) -> Response:
        async with kit.transaction() as db:
            pending, provider = await federation.pending_link(db, pending_id, cookie.of(request))
            visitor = await _signed_in_visitor(kit, db, request, f"federation/link/{pending_id}")
            assert visitor.session is not None
            account = await kit.person(db, visitor.session)
        return kit.pages.page(
            request,
            "federation_link.html",
            session=visitor.binding,
            pending=str(pending_id),
            provider=provider.name,
            upstream_email=pending.email,
            name=account.name if account else None,
            email=account.email if account else "",
        )

    @router.post("/link/{pending_id}")
    async def confirm_link(request: Request, pending_id: UUID) -> Response:
        form = await kit.form(request)
        async with kit.transaction() as db:
            pending, provider = await federation.pending_link(db, pending_id, cookie.of(request))
            visitor = await _signed_in_visitor(kit, db, request, f"federation/link/{pending_id}")
            kit.check_form(request, form, session=visitor.binding, back=kit.address(f"federation/link/{pending_id}"))
            assert visitor.session is not None
            if form.get("decision") == "allow":
                await federation.confirm_link(db, pending, provider, visitor.session.user_id)
            else:
                await store_sign_ins.use_pending_link(db, pending_id)
        return kit.go(_next_page(kit, pending.destination))

    @router.post("/{provider_id}/link")
    async def start_link(request: Request, provider_id: UUID) -> Response:
        form = await kit.form(request)
        async with kit.transaction() as db:
            visitor = await _signed_in_visitor(kit, db, request, "account")
            kit.check_form(request, form, session=visitor.binding, back=kit.address("federation/connections"))
            assert visitor.session is not None
        secret = browsers_secret(cookie.of(request))
        try:
            url = await federation.start(
                provider_id,
                browser_secret=secret,
                destination=Destination(),
                linking_user_id=visitor.session.user_id,
                is_fresh=True,
            )
        except FederationFailed as error:
            return failure(kit, request, error, Way())
        response = leave(kit, request, url, is_from_form=True)
        cookie.set(response, secret)
        return response

    return router


async def _signed_in_visitor(kit: Kit, db: Session, request: Request, page: str) -> Visitor:
    """Return who is signed in; stop with the login page, from which `page` follows."""
    visitor = await kit.visitor(db, request)
    if visitor.session is None:
        raise Answered(kit.go(kit.address(f"login?{Way(page=page).suffix}")))
    return visitor


def _next_page(kit: Kit, destination: Destination) -> str:
    if destination.interaction is not None:
        return kit.address(f"login?{Way(destination.interaction).suffix}")
    return kit.address(destination.next_page)
