"""Proof that a form came from a page of ours in this browser: a random cookie, and its HMAC in the form.

The token is keyed by a secret of the server and, on pages of a signed-in person, bound to that session too; so neither
another site nor a neighbour who can set cookies for our host is able to make a valid pair for somebody else's session.
"""

import base64
import hmac
import re
import secrets

from starlette.requests import Request
from starlette.responses import Response

FIELD = "csrf"
HEADER = "x-csrf-token"
_COOKIE_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")
_FOREIGN = frozenset({"cross-site", "same-site"})
_MAX_AGE_SECONDS = 7 * 24 * 3600


class FormGuard:
    """Makes and checks tokens. `key` is a secret that all processes of the service share (32 bytes or more)."""

    def __init__(self, key: bytes, *, is_https: bool) -> None:
        self._key = key
        self._is_https = is_https
        # Without https the `__Host-` prefix would make the browser drop the cookie.
        self.cookie_name = "__Host-echo_forms" if is_https else "echo_forms"

    def token(self, request: Request, *, session: str = "") -> str:
        """Return the token for a form of this answer; `session` binds it to one session."""
        return self._sign(self._value(request), session)

    def is_genuine(self, request: Request, given: object, *, session: str = "") -> bool:
        """Return whether `given` was made by `token` for this browser and session, and no other site sent it."""
        if request.headers.get("sec-fetch-site", "") in _FOREIGN:
            return False
        value = request.cookies.get(self.cookie_name, "")
        if not isinstance(given, str) or not _COOKIE_VALUE.fullmatch(value):
            return False
        return hmac.compare_digest(given.encode(), self._sign(value, session).encode())

    def remember(self, request: Request, response: Response) -> None:
        """Set the cookie that the tokens of this answer belong to; refreshes its life."""
        response.set_cookie(
            self.cookie_name,
            self._value(request),
            max_age=_MAX_AGE_SECONDS,
            path="/",
            secure=self._is_https,
            httponly=True,
            samesite="lax",
        )

    def _value(self, request: Request) -> str:
        """Return the browser's value, or a new one that stays the same within this request."""
        made = getattr(request.state, "forms_cookie", None)
        if isinstance(made, str):
            return made
        value = request.cookies.get(self.cookie_name, "")
        if not _COOKIE_VALUE.fullmatch(value):
            value = secrets.token_urlsafe(32)
        request.state.forms_cookie = value
        return value

    def _sign(self, value: str, session: str) -> str:
        digest = hmac.digest(self._key, f"form\0{value}\0{session}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
