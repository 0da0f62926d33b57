"""Databases beside the session's own, on the same server."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from sqlalchemy import URL, create_engine, make_url, text

from ragecho.platform.database import driver_url
from ragecho.platform.database.migrate import upgrade


def run(url: str | URL, *statements: str) -> None:
    """Run statements as the URL's user, each in a transaction of its own."""
    engine = create_engine(driver_url(str(url)), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@contextmanager
def another_database(owner_url: str) -> Iterator[str]:
    """Yield the URL of a migrated database of nobody; it is gone afterwards.

    For tests that go through every workspace there is: the session's database has thousands in the end.
    """
    name = f"echo_{uuid4().hex}"
    run(owner_url, f"create database {name}")
    url = make_url(owner_url).set(database=name).render_as_string(hide_password=False)
    upgrade(url)
    yield url
    run(owner_url, f"drop database {name} with (force)")
