"""Databases as an older release left them, owned by a user who is no superuser."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from sqlalchemy import create_engine, make_url
from tests.db.databases import run

from ragecho.kernel.ids import uuid7
from ragecho.platform.database import driver_url
from ragecho.platform.database.migrate import _config

ROLES = ("ragecho_app", "ragecho_lexical", "ragecho_login", "ragecho_identity", "ragecho_relabel")


@contextmanager
def at_revision(owner_url: str, revision: str) -> Iterator[tuple[str, str]]:
    """Yield the URLs of a database at `revision`: its owner's, and the superuser's. It is gone afterwards."""
    name = f"owner_{uuid7().hex}"
    run(owner_url, f"create role {name} login createrole", f"create database {name} owner {name}")
    base = make_url(owner_url).set(database=name)
    owner = base.set(username=name).render_as_string(hide_password=False)
    run(
        base,
        "create extension vector",
        *(f"grant {role} to {name} with set true, inherit false" for role in ROLES),
    )
    engine = create_engine(driver_url(owner))
    with engine.connect() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()
    engine.dispose()
    yield owner, base.render_as_string(hide_password=False)
    run(owner_url, f"drop database {name} with (force)")
