"""`/scim/v2`: Users and Groups, and what the service says of itself."""

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends
from scim2_models import (
    Context,
    Group,
    InvalidValueException,
    ListResponse,
    NotFoundException,
    NotImplementedException,
    PatchOp,
    SearchRequest,
)
from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.scim import groups, users
from ragecho.identity.scim.answers import ScimRoute, answer, check_version, is_unchanged, payload_of
from ragecho.identity.scim.model import Directory
from ragecho.identity.scim.resources import MAX_RESULTS, POLICY, ScimUser, provider_of, without_own_id
from ragecho.identity.scim.tokens import authenticate
from ragecho.kernel.errors import Unauthenticated
from ragecho.platform.database import Database

DEFAULT_COUNT = 100
MAX_START = 2**31 - 1
_PARAMETERS = {
    "filter": "filter",
    "sortBy": "sortBy",
    "sortOrder": "sortOrder",
    "startIndex": "startIndex",
    "count": "count",
    "attributes": "attributes",
    "excludedAttributes": "excludedAttributes",
}


def build_scim_router(database: Database, *, base_url: str) -> APIRouter:
    """Return the routes. `base_url` is where they are, as directories reach them, without a slash at its end."""
    router = APIRouter(prefix="/scim/v2", route_class=ScimRoute, include_in_schema=False)

    async def directory_of(request: Request) -> Directory:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("Send the organisation's SCIM token: 'Authorization: Bearer echo_scim_…'.")
        return await authenticate(database, token.strip())

    known = Annotated[Directory, Depends(directory_of)]
    _add_user_routes(router, database, known, base_url)
    _add_group_routes(router, database, known, base_url)
    _add_discovery_routes(router, known, base_url)
    return router


def _add_user_routes(router: APIRouter, database: Database, known: Any, base_url: str) -> None:
    async def listed(directory: Directory, asked: SearchRequest[Any]) -> Response:
        query = users.user_query(**_query_of(asked))
        async with database.transaction(directory.caller) as session:
            found, total = await users.list_users(session, query, base_url=base_url)
        return _list_answer(ScimUser, found, total, query.start, asked)

    @router.get("/Users")
    async def list_users(request: Request, directory: known) -> Response:
        return await listed(directory, _asked(ScimUser, dict(request.query_params)))

    @router.post("/Users/.search")
    async def search_users(request: Request, directory: known) -> Response:
        return await listed(directory, _asked(ScimUser, await payload_of(request), is_body=True))

    @router.post("/Users")
    async def create_user(request: Request, directory: known) -> Response:
        with POLICY:
            wanted = ScimUser.model_validate(await payload_of(request), scim_ctx=Context.RESOURCE_CREATION_REQUEST)
        async with database.transaction(directory.caller) as session:
            made = await users.create_user(directory, session, wanted, base_url=base_url)
        return answer(made, Context.RESOURCE_CREATION_RESPONSE, status=201)

    @router.get("/Users/{user_id}")
    async def get_user(request: Request, directory: known, user_id: UUID) -> Response:
        asked = _asked(ScimUser, dict(request.query_params))
        async with database.transaction(directory.caller) as session:
            found = await users.get_user(session, user_id, base_url=base_url)
        return _one(request, found, asked)

    @router.put("/Users/{user_id}")
    async def replace_user(request: Request, directory: known, user_id: UUID) -> Response:
        with POLICY:
            wanted = ScimUser.model_validate(await payload_of(request), scim_ctx=Context.RESOURCE_REPLACEMENT_REQUEST)
        async with database.transaction(directory.caller) as session:
            before = await users.get_user(session, user_id, base_url=base_url)
            check_version(request, before.meta.version)
            made = await users.replace_user(directory, session, user_id, wanted, base_url=base_url)
        return answer(made, Context.RESOURCE_REPLACEMENT_RESPONSE)

    @router.patch("/Users/{user_id}")
    async def patch_user(request: Request, directory: known, user_id: UUID) -> Response:
        payload = without_own_id(await payload_of(request), str(user_id))
        async with database.transaction(directory.caller) as session:
            found = await users.get_user(session, user_id, base_url=base_url)
            check_version(request, found.meta.version)
            with POLICY:
                changes = PatchOp[ScimUser].model_validate(payload, scim_ctx=Context.RESOURCE_PATCH_REQUEST)
                is_changed = changes.patch(found)
            if is_changed:
                found = await users.replace_user(directory, session, user_id, found, base_url=base_url)
        return answer(found, Context.RESOURCE_PATCH_RESPONSE)

    @router.delete("/Users/{user_id}", status_code=204, response_class=Response)
    async def delete_user(request: Request, directory: known, user_id: UUID) -> Response:
        async with database.transaction(directory.caller) as session:
            if "if-match" in request.headers:
                found = await users.get_user(session, user_id, base_url=base_url)
                check_version(request, found.meta.version)
            await users.delete_user(directory, session, user_id)
        return Response(status_code=204)


