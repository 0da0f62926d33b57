"""Migrations as an ordinary owner, the way an external or managed PostgreSQL is used."""

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, make_url, text
from tests.db.conftest import SPACE
from tests.db.databases import run

from ragecho.kernel.errors import ConfigurationError
from ragecho.kernel.ids import uuid7
from ragecho.platform.database import Database, driver_url
from ragecho.platform.database.migrate import current_revision, upgrade
from ragecho.tenancy import service
from ragecho.tenancy.model import DEFAULT_WORKSPACE


@pytest.fixture
def ordinary_owner(owner_url: str) -> Iterator[tuple[str, str]]:
    """A database of a user that may make roles and is no superuser; its URL, and the superuser's URL of it."""
    name = f"owner_{uuid7().hex}"
    run(owner_url, f"create role {name} login createrole", f"create database {name} owner {name}")
    base = make_url(owner_url).set(database=name)
    yield (
        base.set(username=name).render_as_string(hide_password=False),
        base.render_as_string(hide_password=False),
    )
    run(owner_url, f"drop database {name} with (force)")


def test_a_missing_privilege_is_said_with_its_remedy(ordinary_owner: tuple[str, str]) -> None:
    owner, _ = ordinary_owner
    with pytest.raises(ConfigurationError, match="create extension vector"):
        upgrade(owner)


@pytest.mark.anyio
async def test_an_ordinary_owner_migrates_and_sees_no_tenant_rows(ordinary_owner: tuple[str, str]) -> None:
    owner, superuser = ordinary_owner
    # The session's server has the roles of another database already; this owner must be let into them.
    name = make_url(owner).username
    run(
        superuser,
        "create extension vector",
        *(
            f"grant {role} to {name} with set true, inherit false"
            for role in ("ragecho_app", "ragecho_lexical", "ragecho_login", "ragecho_identity", "ragecho_relabel")
        ),
    )
    revision = upgrade(owner)
    assert upgrade(owner) == revision
    assert current_revision(owner) == (revision, revision)
    database = Database(owner, pool_size=1)
    try:
        await service.ensure_default_tenant(database, SPACE)
        await service.ensure_default_tenant(database, SPACE)
        caller = service.local_administrator()
        async with database.transaction(caller) as session:
            assert (await service.get_workspace(caller, session, "default")).id == DEFAULT_WORKSPACE
    finally:
        await database.close()
    engine = create_engine(driver_url(owner))
    with engine.connect() as connection:
        assert connection.execute(text("select count(*) from workspaces")).scalar_one() == 0
    engine.dispose()
