"""Passwords made before there was an identity service move into its own table, whoever owns the database."""

from collections.abc import Iterator

import pytest
from alembic import command
from argon2 import PasswordHasher
from sqlalchemy import create_engine, make_url, text
from tests.db.accounts_driver import services
from tests.db.test_migrations import run

from ragecho.identity.accounts.model import LoggedIn
from ragecho.identity.accounts.sign_in import Browser
from ragecho.kernel.ids import uuid7
from ragecho.platform.database import IDENTITY_ROLE, Database, driver_url, upgrade
from ragecho.platform.database.migrate import _config

PASSWORD = "a password of the first version"


@pytest.fixture
def first_version(owner_url: str) -> Iterator[str]:
    """A database at the first revision with a person in it; it belongs to a user who is no superuser."""
    name = f"owner_{uuid7().hex}"
    run(owner_url, f"create role {name} login createrole", f"create database {name} owner {name}")
    base = make_url(owner_url).set(database=name)
    owner = base.set(username=name).render_as_string(hide_password=False)
    roles = ("ragecho_app", "ragecho_lexical", "ragecho_login", "ragecho_identity", "ragecho_relabel")
    run(
        base,
        "create extension vector",
        *(f"grant {role} to {name} with set true, inherit false" for role in roles),
    )
    engine = create_engine(driver_url(owner))
    with engine.connect() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.commit()
    engine.dispose()
    superuser = create_engine(driver_url(base.render_as_string(hide_password=False)))
    with superuser.begin() as connection:
        hashed = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
        for email, stored in (("ada@example.com", hashed), ("bob@example.com", None)):
            connection.execute(
                text("insert into users (id, email, password_hash) values (gen_random_uuid(), :email, :hash)"),
                {"email": email, "hash": stored},
            )
    superuser.dispose()
    yield owner
    run(owner_url, f"drop database {name} with (force)")


@pytest.mark.anyio
async def test_old_passwords_still_sign_in_after_the_migration(first_version: str) -> None:
    upgrade(first_version)
    database = Database(first_version, role=IDENTITY_ROLE, pool_size=2)
    try:
        accounts = services(database)
        entered = await accounts.sign_in.login("ada@example.com", PASSWORD, browser=Browser())
        assert isinstance(entered, LoggedIn)
        async with database.anonymous() as db:
            assert (await db.execute(text("select count(*) from identity_passwords"))).scalar_one() == 1
            forced = await db.execute(text("select relforcerowsecurity from pg_class where relname = 'users'"))
            assert forced.scalar_one()
    finally:
        await database.close()
