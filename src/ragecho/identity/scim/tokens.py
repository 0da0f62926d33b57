"""Tokens of directories: 256 bits of entropy, stored as a digest, bound to one organisation."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from ragecho.identity.scim import store
from ragecho.identity.scim.model import Directory, ScimToken, WorkspaceGrant
from ragecho.kernel.authorization import OrganizationRole, Scope
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import NotFound, Unauthenticated
from ragecho.kernel.ids import OrganizationId, WorkspaceId, uuid7
from ragecho.platform.audit_log import Target, record
from ragecho.platform.database import Database, Session

PREFIX = "echo_scim"
NO_WORKSPACE = WorkspaceId(UUID(int=0))
_FORM = re.compile(r"echo_scim_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{43}")
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"


async def create_token(
    caller: Caller,
    session: Session,
    *,
    name: str,
    expires_in_days: int | None,
    workspaces: Sequence[WorkspaceGrant],
) -> tuple[ScimToken, str]:
    """Return a new token and its secret, which is shown this once."""
    handle = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    prefix = f"{PREFIX}_{handle}"
    secret = f"{prefix}_{secrets.token_urlsafe(32)}"
    made = await store.insert_token(
        session,
        uuid7(),
        caller.organization_id,
        name=name,
        prefix=prefix,
        digest=digest_of(secret),
        workspaces=workspaces,
        created_by=caller.user_id,
        expires_at=datetime.now(UTC) + timedelta(days=expires_in_days) if expires_in_days else None,
    )
    await record(session, caller, "scim_token.created", Target("scim_token", made.id), details={"name": name})
    return made, secret


async def rotate_token(caller: Caller, session: Session, token_id: UUID) -> tuple[ScimToken, str]:
    """Return a token in the place of another one, which ends. Raises `NotFound` also for one that has ended."""
    before = await store.find_token(session, token_id)
    if before is None or before.revoked_at is not None:
        raise NotFound("There is no such token.")
    days = max(1, (before.expires_at - before.created_at).days) if before.expires_at else None
    await store.revoke_token(session, token_id)
    await record(session, caller, "scim_token.revoked", Target("scim_token", token_id), reason="rotated")
    return await create_token(caller, session, name=before.name, expires_in_days=days, workspaces=before.workspaces)


async def revoke_token(caller: Caller, session: Session, token_id: UUID) -> None:
    """End a token; it fails from the next request on. Raises `NotFound`."""
    if not await store.revoke_token(session, token_id):
        raise NotFound("There is no such token.")
    await record(session, caller, "scim_token.revoked", Target("scim_token", token_id))


async def authenticate(database: Database, token: str) -> Directory:
    """Return whose directory the token speaks for. Raises `Unauthenticated`."""
    row = None
    if _FORM.fullmatch(token):
        async with database.anonymous() as session:
            row = await store.authenticate(session, digest_of(token))
    if row is None:
        raise Unauthenticated("This SCIM token is unknown, expired or revoked.")
    caller = Caller(
        OrganizationId(row["organization_id"]),
        NO_WORKSPACE,
        (),
        frozenset({Scope.READ, Scope.WRITE, Scope.ADMIN}),
        # Not owner: a directory that goes wrong must leave somebody who can put it right.
        organization_role=OrganizationRole.ADMIN,
        client_id=f"scim:{row['token_id']}",
    )
    return Directory(caller, row["token_id"], store.grants_of(row["workspaces"]))


def digest_of(secret: str) -> bytes:
    """Return what is stored and looked up."""
    return hashlib.sha256(secret.encode()).digest()
