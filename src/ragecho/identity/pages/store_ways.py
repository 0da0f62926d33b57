"""SQL of the way back: where the app of a request that is over begins."""

from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from sqlalchemy import text

from ragecho.platform.database import Session


@dataclass(frozen=True, slots=True)
class Start:
    """Addresses to begin again at, best first: all registered by the app, none taken from the request."""

    urls: tuple[str, ...]
    ui_locales: tuple[str, ...]


async def find_start(db: Session, interaction_id: UUID, browser_sha256: bytes, *, issuer: str) -> Start | None:
    """Return where the app of an interaction begins that this browser started, whatever has become of it.

    An `initiate_login_uri` is told who sends the person (OpenID Connect Core 1.0, section 4).
    """
    found = await db.execute(
        text(
            "select c.metadata, c.redirect_uris, i.parameters from identity_interactions i"
            " join identity_clients c on c.id = i.client_id"
            " where i.id = :id and i.browser_sha256 = :browser and c.disabled_at is null"
        ),
        {"id": interaction_id, "browser": browser_sha256},
    )
    row = found.mappings().first()
    if row is None:
        return None
    metadata, parameters = row["metadata"], row["parameters"]
    initiate = metadata.get("initiate_login_uri")
    if isinstance(initiate, str) and initiate:
        initiate = f"{initiate}{'&' if '?' in initiate else '?'}{urlencode({'iss': issuer})}"
    named = [initiate, metadata.get("client_uri")]
    redirect_uri = parameters.get("redirect_uri")
    # Only if it is still registered; its origin is where the app lives.
    origin = _origin(redirect_uri) if redirect_uri in row["redirect_uris"] else None
    urls = tuple(url for url in (*named, origin) if isinstance(url, str) and url)
    return Start(urls, tuple(parameters.get("ui_locales", "").split()))


def _origin(address: str) -> str | None:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}/" if parts.scheme in {"http", "https"} else None
