"""Passwords made before there was an identity service move into its own table, whoever owns the database."""

from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher
from sqlalchemy import create_engine, text
from tests.db.accounts_driver import services
from tests.db.old_database import at_revision

from ragecho.identity.accounts.model import LoggedIn
from ragecho.identity.accounts.sign_in import Browser
from ragecho.platform.database import IDENTITY_ROLE, Database, driver_url
from ragecho.platform.database.migrate import upgrade

PASSWORD = "a password of the first version"


@pytest.fixture
def first_version(owner_url: str) -> Iterator[str]:
    """A database at the first revision with a person in it; it belongs to a user who is no superuser."""
    with at_revision(owner_url, "0001") as (owner, base):
        add_people(base)
        yield owner


def add_people(superuser_url: str) -> None:
    superuser = create_engine(driver_url(superuser_url))
    with superuser.begin() as connection:
        hashed = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
        for email, stored in (("ada@example.com", hashed), ("bob@example.com", None)):
            connection.execute(
                text("insert into users (id, email, password_hash) values (gen_random_uuid(), :email, :hash)"),
                {"email": email, "hash": stored},
            )
    superuser.dispose()


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
