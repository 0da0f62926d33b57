"""SQL of provisioned people, groups and tokens. Runs as the application, so row-level security keeps organisations apart."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import RowMapping, text

from ragecho.identity.scim.model import Condition, ProvisionedGroup, ProvisionedUser, Query, ScimToken, WorkspaceGrant
from ragecho.kernel.authorization import WorkspaceRole
from ragecho.kernel.ids import GroupId, OrganizationId, UserId, WorkspaceId
from ragecho.platform.database import Session

USER = (
    "s.user_id, s.user_name, s.external_id, m.suspended_at is null and not u.is_disabled as is_active,"
    " u.managed_by_organization_id is not distinct from s.organization_id as is_managed, u.email, s.resource,"
    " s.created_at, s.updated_at"
)
USERS = (
    "scim_users s join users u on u.id = s.user_id"
    " join organization_members m on m.organization_id = s.organization_id and m.user_id = s.user_id"
)
GROUP = "g.id, g.name, g.external_id, g.created_at, g.updated_at"
TOKEN = "id, name, prefix, workspaces, created_at, expires_at, revoked_at, last_used_at"  # noqa: S105 - columns
LOCK = "select pg_advisory_xact_lock(hashtextextended(:organization_id, 7))"


async def lock_directory(session: Session, organization_id: OrganizationId) -> None:
    """Let one change of an organisation's directory finish before the next begins: what is looked up stays true."""
    await session.execute(text(LOCK), {"organization_id": str(organization_id)})


async def find_user(
    session: Session,
    *,
    user_id: UserId | None = None,
    user_name: str | None = None,
    external_id: str | None = None,
) -> ProvisionedUser | None:
    """Return a provisioned person by any of their names."""
    found = await session.execute(
        text(
            f"select {USER} from {USERS} where s.user_id = :user_id or lower(s.user_name) = lower(:user_name)"
            " or s.external_id = :external_id limit 1"
        ),
        {"user_id": user_id, "user_name": user_name, "external_id": external_id},
    )
    row = found.mappings().first()
    return _user(row) if row else None


async def list_users(session: Session, query: Query) -> tuple[list[ProvisionedUser], int]:
    """Return one page of provisioned people and how many there are."""
    rows, total = await _page(session, USER, USERS, query, default_order="s.created_at, s.user_id", key="s.user_id")
    return [_user(row) for row in rows], total


async def find_member(session: Session, *, email: str) -> UserId | None:
    """Return which member of the organisation has this address."""
    found = await session.execute(
        text(
            "select u.id from users u join organization_members m on m.user_id = u.id"
            " where lower(u.email) = lower(:email) and u.deleted_at is null"
        ),
        {"email": email},
    )
    return found.scalar_one_or_none()


async def controls_domain(session: Session, domain: str) -> bool:
    """Return whether the organisation has shown that it controls the domain."""
    return bool((await session.execute(text("select ragecho_controls_domain(:d)"), {"d": domain})).scalar_one())


async def person_of_own_domain(session: Session, email: str) -> UserId | None:
    """Return who has this address, if its domain is the organisation's own."""
    found = await session.execute(text("select ragecho_person_of_own_domain(:email)"), {"email": email})
    return found.scalar_one_or_none()


async def insert_person(
    session: Session, organization_id: OrganizationId, user_id: UserId, *, email: str, name: str | None
) -> bool:
    """Create an account that the organisation manages; False when the address is taken."""
    made = await session.execute(
        text(
            "insert into users (id, email, name, managed_by_organization_id, email_verified_at)"
            " values (:id, :email, :name, :organization_id, now()) on conflict do nothing"
        ),
        {"id": user_id, "email": email, "name": name, "organization_id": organization_id},
    )
    return bool(made.rowcount)


async def update_person(session: Session, user_id: UserId, *, email: str, name: str | None) -> None:
    """Change address and name of an account that the organisation manages; anybody else's stays as it is."""
    await session.execute(
        text(
            "update users set email = :email, name = :name, updated_at = now() where id = :id"
            " and managed_by_organization_id = (select ragecho_organization())"
        ),
        {"id": user_id, "email": email, "name": name},
    )


async def insert_member(
    session: Session, organization_id: OrganizationId, user_id: UserId, grants: Sequence[WorkspaceGrant]
) -> bool:
    """Make a person a member with roles in workspaces that exist; False when they are one already."""
    made = await session.execute(
        text(
            "insert into organization_members (organization_id, user_id, role) values (:organization_id, :user_id, 'member')"
            " on conflict do nothing"
        ),
        {"organization_id": organization_id, "user_id": user_id},
    )
    if not made.rowcount:
        return False
    for grant in grants:
        await session.execute(
            text(
                "insert into workspace_members (organization_id, workspace_id, user_id, role)"
                " select w.organization_id, w.id, :user_id, :role from workspaces w where w.id = :workspace_id"
                " on conflict do nothing"
            ),
            {"user_id": user_id, "workspace_id": grant.workspace_id, "role": str(grant.role)},
        )
    return True


