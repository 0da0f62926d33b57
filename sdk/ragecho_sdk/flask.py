"""The guard for Flask: `@require("reports:read")` above a view; the user is in `flask.g.echo_user`.

The issuer and the audience come from ECHO_ISSUER and ECHO_AUDIENCE; `EchoAuth` takes them, and more, as arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

from flask import g, jsonify, request

from ragecho_sdk.auth import AuthConfigurationError, AuthError, AuthSettings, EchoUser, TokenVerifier

__all__ = ["AuthConfigurationError", "AuthError", "EchoAuth", "EchoUser", "current_user", "require"]

View = TypeVar("View", bound=Callable[..., Any])


class EchoAuth:
    """The guard of one audience. Options are those of `TokenVerifier`; without `settings` the environment counts."""

    def __init__(self, settings: AuthSettings | None = None, **options: Any) -> None:
        self.verifier = TokenVerifier(settings, **options)

    def require(self, *scopes: str) -> Callable[[View], View]:
        """Return the decorator that lets in who has a valid access token with all of `scopes`."""

        def decorate(view: View) -> View:
            @wraps(view)
            def guarded(*args: Any, **kwargs: Any) -> Any:
                try:
                    g.echo_user = self.verifier.verify(request.headers.get("Authorization"), *scopes)
                except AuthError as error:
                    answer = jsonify(detail=error.description)
                    answer.status_code = error.status
                    answer.headers.update(error.headers)
                    return answer
                return view(*args, **kwargs)

            return cast("View", guarded)

        return decorate


@lru_cache(maxsize=1)
def _from_environment() -> EchoAuth:
    return EchoAuth()


def require(*scopes: str) -> Callable[[View], View]:
    """Return the decorator of the guard that the environment describes."""
    return _from_environment().require(*scopes)


def current_user() -> EchoUser:
    """Return who is calling, inside a guarded view."""
    return cast("EchoUser", g.echo_user)
