"""What the routes of federation share: the browser's cookie, leaving for a provider, failures as pages."""

from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.federation.errors import Fault, FederationFailed
from ragecho.identity.pages.kit import Kit
from ragecho.identity.pages.ways import Way

COOKIE_SECONDS = 3600
_UPSTREAM_TROUBLE = frozenset({Fault.UNREACHABLE, Fault.DISCOVERY, Fault.ISSUER_MISMATCH, Fault.UPSTREAM_ERROR})


class BrowserCookie:
    """The secret that binds journeys to a browser."""

    def __init__(self, kit: Kit) -> None:
        self._is_https = kit.cookies.session_name.startswith("__Host-")
        self._name = f"{'__Host-' if self._is_https else ''}echo_federation"

    def of(self, request: Request) -> str | None:
        """Return what the browser sent."""
        return request.cookies.get(self._name)

    def set(self, response: Response, secret: str) -> None:
        """Keep it for as long as a journey may take, and some more."""
        response.set_cookie(
            self._name,
            secret,
            max_age=COOKIE_SECONDS,
            path="/",
            secure=self._is_https,
            httponly=True,
            samesite="lax",  # the provider's answer is a navigation from another site
        )


def leave(kit: Kit, request: Request, url: str, *, is_from_form: bool) -> Response:
    """Return what sends the browser to the provider.

    After a form a redirect would be held against the form's page's `form-action`, which cannot know all providers: then a
    page in between leads on by itself.
    """
    if not is_from_form:
        return kit.go(url)
    return kit.pages.page(request, "federation_leave.html", url=url)


def failure(kit: Kit, request: Request, error: FederationFailed, way: Way) -> Response:
    """Return the page of a sign-in that failed, with the way back to the login page."""
    language = kit.pages.language(request)
    details = [("error", str(error.fault))]
    return kit.pages.error(
        request,
        status=502 if error.fault in _UPSTREAM_TROUBLE else 403,
        title=str(language.text("federation.failed_title")),
        text=kit.problem_of(language, error),
        details=details,
        start_url=kit.address(f"login?{way.suffix}") if way.interaction else kit.home_url,
    )
