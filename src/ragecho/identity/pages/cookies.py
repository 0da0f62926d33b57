"""The cookies of the identity service's pages: who is signed in, which browser it is, and a sign-in that is half done."""

from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.pages.ways import Way

WAY_SECONDS = 3600
DEVICE_SECONDS = 400 * 24 * 3600  # browsers keep no cookie for longer


class Cookies:
    """Names and attributes: `__Host-` and Secure with https; on loopback http browsers would drop both."""

    def __init__(self, *, is_https: bool, session_seconds: int) -> None:
        self._is_https = is_https
        self._session_seconds = session_seconds
        prefix = "__Host-" if is_https else ""
        self.session_name = f"{prefix}echo_identity"
        self.device_name = f"{prefix}echo_device"
        self.ticket_name = f"{prefix}echo_ticket"
        self.way_name = f"{prefix}echo_way"

    def session(self, request: Request) -> str | None:
        """Return the secret of the browser's session."""
        return request.cookies.get(self.session_name)

    def device(self, request: Request) -> str | None:
        """Return the secret that tells a browser which signed in before."""
        return request.cookies.get(self.device_name)

    def ticket(self, request: Request) -> str | None:
        """Return the ticket of a sign-in that waits for its second factor."""
        return request.cookies.get(self.ticket_name)

    def way(self, request: Request) -> Way:
        """Return where the person was going when they left for their mailbox."""
        return Way.of(dict(parse_qsl(request.cookies.get(self.way_name, "")[:200])))

    def keep_way(self, response: Response, way: Way) -> None:
        """Remember where the person was going, until the link in a mail is opened in this browser."""
        self._set(response, self.way_name, way.suffix, WAY_SECONDS)

    def sign_in(self, response: Response, *, secret: str, device_secret: str | None) -> None:
        """Keep a new session; a ticket has served."""
        self._set(response, self.session_name, secret, self._session_seconds)
        if device_secret:
            self._set(response, self.device_name, device_secret, DEVICE_SECONDS)
        self._delete(response, self.ticket_name)
        self._delete(response, self.way_name)

    def keep_ticket(self, response: Response, ticket: str, *, seconds: int) -> None:
        """Keep the ticket until the second factor."""
        self._set(response, self.ticket_name, ticket, max(1, seconds))

    def sign_out(self, response: Response) -> None:
        """Forget the session; the browser stays one that has signed in before."""
        self._delete(response, self.session_name)
        self._delete(response, self.ticket_name)

    def _set(self, response: Response, name: str, value: str, seconds: int) -> None:
        response.set_cookie(
            name, value, max_age=seconds, path="/", secure=self._is_https, httponly=True, samesite="lax"
        )

    def _delete(self, response: Response, name: str) -> None:
        response.delete_cookie(name, path="/", secure=self._is_https, httponly=True, samesite="lax")
