"""SQL of upstream providers and domains. Runs as the identity service's role: every statement names its organisation."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import RowMapping, text

from ragecho.identity.federation.model import Domain, IdentityProvider, WorkspaceGrant
from ragecho.kernel.authorization import OrganizationRole, WorkspaceRole
from ragecho.kernel.ids import OrganizationId, WorkspaceId
from ragecho.platform.database import Session

SHOWN = (
    "id, organization_id, name, preset, issuer, client_id, client_secret_sealed is not null as has_secret, auth_method,"
    " scopes, hosted_domain, is_enabled, is_listed, trusts_email, trusts_own_domains, routed_domains, allowed_domains, creates_members,"
    " default_role, default_workspaces, created_at, updated_at"
)
# What a caller may set; the names of columns, so that a statement is made of nothing else.
SETTABLE = frozenset({
    "name",
    "issuer",
    "client_id",
    "client_secret_sealed",
    "auth_method",
    "scopes",
    "hosted_domain",
    "is_enabled",
    "is_listed",
    "trusts_email",
    "trusts_own_domains",
    "routed_domains",
    "allowed_domains",
    "creates_members",
    "default_role",
    "default_workspaces",
})  # fmt: skip
DOMAIN = "id, organization_id, name, txt_value, verified_at, verified_by, created_at"


async def insert_provider(
    db: Session, provider_id: UUID, organization_id: OrganizationId, preset: str, values: Mapping[str, Any]
) -> IdentityProvider | None:
    """Store a provider; None when its name is taken in the organisation."""
    columns = sorted(SETTABLE & values.keys())
    made = await db.execute(
        text(
            f"insert into identity_providers (id, organization_id, preset, {', '.join(columns)})"
            f" values (:id, :organization_id, :preset, {', '.join(_bound(column) for column in columns)})"
            f" on conflict do nothing returning {SHOWN}"
        ),
        {"id": provider_id, "organization_id": organization_id, "preset": preset, **_stored(values)},
    )
    row = made.mappings().first()
    return _provider(row) if row else None


async def update_provider(
    db: Session, organization_id: OrganizationId, provider_id: UUID, values: Mapping[str, Any]
) -> IdentityProvider | None:
    """Change what `values` name; None where there is no such provider."""
    columns = sorted(SETTABLE & values.keys())
    changes = "".join(f"{column} = {_bound(column)}, " for column in columns)
    done = await db.execute(
        text(
            f"update identity_providers set {changes} updated_at = now()"
            f" where organization_id = :organization_id and id = :id returning {SHOWN}"
        ),
        {"id": provider_id, "organization_id": organization_id, **_stored(values)},
    )
    row = done.mappings().first()
    return _provider(row) if row else None


async def is_name_taken(
    db: Session, organization_id: OrganizationId, name: str, *, besides: UUID | None = None
) -> bool:
    """Return whether another provider of the organisation has the name."""
    found = await db.execute(
        text(
            "select 1 from identity_providers where organization_id = :organization_id and lower(name) = lower(:name)"
            " and (cast(:besides as uuid) is null or id <> :besides)"
        ),
        {"organization_id": organization_id, "name": name, "besides": besides},
    )
    return found.first() is not None


async def delete_provider(db: Session, organization_id: OrganizationId, provider_id: UUID) -> bool:
    """Remove a provider; False where there is none. Connections of people stay: they are keyed on the issuer."""
    done = await db.execute(
        text("delete from identity_providers where organization_id = :organization_id and id = :id"),
        {"organization_id": organization_id, "id": provider_id},
    )
    return bool(done.rowcount)


async def find_provider(
    db: Session, provider_id: UUID, *, organization_id: OrganizationId | None = None
) -> IdentityProvider | None:
    """Return a provider, of one organisation or (for sign-in) of any."""
    found = await db.execute(
        text(
            f"select {SHOWN} from identity_providers where id = :id"
            " and (cast(:organization_id as uuid) is null or organization_id = :organization_id)"
        ),
        {"id": provider_id, "organization_id": organization_id},
    )
    row = found.mappings().first()
    return _provider(row) if row else None


async def sealed_secret(db: Session, provider_id: UUID) -> str | None:
    """Return the provider's client secret as the vault sealed it."""
    found = await db.execute(
        text("select client_secret_sealed from identity_providers where id = :id"), {"id": provider_id}
    )
    return found.scalar_one_or_none()


async def list_providers(
    db: Session, organization_id: OrganizationId, *, limit: int, offset: int
) -> tuple[list[IdentityProvider], int]:
    """Return one page of an organisation's providers, newest first, and how many there are."""
    found = await db.execute(
        text(
            f"select {SHOWN}, count(*) over () as total from identity_providers"
            " where organization_id = :organization_id order by created_at desc, id desc limit :limit offset :offset"
        ),
        {"organization_id": organization_id, "limit": limit, "offset": offset},
    )
    rows = found.mappings().all()
    return [_provider(row) for row in rows], (rows[0]["total"] if rows else 0)


