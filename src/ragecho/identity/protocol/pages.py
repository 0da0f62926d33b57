"""The pages that the protocol itself shows; how they look is the pages' business."""

from typing import Any, Protocol
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.protocol.authorize import ErrorPage


class ProtocolPages(Protocol):
    """Renders what has no page of its own elsewhere."""

    def error(self, request: Request, error: ErrorPage) -> Response:
        """Return the page for a request that nobody can be redirected for."""
        ...

    def confirm_logout(
        self, request: Request, *, fields: dict[str, str], client_name: str | None, session: Any
    ) -> Response:
        """Return the page that asks whether to sign out; `fields` come back with the answer."""
        ...

    def signed_out(self, request: Request) -> Response:
        """Return the page after signing out where there is no address to go to."""
        ...

    def is_genuine(self, request: Request, form: dict[str, str], *, session: Any) -> bool:
        """Return whether the form came from our page in this browser."""
        ...


def content_security_policy(redirect_uri: str) -> str:
    """Return the policy of a page whose form goes to the client by a script of ours."""
    return (
        f"default-src 'none'; script-src 'self'; base-uri 'none'; form-action {_source_of(redirect_uri)};"
        " frame-ancestors 'none'"
    )


def _source_of(redirect_uri: str) -> str:
    """Return the CSP source expression of a redirect URI: its origin, or the scheme of a native application's.

    The grammar of sources has no IPv6 addresses; for those the scheme stands, too.
    """
    parts = urlsplit(redirect_uri)
    is_named = parts.scheme in ("http", "https") and "[" not in parts.netloc
    return f"{parts.scheme}://{parts.netloc}" if is_named else f"{parts.scheme}:"
