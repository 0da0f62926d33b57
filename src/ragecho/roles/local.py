"""The database of this machine: the configured one, or the embedded one, running already or started for one command."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ragecho.platform.embedded import EmbeddedPostgres, EmbeddedServer, running_server
from ragecho.platform.settings import Settings


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """`owner` may change tables; `app` is what Echo runs as."""

    owner: str
    app: str
    is_embedded: bool


@contextmanager
def local_database(settings: Settings) -> Iterator[DatabaseUrls]:
    """Yield the URLs of a database that answers; one that was started for this is stopped at the end."""
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        owner = settings.database_owner_url.get_secret_value() if settings.database_owner_url else url
        yield DatabaseUrls(owner, url, is_embedded=False)
        return
    running = running_server(settings.data_dir)
    if running is not None:
        yield _urls(running)
        return
    with EmbeddedPostgres(settings.data_dir) as postgres:
        yield _urls(postgres.address)


def _urls(server: EmbeddedServer) -> DatabaseUrls:
    return DatabaseUrls(server.owner_url, server.app_url, is_embedded=True)
