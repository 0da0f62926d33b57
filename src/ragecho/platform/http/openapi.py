"""The OpenAPI description: every operation declares its problems and what it needs."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.security import APIKeyHeader

from ragecho.platform.http.permissions import declare_permission
from ragecho.platform.http.problems import MEDIA_TYPE, Problem

_METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
_API_KEY = APIKeyHeader(name="X-API-Key", description="An API key.")
_PROBLEM = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of `app`, made once."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description or None,
        routes=app.routes,
        tags=app.openapi_tags,
        servers=app.servers,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    # FastAPI's own error form is never sent.
    for replaced in ("HTTPValidationError", "ValidationError"):
        schemas.pop(replaced, None)
    for path in document.get("paths", {}).values():
        for method, operation in path.items():
            if method in _METHODS:
                _declare_problems(operation)
                _offer_api_keys(operation)
                declare_permission(operation)
    schemes = document["components"].get("securitySchemes", {})
    if "HTTPBearer" in schemes:
        schemes[_API_KEY.scheme_name] = _API_KEY.model.model_dump(mode="json", by_alias=True, exclude_none=True)
    app.openapi_schema = document
    return document


def _offer_api_keys(operation: dict[str, Any]) -> None:
    """Declare the header of API keys wherever a bearer token is taken: keys are, in either."""
    for scheme in list(operation.get("security", [])):
        if "HTTPBearer" in scheme:
            operation["security"].append({_API_KEY.scheme_name: scheme["HTTPBearer"]})


def _declare_problems(operation: dict[str, Any]) -> None:
    responses = operation.setdefault("responses", {})
    if "422" in responses:
        responses["422"] = {"description": "The request is not valid.", **_PROBLEM}
    responses.setdefault("default", {"description": "What went wrong, as problem details (RFC 9457).", **_PROBLEM})
