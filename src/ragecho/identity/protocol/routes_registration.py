"""HTTP of client registration."""

import orjson
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc7591.errors import InvalidClientMetadataError
from fastapi import APIRouter, Request
from starlette.responses import Response

from ragecho.identity.protocol.provider import Provider
from ragecho.identity.protocol.registration import configure, register
from ragecho.identity.protocol.requests import RegistrationRequest
from ragecho.identity.protocol.routes import shaped, working
from ragecho.identity.protocol.server import Reply, error_reply

MAX_BYTES = 64 * 1024


def build_registration_router(provider: Provider) -> APIRouter:
    """Return the registration endpoint, open only where the settings say so, and the management of registrations."""
    router = APIRouter(prefix="/identity", tags=["identity"], include_in_schema=False)

    @router.post("/register")
    async def create(request: Request) -> Response:
        if not provider.allows_registration:
            return shaped(
                Reply(
                    403,
                    {
                        "error": "access_denied",
                        "error_description": "Clients do not register themselves here: an administrator runs"
                        " 'ragecho identity client create', or sets RAGECHO_IDENTITY_DYNAMIC_REGISTRATION=on.",
                    },
                    (("Content-Type", "application/json"),),
                )
            )
        try:
            asked = await _read(request, None)
        except OAuth2Error as error:
            return shaped(error_reply(error))
        async with working(provider) as work:
            return shaped(await register(work, asked))

    @router.api_route("/register/{client_id}", methods=["GET", "PUT", "DELETE"])
    async def manage(request: Request, client_id: str) -> Response:
        try:
            asked = await _read(request, client_id)
        except OAuth2Error as error:
            return shaped(error_reply(error))
        async with working(provider) as work:
            return shaped(await configure(work, asked))

    return router


async def _read(request: Request, client_id: str | None) -> RegistrationRequest:
    """Return the JSON request. Raises `InvalidClientMetadataError`."""
    data: object = {}
    if request.method in ("POST", "PUT"):
        body = await request.body()
        try:
            data = orjson.loads(body) if len(body) <= MAX_BYTES else None
        except orjson.JSONDecodeError:
            data = None
        if not isinstance(data, dict) or not data or b"\\u0000" in body:
            raise InvalidClientMetadataError("Send the client's metadata as a JSON object of at most 64 KiB.")
    return RegistrationRequest(request.method, data, request.headers.get("authorization"), client_id)  # type: ignore[arg-type]  # checked above
