"""`/outbox`: the mails of a development server without a mail server, for who sits at the machine."""

import ipaddress
import re

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.pages.kit import Kit
from ragecho.identity.pages.words import when
from ragecho.kernel.errors import NotFound

_LINK = re.compile(r"https?://\S+")
_MOST = 50


def outbox_routes(kit: Kit) -> APIRouter:
    """Return the routes; there are none where mail is sent."""
    router = APIRouter(route_class=kit.page_route(), include_in_schema=False)
    if not kit.has_outbox:
        return router

    @router.get("/outbox")
    async def show_outbox(request: Request) -> Response:
        if not is_local(request):
            raise NotFound("There is no such page.")
        language = kit.pages.language(request)
        async with kit.transaction() as db:
            found = await kit.tools.outbox.list_outbox(db, limit=_MOST)
        shown = [
            {
                "subject": mail.subject,
                "to": mail.recipient,
                "when": when(language, mail.created_at),
                "body": mail.text or "",
                # Only links to ourselves become links; anything else in a mail is text.
                "links": [link for link in _LINK.findall(mail.text or "") if link.startswith(f"{kit.tools.issuer}/")],
            }
            for mail in found
        ]
        return kit.pages.page(request, "outbox.html", language=language, is_wide=True, mails=shown)

    return router


def is_local(request: Request) -> bool:
    """Return whether the request comes from this machine, without a proxy, to a name of this machine.

    The name keeps out other sites whose names were made to point here (DNS rebinding).
    """
    if any(name in request.headers for name in ("x-forwarded-for", "forwarded", "x-real-ip")):
        return False
    return _is_loopback(request.client.host if request.client else "") and _is_loopback(request.url.hostname or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
