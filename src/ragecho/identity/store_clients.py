"""SQL of clients."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import RowMapping, text

from ragecho.identity.client_model import Client, ClientKind
from ragecho.platform.database import Session

_COLUMNS = (
    "id, name, kind, auth_method, application_type, redirect_uris, post_logout_redirect_uris, grant_types, scopes, audiences,"
    " require_pkce, id_token_alg, backchannel_logout_uri, metadata, organization_id, workspace_id, service_account_id, created_at, updated_at,"
    " disabled_at, secret_sha256, registration_sha256"
)
_TUPLES = ("redirect_uris", "post_logout_redirect_uris", "grant_types", "scopes", "audiences")
# One that counts: it was not disabled, nor was the service account that it acts as.
FIND = text(
    f"select {_COLUMNS} from identity_clients c where id = :id and disabled_at is null and not exists ("
    " select from service_accounts a where a.organization_id = c.organization_id and a.id = c.service_account_id"
    " and a.is_disabled)"
)
_EMPTY: Mapping[str, Any] = {
    "secret_sha256": None,
    "secret_vault": None,
    "application_type": "web",
    "redirect_uris": [],
    "post_logout_redirect_uris": [],
    "audiences": [],
    "require_pkce": True,
    "id_token_alg": "ES256",
    "backchannel_logout_uri": None,
    "metadata": {},
    "organization_id": None,
    "workspace_id": None,
    "service_account_id": None,
    "registration_sha256": None,
}


async def find(db: Session, client_id: str) -> Client | None:
    """Return an enabled client."""
    row = (await db.execute(FIND, {"id": client_id})).mappings().first()
    return client_of(row) if row else None


async def find_any(db: Session, client_id: str) -> Client | None:
    """Return a client, also one that does not count at the moment."""
    found = await db.execute(text(f"select {_COLUMNS} from identity_clients where id = :id"), {"id": client_id})
    row = found.mappings().first()
    return client_of(row) if row else None


async def insert(db: Session, values: Mapping[str, Any]) -> Client | None:
    """Store a client; None where the id is taken."""
    made = await db.execute(
        text(
            "insert into identity_clients (id, name, kind, secret_sha256, secret_vault, auth_method, application_type,"
            " redirect_uris, post_logout_redirect_uris, grant_types, scopes, audiences, require_pkce, id_token_alg,"
            " backchannel_logout_uri, metadata, organization_id, workspace_id, service_account_id, registration_sha256) values"
            " (:id, :name, :kind, :secret_sha256, :secret_vault, :auth_method, :application_type, :redirect_uris,"
            " :post_logout_redirect_uris, :grant_types, :scopes, :audiences, :require_pkce, :id_token_alg, :backchannel_logout_uri,"
            " cast(:metadata as jsonb), :organization_id, :workspace_id, :service_account_id,"
            " :registration_sha256)"
            f" on conflict (id) do nothing returning {_COLUMNS}"
        ),
        _bound({**_EMPTY, **values}),
    )
    row = made.mappings().first()
    return client_of(row) if row else None


async def update(db: Session, client_id: str, values: Mapping[str, Any]) -> Client | None:
    """Change some columns of a client; names are our own, never a request's."""
    assignments = ", ".join(
        f"{name} = cast(:{name} as jsonb)" if name == "metadata" else f"{name} = :{name}" for name in values
    )
    done = await db.execute(
        text(f"update identity_clients set {assignments}, updated_at = now() where id = :id returning {_COLUMNS}"),
        {**_bound(values), "id": client_id},
    )
    row = done.mappings().first()
    return client_of(row) if row else None


async def delete(db: Session, client_id: str) -> bool:
    """Remove a client with everything it was given; False where there is none."""
    done = await db.execute(text("delete from identity_clients where id = :id"), {"id": client_id})
    return bool(done.rowcount)


async def list_clients(db: Session, *, limit: int, offset: int) -> tuple[list[Client], int]:
    """Return a page of clients, newest first, and how many there are."""
    found = await db.execute(
        text(
            f"select {_COLUMNS}, count(*) over () as total from identity_clients"
            " order by created_at desc, id desc limit :limit offset :offset"
        ),
        {"limit": limit, "offset": offset},
    )
    rows = found.mappings().all()
    return [client_of(row) for row in rows], (rows[0]["total"] if rows else 0)


async def sealed_secret(db: Session, client_id: str) -> str | None:
    """Return the encrypted secret of one of Echo's own clients."""
    found = await db.execute(text("select secret_vault from identity_clients where id = :id"), {"id": client_id})
    return found.scalar_one_or_none()


async def find_workspace(db: Session, name: str) -> RowMapping | None:
    """Return id and organisation of a workspace by id, or by slug in the default organisation."""
    found = await db.execute(
        text(
            "select w.id, w.organization_id, w.slug from workspaces w where w.id::text = :name or w.slug = :name"
            " order by w.created_at limit 2"
        ),
        {"name": name.lower()},
    )
    rows = found.mappings().all()
    return rows[0] if rows else None


async def find_service_account(db: Session, organization_id: UUID, name: str) -> RowMapping | None:
    """Return a service account of an organisation, by name or id."""
    found = await db.execute(
        text(
            "select id, workspace_id, is_disabled from service_accounts where organization_id = :organization"
            " and (lower(name) = :name or id::text = :name)"
        ),
        {"organization": organization_id, "name": name.strip().lower()},
    )
    return found.mappings().first()


def client_of(row: Mapping[str, Any] | RowMapping) -> Client:
    """Return the client of a row of `FIND`."""
    fields = {name.strip(): row[name.strip()] for name in _COLUMNS.split(",")}
    for name in _TUPLES:
        fields[name] = tuple(fields[name])
    fields["kind"] = ClientKind(fields["kind"])
    return Client(**fields)


def _bound(values: Mapping[str, Any]) -> dict[str, Any]:
    bound = {name: list(value) if name in _TUPLES else value for name, value in values.items()}
    if "metadata" in bound:
        bound["metadata"] = orjson.dumps(bound["metadata"]).decode()
    return bound
