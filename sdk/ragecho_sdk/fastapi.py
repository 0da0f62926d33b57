"""The guard for FastAPI: a dependency that lets in who has a valid access token with the scopes that a route needs.

    from ragecho_sdk.fastapi import EchoUser, current_user

    @app.get("/reports")
    async def reports(user: Annotated[EchoUser, Depends(current_user("reports:read"))]) -> ...

The issuer and the audience come from ECHO_ISSUER and ECHO_AUDIENCE; `EchoAuth` takes them, and more, as arguments.
"""

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from fastapi import HTTPException, Request, Security
from fastapi.security import HTTPBearer

from ragecho_sdk.auth import AuthConfigurationError, AuthError, AuthSettings, EchoUser, TokenVerifier

__all__ = ["AuthConfigurationError", "AuthError", "EchoAuth", "EchoUser", "current_user"]

# For the service's own OpenAPI page; what counts is read from the header.
_BEARER = Security(
    HTTPBearer(auto_error=False, bearerFormat="JWT", description="An access token of the identity service.")
)

Guard = Callable[..., Awaitable[EchoUser]]


class EchoAuth:
    """The guard of one audience. Options are those of `TokenVerifier`; without `settings` the environment counts.

    Raises `AuthConfigurationError` when a setting is missing: at start, not at the first request.
    """

    def __init__(self, settings: AuthSettings | None = None, **options: Any) -> None:
        self.verifier = TokenVerifier(settings, **options)
        self.user = lru_cache(maxsize=None)(self._user)

    def _user(self, *scopes: str) -> Guard:
        """Return the dependency that needs all of `scopes`; the same one each time, so that tests can override it."""

        async def user(request: Request, _bearer: Any = _BEARER) -> EchoUser:
            try:
                return await self.verifier.verify_async(request.headers.get("authorization"), *scopes)
            except AuthError as error:
                raise HTTPException(error.status, error.description, headers=error.headers) from None

        return user


@lru_cache(maxsize=1)
def _from_environment() -> EchoAuth:
    return EchoAuth()


def current_user(*scopes: str) -> Guard:
    """Return the dependency of the guard that the environment describes: `Depends(current_user("reports:read"))`."""
    return _from_environment().user(*scopes)
