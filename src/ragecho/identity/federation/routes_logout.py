"""`/federation/{provider}/backchannel-logout`: where providers tell that somebody signed out."""

from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ragecho.identity.federation.errors import FederationFailed
from ragecho.identity.federation.logout import BackChannelLogout
from ragecho.identity.pages.kit import Kit
from ragecho.kernel.errors import NotFound
from ragecho.platform.telemetry import get_logger

log = get_logger(__name__)
_NOT_KEPT = {"Cache-Control": "no-store"}


def logout_routes(kit: Kit, logout: BackChannelLogout) -> APIRouter:
    """Return the route, to be mounted where the identity service is. It asks for no cookie and takes none."""
    router = APIRouter(prefix=f"{kit.pages.root}/federation", include_in_schema=False)

    @router.post("/{provider_id}/backchannel-logout")
    async def receive(request: Request, provider_id: UUID) -> Response:
        async with request.form(max_files=0, max_fields=10) as form:
            token = form.get("logout_token")
        if not isinstance(token, str):
            return _refused("logout_token is missing")
        try:
            ended = await logout.receive(provider_id, token)
        except NotFound:
            return _refused("unknown provider")
        except FederationFailed as error:
            log.info("federation.logout_refused", provider_id=str(provider_id), hint=error.hint)
            return _refused(error.hint or error.message)
        log.info("federation.logout", provider_id=str(provider_id), sessions=ended)
        return Response(status_code=200, headers=_NOT_KEPT)

    return router


def _refused(why: str) -> Response:
    return JSONResponse({"error": "invalid_request", "error_description": why}, 400, headers=_NOT_KEPT)
