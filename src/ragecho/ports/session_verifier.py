"""Port: a browser's session cookie to the caller it stands for. The web gateway plugs in here."""

from typing import Protocol

from ragecho.kernel.caller import Caller


class SessionVerifier(Protocol):
    """Verifies session cookies."""

    @property
    def cookie_name(self) -> str:
        """The cookie's name."""
        ...

    @property
    def origin(self) -> str:
        """Where the browser app is served from: `https://echo.example.com`."""
        ...

    def is_csrf_token(self, cookie: str, token: str) -> bool:
        """Return whether the token is the one of this session."""
        ...

    async def verify(self, cookie: str, *, workspace: str | None) -> Caller:
        """Return the caller in `workspace` (id or slug; the person's default when None).

        Raises `Unauthenticated` when the session does not count, `NotFound` when the workspace does not exist for it.
        """
        ...
