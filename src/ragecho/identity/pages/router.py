"""All routes of the pages as one router, below the path that the identity service is mounted at."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.responses import Response

from ragecho.identity.accounts.build import AccountServices
from ragecho.identity.accounts.tools import AccountTools
from ragecho.identity.pages.cookies import Cookies
from ragecho.identity.pages.csrf import FormGuard
from ragecho.identity.pages.kit import Kit, Upstreams
from ragecho.identity.pages.render import Pages
from ragecho.identity.pages.routes_account import account_routes, leaving_routes
from ragecho.identity.pages.routes_consent import consent_routes
from ragecho.identity.pages.routes_device import device_routes
from ragecho.identity.pages.routes_devices import device_list_routes
from ragecho.identity.pages.routes_factors import factor_routes
from ragecho.identity.pages.routes_outbox import outbox_routes
from ragecho.identity.pages.routes_passkeys import passkey_form_routes, passkey_routes
from ragecho.identity.pages.routes_recover import confirm_routes, recover_routes
from ragecho.identity.pages.routes_register import invitation_routes, register_routes
from ragecho.identity.pages.routes_setup import setup_routes
from ragecho.identity.pages.routes_sign_in import sign_in_routes
from ragecho.identity.pages.routes_static import static_routes
from ragecho.identity.protocol.interactions import binding_cookie_name

FORMS_PURPOSE = "page-forms"


def build_pages(tools: AccountTools) -> Pages:
    """Return what renders pages and guards forms; the protocol's own endpoints use it for theirs."""
    issuer = urlsplit(tools.issuer)
    guard = FormGuard(tools.vault.key(FORMS_PURPOSE), is_https=issuer.scheme == "https")
    return Pages(guard, root=issuer.path)


def build_kit(services: AccountServices, pages: Pages, *, upstreams: Sequence[Upstreams] = ()) -> Kit:
    """Return the collaborators of the routes."""
    tools = services.tools
    issuer = urlsplit(tools.issuer)
    is_https = issuer.scheme == "https"
    return Kit(
        database=tools.database,
        services=services,
        pages=pages,
        cookies=Cookies(is_https=is_https, session_seconds=tools.settings.session_max_minutes * 60),
        binding_cookie=binding_cookie_name(is_https=is_https),
        home_url=f"{issuer.scheme}://{issuer.netloc}/app/",
        upstreams=tuple(upstreams),
    )


def build_pages_router(services: AccountServices, pages: Pages, *, upstreams: Sequence[Upstreams] = ()) -> APIRouter:
    """Return the router of all pages under `/identity`."""
    kit = build_kit(services, pages, upstreams=upstreams)
    router = APIRouter(prefix=pages.root)

    @router.get("", include_in_schema=False)
    async def home() -> Response:
        return kit.go(kit.address("account"))

    for routes in (
        static_routes(),
        sign_in_routes(kit),
        consent_routes(kit),
        device_routes(kit),
        account_routes(kit),
        leaving_routes(kit),
        factor_routes(kit),
        device_list_routes(kit),
        setup_routes(kit),
        register_routes(kit),
        invitation_routes(kit),
        recover_routes(kit),
        confirm_routes(kit),
        outbox_routes(kit),
        *((passkey_routes(kit), passkey_form_routes(kit)) if services.passkeys.is_available else ()),
    ):
        router.include_router(routes)
    return router