def _add_group_routes(router: APIRouter, database: Database, known: Any, base_url: str) -> None:
    async def listed(directory: Directory, asked: SearchRequest[Any]) -> Response:
        query = groups.group_query(**_query_of(asked))
        async with database.transaction(directory.caller) as session:
            found, total = await groups.list_groups(
                session, query, base_url=base_url, with_members=_wants_members(asked)
            )
        return _list_answer(Group, found, total, query.start, asked)

    @router.get("/Groups")
    async def list_groups(request: Request, directory: known) -> Response:
        return await listed(directory, _asked(Group, dict(request.query_params)))

    @router.post("/Groups/.search")
    async def search_groups(request: Request, directory: known) -> Response:
        return await listed(directory, _asked(Group, await payload_of(request), is_body=True))

    @router.post("/Groups")
    async def create_group(request: Request, directory: known) -> Response:
        with POLICY:
            wanted = Group.model_validate(await payload_of(request), scim_ctx=Context.RESOURCE_CREATION_REQUEST)
        async with database.transaction(directory.caller) as session:
            made = await groups.create_group(directory, session, wanted, base_url=base_url)
        return answer(made, Context.RESOURCE_CREATION_RESPONSE, status=201)

    @router.get("/Groups/{group_id}")
    async def get_group(request: Request, directory: known, group_id: UUID) -> Response:
        asked = _asked(Group, dict(request.query_params))
        async with database.transaction(directory.caller) as session:
            found = await groups.get_group(session, group_id, base_url=base_url, with_members=_wants_members(asked))
        return _one(request, found, asked)

    @router.put("/Groups/{group_id}")
    async def replace_group(request: Request, directory: known, group_id: UUID) -> Response:
        with POLICY:
            wanted = Group.model_validate(await payload_of(request), scim_ctx=Context.RESOURCE_REPLACEMENT_REQUEST)
        async with database.transaction(directory.caller) as session:
            before = await groups.get_group(session, group_id, base_url=base_url)
            check_version(request, before.meta.version if before.meta else None)
            made = await groups.replace_group(directory, session, group_id, wanted, base_url=base_url)
        return answer(made, Context.RESOURCE_REPLACEMENT_RESPONSE)

    @router.patch("/Groups/{group_id}")
    async def patch_group(request: Request, directory: known, group_id: UUID) -> Response:
        payload = without_own_id(await payload_of(request), str(group_id))
        async with database.transaction(directory.caller) as session:
            found = await groups.get_group(session, group_id, base_url=base_url)
            check_version(request, found.meta.version if found.meta else None)
            with POLICY:
                changes = PatchOp[Group].model_validate(payload, scim_ctx=Context.RESOURCE_PATCH_REQUEST)
                is_changed = changes.patch(found)
            if is_changed:
                found = await groups.replace_group(directory, session, group_id, found, base_url=base_url)
        return answer(found, Context.RESOURCE_PATCH_RESPONSE)

    @router.delete("/Groups/{group_id}", status_code=204, response_class=Response)
    async def delete_group(request: Request, directory: known, group_id: UUID) -> Response:
        async with database.transaction(directory.caller) as session:
            if "if-match" in request.headers:
                found = await groups.get_group(session, group_id, base_url=base_url)
                check_version(request, found.meta.version if found.meta else None)
            await groups.delete_group(directory, session, group_id)
        return Response(status_code=204)


