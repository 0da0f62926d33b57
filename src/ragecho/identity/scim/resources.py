"""From rows to SCIM resources and back. scim2-models knows the schemas; here is what of them Echo keeps where."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from scim2_models import (
    AuthenticationScheme,
    Bulk,
    ChangePassword,
    Context,
    EnterpriseUser,
    ETag,
    Filter,
    Group,
    GroupMember,
    GroupMembership,
    Meta,
    Patch,
    ResourceType,
    ScimPolicy,
    ScimProvider,
    ServiceProviderConfig,
    Sort,
    User,
)

from ragecho.identity.federation.claims import normal_email
from ragecho.identity.scim.model import ProvisionedGroup, ProvisionedUser
from ragecho.kernel.ids import GroupId, UserId

MAX_RESULTS = 200
ScimUser = User[EnterpriseUser]
# What Okta and Entra send besides the letter of the RFC: unknown attributes, a removal's value, a filter that matches
# nothing yet.
POLICY = ScimPolicy(
    unknown=ScimPolicy.Unknown.ignore,
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)
# Kept in columns, computed, or (the password) not kept at all.
_NOT_IN_DOCUMENT = frozenset({"schemas", "id", "externalId", "userName", "active", "meta", "groups", "password"})


def provider_of(base_url: str) -> ScimProvider:
    """Return what the service says of itself."""
    config = ServiceProviderConfig(
        patch=Patch(supported=True),
        bulk=Bulk(supported=False, max_operations=0, max_payload_size=0),
        filter=Filter(supported=True, max_results=MAX_RESULTS),
        change_password=ChangePassword(supported=False),
        sort=Sort(supported=True),
        etag=ETag(supported=True),
        authentication_schemes=[
            AuthenticationScheme(
                type="oauthbearertoken",
                name="Bearer token",
                description="A SCIM token of the organisation, in the Authorization header.",
                primary=True,
            )
        ],
        meta=Meta(resource_type="ServiceProviderConfig", location=f"{base_url}/ServiceProviderConfig"),
    )
    return ScimProvider(
        models=[User, Group, EnterpriseUser],
        resource_types=[ResourceType.from_resource(ScimUser), ResourceType.from_resource(Group)],
        config=config,
        policy=POLICY,
    )


def user_resource(
    user: ProvisionedUser, groups: Sequence[tuple[GroupId, str]], *, base_url: str
) -> User[EnterpriseUser]:
    """Return the resource of a provisioned person."""
    with POLICY:
        found = ScimUser.model_validate(
            {"schemas": [str(User.__schema__)], **user.resource, "userName": user.user_name}
        )
    found.id = str(user.user_id)
    found.external_id = user.external_id
    found.active = user.is_active
    found.groups = [
        GroupMembership(value=str(group_id), display=name, ref=f"{base_url}/Groups/{group_id}", type="direct")
        for group_id, name in groups
    ] or None
    found.meta = Meta(
        resource_type="User",
        created=user.created_at,
        last_modified=user.updated_at,
        location=f"{base_url}/Users/{user.user_id}",
    )
    found.meta.version = version_of(found)
    return found


def group_resource(group: ProvisionedGroup, *, base_url: str) -> Group:
    """Return the resource of a group. Its version speaks of its members only where they were looked up."""
    found = Group(
        id=str(group.id),
        external_id=group.external_id,
        display_name=group.name,
        members=[
            GroupMember(value=str(user_id), display=display, ref=f"{base_url}/Users/{user_id}", type="User")
            for user_id, display in group.members
        ]
        if group.members
        else None,
    )
    found.meta = Meta(
        resource_type="Group",
        created=group.created_at,
        last_modified=group.updated_at,
        location=f"{base_url}/Groups/{group.id}",
    )
    if group.members is not None:
        found.meta.version = version_of(found)
    return found


def version_of(resource: User[Any] | Group) -> str:
    """Return the weak entity tag of what the resource says, without its times."""
    content = resource.model_dump(scim_ctx=Context.DEFAULT)
    content.pop("meta", None)
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return f'W/"{sha256(canonical.encode()).hexdigest()[:32]}"'


def document_of(user: User[Any]) -> dict[str, Any]:
    """Return what of a person is kept as the directory said it."""
    said = user.model_dump(scim_ctx=Context.DEFAULT)
    return {name: value for name, value in said.items() if name not in _NOT_IN_DOCUMENT}


def address_of(user: User[Any]) -> str | None:
    """Return the person's address: the primary one, else the work one, else the first, else a user name that is one."""
    emails = [one for one in user.emails or () if one.value]
    by_preference = [
        *(one for one in emails if one.primary),
        *(one for one in emails if one.type == "work"),
        *emails,
    ]
    candidates = [*(str(one.value) for one in by_preference), user.user_name or ""]
    return next((found for found in map(normal_email, candidates) if found), None)


def name_of(user: User[Any]) -> str | None:
    """Return what to call the person."""
    if user.display_name:
        return user.display_name[:200]
    if user.name is None:
        return None
    if user.name.formatted:
        return user.name.formatted[:200]
    parts = " ".join(part for part in (user.name.given_name, user.name.family_name) if part)
    return parts[:200] or None


def member_ids(group: Group) -> list[UserId]:
    """Return the ids of a group's members. Raises `ValueError` for what is no id."""
    return [UserId(_uuid(one.value)) for one in group.members or ()]


def _uuid(value: str | None) -> Any:
    from uuid import UUID

    return UUID(value or "")


def without_own_id(payload: Any, resource_id: str) -> Any:
    """Return a PATCH without the resource's own id among the values: Okta repeats it when it renames a group."""
    if not isinstance(payload, Mapping) or not isinstance(payload.get("Operations"), list):
        return payload
    operations = []
    for one in payload["Operations"]:
        value = one.get("value") if isinstance(one, Mapping) else None
        if isinstance(value, Mapping) and not one.get("path") and value.get("id") == resource_id:
            one = {**one, "value": {name: item for name, item in value.items() if name != "id"}}  # noqa: PLW2901 - the cleaned one
        operations.append(one)
    return {**payload, "Operations": operations}
