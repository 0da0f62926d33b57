"""SCIM's own forms of requests and answers: its media type, its errors, entity tags."""

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from scim2_models import Context, Error, InvalidSyntaxException, PreconditionFailedException, SCIMException
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ragecho.kernel.errors import EchoError, Unauthenticated
from ragecho.platform.http import status_of

MEDIA_TYPE = "application/scim+json"
_LONGEST_DETAIL = 500


class ScimRoute(APIRoute):
    """A route whose failures are SCIM errors (RFC 7644, 3.12)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler."""
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handle(request)
            except SCIMException as error:
                return error_answer(error.to_error())
            except ValidationError as error:
                return error_answer(Error.from_validation_errors(error)[0])
            except RequestValidationError:
                return error_answer(Error(status=404, detail="There is no such resource."))
            except EchoError as error:
                answer = error_answer(Error(status=status_of(error), detail=error.message))
                if isinstance(error, Unauthenticated):
                    answer.headers["WWW-Authenticate"] = 'Bearer realm="scim"'
                return answer
            except HTTPException as error:
                return error_answer(Error(status=error.status_code, detail=str(error.detail)))

        return answered


def error_answer(error: Error) -> Response:
    """Return an error as SCIM says it."""
    shown = error.model_copy(update={"detail": (error.detail or "")[:_LONGEST_DETAIL] or None})
    return Response(orjson.dumps(shown.model_dump()), status_code=int(error.status or 500), media_type=MEDIA_TYPE)


def answer(resource: Any, context: Context, *, status: int = 200, asked: Any = None) -> Response:
    """Return a resource with its entity tag and location; `asked` are the client's ResponseParameters."""
    body = resource.model_dump(scim_ctx=context, response_parameters=asked)
    headers = {}
    meta = getattr(resource, "meta", None)
    if meta is not None and meta.version:
        headers["ETag"] = meta.version
    if meta is not None and meta.location and status in (200, 201):
        headers["Location" if status == 201 else "Content-Location"] = str(meta.location)  # noqa: PLR2004 - Created
    return Response(orjson.dumps(body, default=str), status_code=status, headers=headers, media_type=MEDIA_TYPE)


async def payload_of(request: Request) -> Any:
    """Return the JSON of a request. Raises `InvalidSyntaxException`."""
    try:
        found = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise InvalidSyntaxException(detail="The body is not JSON.") from error
    if not isinstance(found, dict):
        raise InvalidSyntaxException(detail="The body is not a JSON object.")
    return found


def check_version(request: Request, version: str | None) -> None:
    """Refuse a change of what has changed meanwhile (If-Match). Raises `PreconditionFailedException`."""
    wanted = request.headers.get("if-match")
    if wanted is None or wanted.strip() == "*":
        return
    if version is None or not _names(wanted, version):
        raise PreconditionFailedException(detail="The resource has changed since you read it.")


def is_unchanged(request: Request, version: str | None) -> bool:
    """Return whether the client has this version already (If-None-Match)."""
    known = request.headers.get("if-none-match")
    return known is not None and version is not None and (known.strip() == "*" or _names(known, version))


def _names(header: str, version: str) -> bool:
    """Compare weakly (RFC 9110, 8.8.3.2): ours are weak, and clients repeat them with and without the mark."""
    opaque = version.removeprefix("W/")
    return any(one.strip().removeprefix("W/") == opaque for one in header.split(","))