def _add_discovery_routes(router: APIRouter, known: Any, base_url: str) -> None:
    described = provider_of(base_url)

    def all_of(found: list[Any], path: str) -> Response:
        for one in found:
            one.meta.location = f"{base_url}/{path}/{one.id}"
        model = type(found[0])
        listed = ListResponse[model](  # type: ignore[valid-type]  # chosen at run time
            total_results=len(found), start_index=1, items_per_page=len(found), resources=found
        )
        return answer(listed, Context.RESOURCE_QUERY_RESPONSE)

    @router.get("/ServiceProviderConfig")
    async def service_provider_config(_directory: known) -> Response:
        return answer(described.config, Context.RESOURCE_QUERY_RESPONSE)

    def with_meta(found: Any, path: str) -> Any:
        from scim2_models import Meta

        copied = found.model_copy(deep=True)
        copied.meta = Meta(resource_type=type(found).__name__, location=f"{base_url}/{path}/{copied.id}")
        return copied

    def add(path: str, resources: Callable[[], list[Any]]) -> None:
        async def list_all(request: Request, _directory: known) -> Response:
            if "filter" in request.query_params:  # RFC 7644, section 4
                from scim2_models import ForbiddenException

                raise ForbiddenException(detail="These are not filtered.")
            return all_of([with_meta(one, path) for one in resources()], path)

        async def get_one(_directory: known, resource_id: str) -> Response:
            for one in resources():
                if one.id == resource_id:
                    return answer(with_meta(one, path), Context.RESOURCE_QUERY_RESPONSE)
            raise NotFoundException(detail="There is no such resource.")

        router.add_api_route(f"/{path}", list_all, methods=["GET"])
        router.add_api_route(f"/{path}/{{resource_id}}", get_one, methods=["GET"])

    add("Schemas", lambda: list(described.schemas))
    add("ResourceTypes", lambda: list(described.resource_types))

    @router.api_route("/Me", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    @router.post("/Bulk")
    async def not_implemented(_directory: known) -> Response:
        raise NotImplementedException(detail="This part of SCIM is not supported; see ServiceProviderConfig.")

    @router.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def nothing_here(_directory: known, path: str) -> Response:
        raise NotFoundException(detail="There is no such endpoint.")


def _asked(model: Any, values: dict[str, Any], *, is_body: bool = False) -> SearchRequest[Any]:
    """Return what a query asks for; unknown parameters are no concern of ours. Raises SCIM's exceptions."""
    kept = values if is_body else {name: value for name, value in values.items() if name in _PARAMETERS and value}
    with POLICY:
        found: SearchRequest[Any] = SearchRequest[model].model_validate(
            {"schemas": [str(SearchRequest.__schema__)], **kept}, scim_ctx=Context.SEARCH_REQUEST
        )
    return found


def _query_of(asked: SearchRequest[Any]) -> dict[str, Any]:
    start = asked.start_index if asked.start_index is not None else 1
    count = asked.count if asked.count is not None else DEFAULT_COUNT
    if start > MAX_START:
        raise InvalidValueException(detail="startIndex is too large.")
    return {
        "text": str(asked.filter) if asked.filter else None,
        "sort_by": str(asked.sort_by) if asked.sort_by else None,
        "is_descending": str(asked.sort_order or "").lower() == "descending",
        "start": max(1, start),
        "count": min(max(0, count), MAX_RESULTS),
    }


def _wants_members(asked: SearchRequest[Any]) -> bool:
    """Return whether members have to be looked up: they are the largest part of a group, and often excluded."""
    if any(str(path).lower() == "members" for path in asked.excluded_attributes or ()):
        return False
    return not asked.attributes or any(str(path).lower().startswith("members") for path in asked.attributes)


def _list_answer(model: Any, found: list[Any], total: int, start: int, asked: SearchRequest[Any]) -> Response:
    listed = ListResponse[model](total_results=total, start_index=start, items_per_page=len(found), resources=found)
    return answer(listed, Context.RESOURCE_QUERY_RESPONSE, asked=asked)


def _one(request: Request, found: Any, asked: SearchRequest[Any]) -> Response:
    version = found.meta.version if found.meta else None
    if is_unchanged(request, version):
        return Response(status_code=304, headers={"ETag": version or ""})
    return answer(found, Context.RESOURCE_QUERY_RESPONSE, asked=asked)