async def listed_providers(db: Session, *, limit: int) -> list[tuple[UUID, str]]:
    """Return id and name of the providers that have a button on the login page, oldest first."""
    found = await db.execute(
        text(
            "select id, name from identity_providers where is_enabled and is_listed order by created_at, id limit :limit"
        ),
        {"limit": limit},
    )
    return [(row.id, row.name) for row in found]


async def provider_of_domain(db: Session, domain: str) -> tuple[UUID, str] | None:
    """Return id and name of the provider that a domain's people sign in with: of the organisation that verified it."""
    found = await db.execute(
        text(
            "select p.id, p.name from identity_providers p"
            " join identity_domains d on d.organization_id = p.organization_id and d.name = :domain"
            " where d.verified_at is not null and p.is_enabled and p.routed_domains @> array[cast(:domain as text)]"
            " order by p.created_at, p.id limit 1"
        ),
        {"domain": domain},
    )
    row = found.first()
    return (row.id, row.name) if row else None


async def insert_domain(
    db: Session, domain_id: UUID, organization_id: OrganizationId, name: str, *, txt_value: str
) -> Domain | None:
    """Store a domain that the organisation claims; None when it did so already."""
    made = await db.execute(
        text(
            "insert into identity_domains (id, organization_id, name, txt_value)"
            f" values (:id, :organization_id, :name, :txt_value) on conflict do nothing returning {DOMAIN}"
        ),
        {"id": domain_id, "organization_id": organization_id, "name": name, "txt_value": txt_value},
    )
    row = made.mappings().first()
    return Domain(**row) if row else None


async def find_domain(
    db: Session, organization_id: OrganizationId, *, domain_id: UUID | None = None, name: str | None = None
) -> Domain | None:
    """Return a domain of the organisation by id or name."""
    found = await db.execute(
        text(
            f"select {DOMAIN} from identity_domains where organization_id = :organization_id"
            " and (id = :id or name = :name)"
        ),
        {"organization_id": organization_id, "id": domain_id, "name": name},
    )
    row = found.mappings().first()
    return Domain(**row) if row else None


async def list_domains(
    db: Session, organization_id: OrganizationId, *, limit: int, offset: int
) -> tuple[list[Domain], int]:
    """Return one page of an organisation's domains, newest first, and how many there are."""
    found = await db.execute(
        text(
            f"select {DOMAIN}, count(*) over () as total from identity_domains"
            " where organization_id = :organization_id order by created_at desc, id desc limit :limit offset :offset"
        ),
        {"organization_id": organization_id, "limit": limit, "offset": offset},
    )
    rows = found.mappings().all()
    names = DOMAIN.split(", ")
    return [Domain(**{name: row[name] for name in names}) for row in rows], (rows[0]["total"] if rows else 0)


async def mark_verified(db: Session, organization_id: OrganizationId, domain_id: UUID, *, by: str) -> Domain | None:
    """Note that the organisation controls the domain; None where another organisation has shown that it does."""
    done = await db.execute(
        text(
            "update identity_domains d set verified_at = coalesce(verified_at, now()), verified_by = coalesce(verified_by, :by)"
            " where organization_id = :organization_id and id = :id and not exists (select from identity_domains o"
            " where o.name = d.name and o.verified_at is not null and o.organization_id <> d.organization_id)"
            f" returning {DOMAIN}"
        ),
        {"organization_id": organization_id, "id": domain_id, "by": by},
    )
    row = done.mappings().first()
    return Domain(**row) if row else None


async def delete_domain(db: Session, organization_id: OrganizationId, domain_id: UUID) -> bool:
    """Remove a domain, and with it every right that came of it; False where there is none."""
    done = await db.execute(
        text("delete from identity_domains where organization_id = :organization_id and id = :id"),
        {"organization_id": organization_id, "id": domain_id},
    )
    return bool(done.rowcount)


async def controls_domain(db: Session, organization_id: OrganizationId, domain: str) -> bool:
    """Return whether the organisation has shown that it controls the domain."""
    found = await find_domain(db, organization_id, name=domain)
    return found is not None and found.verified_at is not None


def _bound(column: str) -> str:
    return f"cast(:{column} as jsonb)" if column == "default_workspaces" else f":{column}"


def _stored(values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name not in SETTABLE:
            continue
        if name == "default_workspaces":
            grants = [{"workspace_id": str(one.workspace_id), "role": str(one.role)} for one in value]
            found[name] = orjson.dumps(grants).decode()
        else:
            found[name] = list(value) if isinstance(value, tuple) else value
    return found


def _provider(row: RowMapping) -> IdentityProvider:
    grants = tuple(
        WorkspaceGrant(WorkspaceId(UUID(one["workspace_id"])), WorkspaceRole(one["role"]))
        for one in row["default_workspaces"]
    )
    fields = {name: row[name] for name in IdentityProvider.__slots__}
    lists = {name: tuple(row[name]) for name in ("scopes", "routed_domains", "allowed_domains")}
    role = OrganizationRole(row["default_role"])
    return IdentityProvider(**{**fields, **lists, "default_role": role, "default_workspaces": grants})
