"""SQL of connected apps: which clients may act for a person, and the end of that."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text

from ragecho.identity.clients import WEB_CLIENT
from ragecho.platform.database import Session


@dataclass(frozen=True, slots=True)
class ConnectedApp:
    """A client with a consent or a grant that still counts; `scopes` are all that it was allowed."""

    client_id: str
    name: str
    scopes: tuple[str, ...]
    since: datetime


async def list_apps(db: Session, user_id: UUID) -> list[ConnectedApp]:
    """Return a person's connected apps by name; the browser app is not one of them, its sign-ins are devices."""
    found = await db.execute(
        text(
            "with allowed as ("
            " select client_id, scopes, granted_at as since from identity_consents where user_id = :user"
            " union all select client_id, scopes, created_at from identity_grants"
            " where user_id = :user and revoked_at is null and expires_at > now())"
            " select c.id, c.name, min(a.since) as since,"
            " (select array_agg(distinct s) from allowed b, unnest(b.scopes) s where b.client_id = c.id) as scopes"
            " from allowed a join identity_clients c on c.id = a.client_id where c.id <> :web"
            " group by c.id, c.name order by lower(c.name), c.id"
        ),
        {"user": user_id, "web": WEB_CLIENT},
    )
    return [ConnectedApp(row["id"], row["name"], tuple(row["scopes"] or ()), row["since"]) for row in found.mappings()]


async def disconnect_app(db: Session, user_id: UUID, client_id: str) -> bool:
    """Take a person's consent back and end what the client was given; False when there was nothing."""
    values = {"user": user_id, "client": client_id}
    consents = await db.execute(
        text("delete from identity_consents where user_id = :user and client_id = :client"), values
    )
    grants = await db.execute(
        text(
            "update identity_grants set revoked_at = now(), revoked_because = 'person'"
            " where user_id = :user and client_id = :client and revoked_at is null"
        ),
        values,
    )
    return bool(consents.rowcount or grants.rowcount)
