"""Bring a database to this version and make the default workspace exist.

`serve` runs this as a short process (`python -m ragecho.roles.prepare`), so that the supervising one stays small.
"""

import asyncio
import sys

from ragecho.identity.preparation import prepare_identity
from ragecho.kernel.errors import EchoError
from ragecho.platform.database import APP_ROLE, IDENTITY_ROLE, Database
from ragecho.platform.database.migrate import allow_login, upgrade
from ragecho.platform.settings import Settings
from ragecho.tenancy.model import DEFAULT_ORGANIZATION
from ragecho.tenancy.service import ensure_default_tenant
from ragecho.wiring import space_of


def prepare(settings: Settings, owner_url: str, *, is_embedded: bool) -> str:
    """Migrate as the owner and create what exists from the first start; return the revision. Safe to repeat."""
    revision = upgrade(owner_url)
    if is_embedded:
        # Its socket's directory is private, so the application may log in as the roles that own nothing.
        allow_login(owner_url, APP_ROLE)
        allow_login(owner_url, IDENTITY_ROLE)
    asyncio.run(_seed(settings, owner_url))
    return revision


async def _seed(settings: Settings, url: str) -> None:
    database = Database(url, pool_size=1, application_name="ragecho prepare")
    try:
        await ensure_default_tenant(database, space_of(settings))
    finally:
        await database.close()
    identity = Database(url, role=IDENTITY_ROLE, pool_size=1, application_name="ragecho prepare")
    try:
        await prepare_identity(identity, settings)
    finally:
        await identity.close()


async def first_administrator_path(url: str) -> str | None:
    """Return the path of a one-time link that makes the first administrator; None when one can sign in already."""
    from ragecho.identity.accounts.first_admin import make_setup_link

    database = Database(url, role=IDENTITY_ROLE, pool_size=1, application_name="ragecho prepare")
    try:
        async with database.anonymous() as session:
            return await make_setup_link(session, DEFAULT_ORGANIZATION, issuer="/identity")
    finally:
        await database.close()


def main() -> int:
    """Prepare the database of RAGECHO_DATABASE_URL; one line and exit code 1 when that fails.

    With `--setup-link` prints the path of the first administrator's link, if there is to be one: for `serve` to show.
    """
    settings = Settings()
    if settings.database_url is None:
        print("ragecho: RAGECHO_DATABASE_URL is not set.", file=sys.stderr)  # noqa: T201 - a command's output
        return 2
    url = settings.database_url.get_secret_value()
    try:
        prepare(settings, url, is_embedded="--embedded" in sys.argv[1:])
        if "--setup-link" in sys.argv[1:]:
            print(asyncio.run(first_administrator_path(url)) or "")  # noqa: T201 - what the parent reads
    except EchoError as error:
        print(f"ragecho: {error.message}", file=sys.stderr)  # noqa: T201 - a command's output
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
