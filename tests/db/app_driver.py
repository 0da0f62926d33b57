"""The application as `ragecho api` builds it, in this process, over the tests' database; keys that open it."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import httpx
from fastapi import FastAPI
from pydantic import SecretStr
from tests.db.conftest import Tenant
from tests.db.people import run

from ragecho.ask.flow import AskFlow
from ragecho.audit.store import AnswerRecords
from ragecho.engines.fakes import FakeEmbedder
from ragecho.ingest import job_stream
from ragecho.kernel.authorization import OrganizationRole, Scope
from ragecho.kernel.ids import UserId, uuid7
from ragecho.library.search import PassageSearch
from ragecho.platform.database import Database
from ragecho.platform.settings import Settings
from ragecho.roles.api import build_app
from ragecho.tenancy import secrets
from ragecho.wiring import build_services


@asynccontextmanager
async def running(
    owner_url: str, data_dir: Path, embedder: FakeEmbedder
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient]]:
    """Yield the application and a client of it; the embedder needs no weights."""
    settings = Settings(_env_file=None, database_url=SecretStr(owner_url), data_dir=data_dir, reranker="none")
    services = build_services(settings)
    search = PassageSearch(services.database, embedder)
    ask = AskFlow(search, AnswerRecords(services.database), embedder, None)
    services = replace(services, embedders=embedder, search=search, ask=ask)
    # A stream of an open job would go on for ten minutes; this client waits for its end.
    with patch.object(job_stream, "LONGEST_SECONDS", 0.1):
        app = build_app(services)
    transport = httpx.ASGITransport(app=app)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            yield app, client
    finally:
        await services.identity.database.close()
        await services.database.close()


async def key_of(
    database: Database,
    tenant: Tenant,
    user_id: UserId | None,
    *,
    scopes: Iterable[Scope] = Scope,
    cap: OrganizationRole | None = OrganizationRole.OWNER,
    expires: str = "1 hour",
    is_revoked: bool = False,
) -> str:
    """Make a key with a secret that works (or not)."""
    secret = secrets.new_secret()
    await run(
        database,
        tenant,
        "insert into api_keys (id, organization_id, workspace_id, user_id, name, prefix, secret_sha256, scopes,"
        " organization_role, expires_at, revoked_at) values (:id, :organization, :workspace, :user, 'key', 'echo_x', :digest,"
        " :scopes, :cap, now() + cast(:expires as text)::interval, case when :revoked then now() end)",
        id=uuid7(),
        user=user_id,
        digest=secrets.digest(secret),
        scopes=sorted(set(scopes)),
        cap=cap,
        expires=expires,
        revoked=is_revoked,
    )
    return secret