async def set_account_closed(session: Session, user_id: UserId, *, is_closed: bool) -> None:
    """Close or open the account, where the organisation manages it; a closed account's sessions end."""
    await session.execute(
        text("select ragecho_set_managed_account(:id, :closed)"), {"id": user_id, "closed": is_closed}
    )


async def put_user(
    session: Session,
    organization_id: OrganizationId,
    user_id: UserId,
    *,
    user_name: str,
    external_id: str | None,
    resource: Mapping[str, Any],
) -> None:
    """Store what the directory says about a person."""
    await session.execute(
        text(
            "insert into scim_users (organization_id, user_id, user_name, external_id, resource)"
            " values (:organization_id, :user_id, :user_name, :external_id, cast(:resource as jsonb))"
            " on conflict (organization_id, user_id) do update set user_name = excluded.user_name,"
            " external_id = excluded.external_id, resource = excluded.resource, updated_at = now()"
        ),
        {
            "organization_id": organization_id,
            "user_id": user_id,
            "user_name": user_name,
            "external_id": external_id,
            "resource": orjson.dumps(dict(resource)).decode(),
        },
    )


async def delete_user(session: Session, user_id: UserId) -> None:
    """Forget what the directory said about a person."""
    await session.execute(text("delete from scim_users where user_id = :user_id"), {"user_id": user_id})


async def groups_of(session: Session, user_ids: Iterable[UserId]) -> dict[UserId, list[tuple[GroupId, str]]]:
    """Return the groups of people, by person."""
    found = await session.execute(
        text(
            "select gm.user_id, g.id, g.name from group_members gm join groups g on g.id = gm.group_id"
            " where gm.user_id = any(:ids) order by g.name"
        ),
        {"ids": list(user_ids)},
    )
    groups: dict[UserId, list[tuple[GroupId, str]]] = {}
    for row in found:
        groups.setdefault(row.user_id, []).append((row.id, row.name))
    return groups


async def list_groups(session: Session, query: Query, *, with_members: bool) -> tuple[list[ProvisionedGroup], int]:
    """Return one page of groups and how many there are."""
    rows, total = await _page(session, GROUP, "groups g", query, default_order="g.created_at, g.id", key="g.id")
    members = await _members_of(session, [row["id"] for row in rows]) if with_members else None
    return [_group(row, members) for row in rows], total


async def find_group(session: Session, group_id: GroupId, *, with_members: bool = True) -> ProvisionedGroup | None:
    """Return one group."""
    found = await session.execute(text(f"select {GROUP} from groups g where g.id = :id"), {"id": group_id})
    row = found.mappings().first()
    if row is None:
        return None
    return _group(row, await _members_of(session, [group_id]) if with_members else None)


async def is_group_external_id_taken(session: Session, external_id: str, *, besides: GroupId | None) -> bool:
    """Return whether another group has this external id."""
    found = await session.execute(
        text(
            "select 1 from groups where external_id = :external_id and (cast(:besides as uuid) is null or id <> :besides)"
        ),
        {"external_id": external_id, "besides": besides},
    )
    return found.first() is not None


async def set_group_external_id(session: Session, group_id: GroupId, external_id: str | None) -> None:
    """Note what the directory calls a group."""
    await session.execute(
        text(
            "update groups set external_id = :external_id, updated_at = now()"
            " where id = :id and external_id is distinct from :external_id"
        ),
        {"id": group_id, "external_id": external_id},
    )


async def set_group_members(
    session: Session, organization_id: OrganizationId, group_id: GroupId, user_ids: Sequence[UserId]
) -> tuple[int, int, list[UserId]]:
    """Make these people the group's members; return how many came, how many left, and who is no member of the organisation."""
    wanted = list(dict.fromkeys(user_ids))
    known = await session.execute(
        text("select user_id from organization_members where user_id = any(:ids)"), {"ids": wanted}
    )
    present = set(known.scalars())
    unknown = [one for one in wanted if one not in present]
    values = {"organization_id": organization_id, "group_id": group_id, "ids": wanted}
    left = await session.execute(
        text("delete from group_members where group_id = :group_id and user_id <> all(:ids)"), values
    )
    came = await session.execute(
        text(
            "insert into group_members (organization_id, group_id, user_id)"
            " select m.organization_id, :group_id, m.user_id from organization_members m"
            " where m.organization_id = :organization_id and m.user_id = any(:ids) on conflict do nothing"
        ),
        values,
    )
    if came.rowcount or left.rowcount:
        await session.execute(text("update groups set updated_at = now() where id = :group_id"), values)
    return came.rowcount, left.rowcount, unknown


async def authenticate(session: Session, digest: bytes) -> RowMapping | None:
    """Return token, organisation and workspaces of a token's digest, or None when it does not count."""
    found = await session.execute(text("select * from ragecho_authenticate_scim_token(:digest)"), {"digest": digest})
    return found.mappings().first()


