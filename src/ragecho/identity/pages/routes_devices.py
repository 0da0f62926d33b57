"""`/account/devices` and `/account/apps`: where a person is signed in, which apps act for them, and how both end."""

from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.accounts.sessions import EndReason, end_other_sessions, end_session, list_sessions
from ragecho.identity.pages import store_apps
from ragecho.identity.pages.kit import Kit
from ragecho.identity.pages.signed_in import account_page, done, me, submitted
from ragecho.identity.pages.words import browser_of, scopes_in_words, when
from ragecho.kernel.errors import NotFound

DEVICES, APPS = "account/devices", "account/apps"


def device_list_routes(kit: Kit) -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=kit.page_route(), include_in_schema=False)

    @router.get(f"/{DEVICES}")
    async def show_devices(request: Request) -> Response:
        person = await me(kit, request, page=DEVICES)
        async with kit.transaction() as db:
            found = await list_sessions(db, person.account.id)
        zone = person.account.zoneinfo
        shown = [
            {
                "id": session.id,
                "device": browser_of(person.language, session.user_agent),
                "ip": session.ip,
                "is_current": session.id == person.session.id,
                "seen": when(person.language, session.last_seen_at, zone),
                "created": when(person.language, session.created_at, zone),
            }
            for session in found
        ]
        shown.sort(key=lambda session: not session["is_current"])
        return account_page(kit, request, person, "account_devices.html", "devices", sessions=shown)

    @router.post("/account/devices/sign-out-others")
    async def sign_out_others(request: Request) -> Response:
        person, _ = await submitted(kit, request, page=DEVICES)
        async with kit.transaction() as db:
            await end_other_sessions(db, person.account.id, keep=person.session.id)
        return done(kit, DEVICES, "devices.others_signed_out")

    @router.post("/account/devices/{session_id}/sign-out")
    async def sign_out_one(request: Request, session_id: UUID) -> Response:
        person, _ = await submitted(kit, request, page=DEVICES)
        async with kit.transaction() as db:
            await end_session(db, session_id, person.account.id, reason=EndReason.SIGNED_OUT_REMOTELY)
        return done(kit, DEVICES, "devices.signed_out")

    @router.get(f"/{APPS}")
    async def show_apps(request: Request) -> Response:
        person = await me(kit, request, page=APPS)
        async with kit.transaction() as db:
            found = await store_apps.list_apps(db, person.account.id)
        shown = [
            {
                "id": app.client_id,
                "name": app.name,
                "grants": scopes_in_words(person.language, app.scopes),
                "created": when(person.language, app.since, person.account.zoneinfo),
            }
            for app in found
        ]
        return account_page(kit, request, person, "account_apps.html", "apps", apps=shown)

    @router.post("/account/apps/{client_id}/revoke")
    async def revoke(request: Request, client_id: str) -> Response:
        person, _ = await submitted(kit, request, page=APPS)
        async with kit.transaction() as db:
            if not await store_apps.disconnect_app(db, person.account.id, client_id):
                raise NotFound("This app has no access to your account.")
        return done(kit, APPS, "apps.revoked")

    return router
