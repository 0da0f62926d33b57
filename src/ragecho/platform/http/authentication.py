"""Who is calling: the credential of a request to a `Caller`, by the first verifier that knows its kind."""

from collections.abc import Sequence

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import InvalidInput, Unauthenticated
from ragecho.platform.http.permissions import Authenticate
from ragecho.platform.telemetry import bind_caller
from ragecho.ports.token_verifier import TokenVerifier

__all__ = ["Authenticate", "authentication"]

_BEARER = HTTPBearer(auto_error=False, description="An access token or API key.")
_API_KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key.")
_LONGEST_TOKEN = 8192


def authentication(verifiers: Sequence[TokenVerifier]) -> Authenticate:
    """Return the dependency that routes ask for their caller. Raises `Unauthenticated` when nobody vouches for it."""

    async def authenticate(
        request: Request,
        _bearer: object = Security(_BEARER),
        _api_key: object = Security(_API_KEY),
    ) -> Caller:
        token = _token_of(request)
        workspace = request.headers.get("x-workspace-id") or None
        for verifier in verifiers:
            caller = await verifier.verify(token, workspace=workspace)
            if caller is not None:
                bind_caller(
                    workspace_id=str(caller.workspace_id), user_id=str(caller.user_id) if caller.user_id else None
                )
                return caller
        raise Unauthenticated("This token is not one that Echo issued.")

    return authenticate


def _token_of(request: Request) -> str:
    named = request.headers.get("x-api-key")
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    bearer = bearer.strip() if scheme.lower() == "bearer" else ""
    if named and bearer and named != bearer:
        raise InvalidInput("Send one credential: either Authorization or X-API-Key.")
    token = named or bearer
    if not token:
        raise Unauthenticated("Send an API key: 'Authorization: Bearer <key>' or 'X-API-Key: <key>'.")
    if len(token) > _LONGEST_TOKEN:
        raise Unauthenticated("That credential is too long to be one of ours.")
    return token