async def insert_token(
    session: Session,
    token_id: UUID,
    organization_id: OrganizationId,
    *,
    name: str,
    prefix: str,
    digest: bytes,
    workspaces: Sequence[WorkspaceGrant],
    created_by: UserId | None,
    expires_at: datetime | None,
) -> ScimToken:
    """Store a token by the digest of its secret."""
    grants = [{"workspace_id": str(one.workspace_id), "role": str(one.role)} for one in workspaces]
    made = await session.execute(
        text(
            "insert into scim_tokens (id, organization_id, name, prefix, secret_sha256, workspaces, created_by, expires_at)"
            " values (:id, :organization_id, :name, :prefix, :digest, cast(:workspaces as jsonb), :created_by, :expires_at)"
            f" returning {TOKEN}"
        ),
        {
            "id": token_id,
            "organization_id": organization_id,
            "name": name,
            "prefix": prefix,
            "digest": digest,
            "workspaces": orjson.dumps(grants).decode(),
            "created_by": created_by,
            "expires_at": expires_at,
        },
    )
    return _token(made.mappings().one())


async def find_token(session: Session, token_id: UUID) -> ScimToken | None:
    """Return a token."""
    found = await session.execute(text(f"select {TOKEN} from scim_tokens where id = :id"), {"id": token_id})
    row = found.mappings().first()
    return _token(row) if row else None


async def list_tokens(session: Session, *, limit: int, offset: int) -> tuple[list[ScimToken], int]:
    """Return one page of the organisation's tokens, newest first, and how many there are."""
    found = await session.execute(
        text(
            f"select {TOKEN}, count(*) over () as total from scim_tokens"
            " order by created_at desc, id desc limit :limit offset :offset"
        ),
        {"limit": limit, "offset": offset},
    )
    rows = found.mappings().all()
    return [_token(row) for row in rows], (rows[0]["total"] if rows else 0)


async def revoke_token(session: Session, token_id: UUID) -> bool:
    """End a token now; False when there is none."""
    done = await session.execute(
        text("update scim_tokens set revoked_at = coalesce(revoked_at, now()) where id = :id"), {"id": token_id}
    )
    return bool(done.rowcount)


def grants_of(stored: Iterable[Mapping[str, Any]]) -> tuple[WorkspaceGrant, ...]:
    """Return workspace roles as they are stored."""
    return tuple(WorkspaceGrant(WorkspaceId(UUID(one["workspace_id"])), WorkspaceRole(one["role"])) for one in stored)


async def _page(
    session: Session, columns: str, tables: str, query: Query, *, default_order: str, key: str
) -> tuple[Sequence[RowMapping], int]:
    nothing = Condition("true", {})
    condition, order = query.condition or nothing, query.order
    order_sql, order_values = default_order, {}
    if order is not None:
        # Both conditions count their values from zero.
        order_values = {f"o{name}": value for name, value in order.values.items()}
        renamed = order.sql
        for name in sorted(order.values, key=len, reverse=True):
            renamed = renamed.replace(f":{name}", f":o{name}")
        order_sql = f"{renamed} {'desc' if query.is_descending else 'asc'} nulls last, {key}"
    total = await session.execute(text(f"select count(*) from {tables} where {condition.sql}"), dict(condition.values))
    rows = await session.execute(
        text(f"select {columns} from {tables} where {condition.sql} order by {order_sql} limit :limit offset :offset"),
        {**condition.values, **order_values, "limit": query.count, "offset": query.start - 1},
    )
    return rows.mappings().all(), int(total.scalar_one())


async def _members_of(session: Session, group_ids: Sequence[GroupId]) -> dict[GroupId, list[tuple[UserId, str]]]:
    found = await session.execute(
        text(
            "select gm.group_id, gm.user_id, coalesce(u.name, u.email) as display from group_members gm"
            " join users u on u.id = gm.user_id where gm.group_id = any(:ids) order by gm.created_at, gm.user_id"
        ),
        {"ids": list(group_ids)},
    )
    members: dict[GroupId, list[tuple[UserId, str]]] = {one: [] for one in group_ids}
    for row in found:
        members[row.group_id].append((row.user_id, row.display))
    return members


def _user(row: RowMapping) -> ProvisionedUser:
    return ProvisionedUser(**{name: row[name] for name in ProvisionedUser.__slots__})


def _group(row: RowMapping, members: Mapping[GroupId, list[tuple[UserId, str]]] | None) -> ProvisionedGroup:
    return ProvisionedGroup(
        row["id"],
        row["name"],
        row["external_id"],
        tuple(members[row["id"]]) if members is not None else None,
        row["created_at"],
        row["updated_at"],
    )


def _token(row: RowMapping) -> ScimToken:
    fields = {name: row[name] for name in ScimToken.__slots__}
    return ScimToken(**{**fields, "workspaces": grants_of(row["workspaces"])})
