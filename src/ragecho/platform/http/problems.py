"""Errors as RFC 9457 problem details. The one table from an error's code to its HTTP status."""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from ragecho.kernel.errors import EchoError

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 50
_MAX_PLACE = 100

STATUS_BY_CODE: Mapping[str, int] = {
    "malformed_request": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "too_large": 413,
    "unsupported_media_type": 415,
    "invalid_input": 422,
    "validation_error": 422,
    "parse_failed": 422,
    "rate_limited": 429,
    "internal_error": 500,
    "configuration_error": 500,
    "generation_failed": 502,
    "unavailable": 503,
}
_CODE_BY_STATUS = {
    400: "malformed_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_input",
    429: "rate_limited",
    503: "unavailable",
}
_RESERVED = frozenset({"type", "title", "status", "detail", "code", "instance", "request_id", "errors"})


class FieldError(BaseModel):
    """One thing that is wrong with a request. The offending value is not repeated."""

    loc: list[str | int] = Field(description="Where: body, query or path, then names and positions.")
    msg: str
    type: str


class Problem(BaseModel):
    """What went wrong (RFC 9457). Further members state facts, e.g. `retry_after_seconds`."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="A URI that names the kind of problem.")
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable word to decide on.")
    instance: str | None = Field(None, description="Path of the request.")
    request_id: str | None = Field(None, description="Quote this when asking for help.")
    errors: list[FieldError] | None = Field(None, description="Set when `code` is `validation_error`.")


def status_of(error: EchoError) -> int:
    """Return the HTTP status of `error`: of its own code, else of the nearest parent's code that the table knows."""
    for kind in type(error).__mro__:
        code = error.code if kind is type(error) else getattr(kind, "code", None)
        if isinstance(code, str) and code in STATUS_BY_CODE:
            return STATUS_BY_CODE[code]
    return 500


def problem_response(
    scope: Scope,
    *,
    status: int,
    code: str,
    detail: str,
    facts: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
    errors: list[dict[str, Any]] | None = None,
) -> Response:
    """Return a problem. `facts` become members of their own and never replace the standard ones."""
    body: dict[str, object] = {
        "type": f"urn:ragecho:problem:{code}",
        "title": _title(status),
        "status": status,
        "detail": detail,
        "code": code,
        "instance": scope.get("path"),
        "request_id": structlog.contextvars.get_contextvars().get("request_id"),
    }
    if errors is not None:
        body["errors"] = errors
    body.update({name: value for name, value in (facts or {}).items() if name not in _RESERVED})
    all_headers = dict(headers or {})
    retry_after = (facts or {}).get("retry_after_seconds")
    if isinstance(retry_after, (int, float)) and status in {429, 503}:
        all_headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
    if status == HTTPStatus.UNAUTHORIZED:
        all_headers.setdefault("WWW-Authenticate", "Bearer")
    content = orjson.dumps(body, default=str, option=orjson.OPT_NON_STR_KEYS)
    return Response(content, status_code=status, headers=all_headers, media_type=MEDIA_TYPE)


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def echo_problem(scope: Scope, error: EchoError) -> Response:
    """Return the problem of an `EchoError`. A bare internal error says nothing about its cause."""
    status = status_of(error)
    if error.code == "internal_error":
        return internal_problem(scope)
    return problem_response(scope, status=status, code=error.code, detail=error.message, facts=error.facts)


def internal_problem(scope: Scope) -> Response:
    """Return the problem of a failure that is nobody's business but ours."""
    detail = "Something went wrong on our side. The request id finds it in the logs."
    return problem_response(scope, status=500, code="internal_error", detail=detail)


async def on_echo_error(request: Request, error: Exception) -> Response:
    """Exception handler of the `EchoError` tree."""
    assert isinstance(error, EchoError)
    return echo_problem(request.scope, error)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Exception handler of Starlette's own errors: no such route, wrong method, unreadable body."""
    assert isinstance(error, HTTPException)
    code = _CODE_BY_STATUS.get(error.status_code, f"http_{error.status_code}")
    headers = dict(error.headers or {})
    if error.status_code in {204, 304}:
        return Response(status_code=error.status_code, headers=headers)
    return problem_response(
        request.scope, status=error.status_code, code=code, detail=str(error.detail), headers=headers
    )


async def on_validation_error(request: Request, error: Exception) -> Response:
    """Exception handler of requests that do not match the route's types."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    errors = [
        {"loc": [_place(part) for part in item["loc"][:8]], "msg": str(item["msg"])[:300], "type": str(item["type"])}
        for item in found[:MAX_ERRORS]
    ]
    first = errors[0] if errors else None
    detail = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else "The request is not valid."
    return problem_response(request.scope, status=422, code="validation_error", detail=detail, errors=errors)


def _place(part: object) -> str | int:
    """Return a part of a place; names come from the request and are cut and made encodable."""
    if isinstance(part, int) and not isinstance(part, bool) and abs(part) < 2**53:
        return part
    return str(part).encode("utf-8", "replace").decode()[:_MAX_PLACE]
