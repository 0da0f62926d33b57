"""Bring a database to this version's schema. Runs as the owner; the application itself never changes tables."""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from ragecho.kernel.errors import ConfigurationError, Unavailable
from ragecho.platform.database.engine import driver_url

MIGRATIONS = Path(__file__).parent / "migrations"
# Two processes that start at once must not both migrate; any constant will do.
MIGRATION_LOCK = 0x6563686F
MINIMUM_SERVER = 16_00_00
MINIMUM_PGVECTOR = (0, 8)


def upgrade(url: str) -> str:
    """Apply what is missing and return the revision reached. Raises `ConfigurationError` or `Unavailable`."""
    with _connected(url) as connection:
        _refuse_unfit_server(connection)
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        config = _config()
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except (ProgrammingError, psycopg.errors.InsufficientPrivilege) as error:
            refused = error.orig if isinstance(error, ProgrammingError) else error
            if not isinstance(refused, psycopg.errors.InsufficientPrivilege):
                raise
            raise ConfigurationError(
                f"The database user may not do what the migrations need ({str(refused).splitlines()[0]}). It needs CREATEROLE"
                " and must own the database; where the extension is missing, a superuser runs 'create extension vector'"
                " in it once. RAGECHO_DATABASE_OWNER_URL names another user for migrations."
            ) from error
        connection.commit()
        return _revision(connection) or ""


def current_revision(url: str) -> tuple[str | None, str]:
    """Return the database's revision (None when empty) and the newest one of this version."""
    head = ScriptDirectory.from_config(_config()).get_current_head() or ""
    with _connected(url) as connection:
        return _revision(connection), head


def allow_login(url: str, role: str) -> None:
    """Let a role log in. `role` is one of our own names."""
    with _connected(url) as connection:
        connection.execute(text(f"alter role {role} login"))
        connection.commit()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def _connected(url: str) -> Connection:
    try:
        return create_engine(driver_url(url), poolclass=NullPool).connect()
    except OperationalError as error:
        raise Unavailable(f"The database does not answer: {str(error.orig).strip().splitlines()[0]}") from error


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_unfit_server(connection: Connection) -> None:
    server = connection.execute(text("select current_setting('server_version_num')::int")).scalar_one()
    if server < MINIMUM_SERVER:
        raise ConfigurationError(f"PostgreSQL 16 or newer is needed; this server is {server // 10000}.")
    version = connection.execute(
        text("select default_version from pg_available_extensions where name = 'vector'")
    ).scalar_one_or_none()
    if version is None or tuple(int(part) for part in version.split(".")[:2]) < MINIMUM_PGVECTOR:
        raise ConfigurationError("The server needs the extension pgvector 0.8 or newer (postgresql-*-pgvector).")
