"""SQL of interactions."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import RowMapping, text

from ragecho.identity.protocol.model import Interaction
from ragecho.platform.database import Session

_LOCALES = 10


async def insert(
    db: Session,
    interaction_id: UUID,
    *,
    browser_sha256: bytes,
    client_id: str,
    parameters: Mapping[str, str],
    step: str,
    seconds: int,
) -> None:
    """Store a request that waits for a person."""
    await db.execute(
        text(
            "insert into identity_interactions (id, browser_sha256, client_id, parameters, step, expires_at) values"
            " (:id, :browser, :client, cast(:parameters as jsonb), :step, now() + make_interval(secs => :seconds))"
        ),
        {
            "id": interaction_id,
            "browser": browser_sha256,
            "client": client_id,
            "parameters": orjson.dumps(dict(parameters)).decode(),
            "step": step,
            "seconds": seconds,
        },
    )


async def find(db: Session, interaction_id: UUID, browser_sha256: bytes) -> Interaction | None:
    """Return the open interaction that this browser started."""
    found = await db.execute(
        text(
            "select i.*, c.name as client_name, c.kind, c.metadata from identity_interactions i"
            " join identity_clients c on c.id = i.client_id where i.id = :id and i.browser_sha256 = :browser"
            " and i.step <> 'done' and i.expires_at > now() and c.disabled_at is null"
        ),
        {"id": interaction_id, "browser": browser_sha256},
    )
    row = found.mappings().first()
    return _interaction(row) if row else None


async def note_login(db: Session, interaction_id: UUID, *, user_id: UUID, session_id: UUID) -> None:
    """Remember who signed in; an earlier consent of somebody else does not count any more."""
    await db.execute(
        text(
            "update identity_interactions set logged_in_at = now(), session_id = :session, user_id = :user,"
            " approved_scopes = case when user_id = :user then approved_scopes end where id = :id and step <> 'done'"
        ),
        {"id": interaction_id, "user": user_id, "session": session_id},
    )


async def note_step(db: Session, interaction_id: UUID, step: str) -> None:
    """Remember which page the person is on."""
    await db.execute(
        text("update identity_interactions set step = :step where id = :id and step <> 'done'"),
        {"id": interaction_id, "step": step},
    )


async def note_approval(db: Session, interaction_id: UUID, *, scopes: Sequence[str]) -> None:
    """Remember the consent."""
    await db.execute(
        text("update identity_interactions set approved_scopes = :scopes where id = :id and step <> 'done'"),
        {"id": interaction_id, "scopes": list(scopes)},
    )


async def note_denial(db: Session, interaction_id: UUID) -> None:
    """Remember the refusal."""
    await db.execute(
        text("update identity_interactions set is_denied = true where id = :id and step <> 'done'"),
        {"id": interaction_id},
    )


async def finish(db: Session, interaction_id: UUID) -> bool:
    """Close the interaction; False when it was closed already, so that one request gives one answer."""
    done = await db.execute(
        text("update identity_interactions set step = 'done' where id = :id and step <> 'done'"), {"id": interaction_id}
    )
    return bool(done.rowcount)


def _interaction(row: RowMapping) -> Interaction:
    parameters: Mapping[str, str] = row["parameters"]
    metadata: Mapping[str, Any] = row["metadata"]
    prompt = tuple(parameters.get("prompt", "").split())
    max_age = int(parameters["max_age"]) if parameters.get("max_age") else None
    return Interaction(
        id=row["id"],
        client_id=row["client_id"],
        client_name=row["client_name"],
        client_uri=metadata.get("client_uri"),
        policy_uri=metadata.get("policy_uri"),
        tos_uri=metadata.get("tos_uri"),
        is_first_party=row["kind"] == "first_party",
        scopes=tuple(dict.fromkeys(parameters.get("scope", "").split())),
        login_hint=parameters.get("login_hint"),
        ui_locales=tuple(parameters.get("ui_locales", "").split()[:_LOCALES]),
        prompt=prompt,
        max_age=max_age,
        wants_registration="create" in prompt,
        needs_fresh_login="login" in prompt or max_age is not None,
        user_id=row["user_id"],
        session_id=row["session_id"],
        approved_scopes=tuple(row["approved_scopes"]) if row["approved_scopes"] is not None else None,
        is_denied=row["is_denied"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        parameters=parameters,
    )
