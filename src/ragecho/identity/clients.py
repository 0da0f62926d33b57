"""The registry of clients: managed ones, Echo's own, and what all have in common with those that register themselves."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from ragecho.identity import store_clients as store
from ragecho.identity.client_model import (
    ECHO_API,
    Client,
    ClientKind,
    GrantType,
    digest_of,
    is_audience,
    is_loopback_uri,
)
from ragecho.identity.scopes import API_SCOPES, IDENTITY_SCOPES, KNOWN_SCOPES
from ragecho.identity.settings import base_url_of
from ragecho.identity.vault import Vault
from ragecho.kernel.errors import InvalidInput, NotFound
from ragecho.platform.database import Session
from ragecho.platform.settings import Settings

WEB_CLIENT = "echo-web"
CLI_CLIENT = "echo-cli"
SECRET_PURPOSE = "client-secret"  # noqa: S105 - a name
MAX_NAME = 200
MAX_URIS = 50
MAX_URI = 2000
_PRINTABLE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # what an error may repeat (RFC 6749, appendix A): no `"`, no `\`
# Nothing in it can end a directive of a Content-Security-Policy that names it.
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_CUSTOM_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")  # a reversed domain (RFC 8252, 7.1)


@dataclass(frozen=True, slots=True)
class NewClient:
    """A client just made; the secret (None for public ones) is shown this once."""

    client: Client
    secret: str | None = field(repr=False)


def new_secret() -> str:
    """Return 256 bits that need no encoding anywhere, HTTP Basic included."""
    return secrets.token_urlsafe(32)


def new_client_id(name: str = "") -> str:
    """Return an id that begins with something a person recognises."""
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24]
    return f"{readable or 'client'}-{secrets.token_hex(6)}"


async def create_client(
    db: Session,
    *,
    name: str,
    redirect_uris: Sequence[str] = (),
    post_logout_redirect_uris: Sequence[str] = (),
    is_public: bool = False,
    is_native: bool = False,
    has_device_flow: bool = False,
    scopes: Sequence[str] | None = None,
    audiences: Sequence[str] = (),
    backchannel_logout_uri: str | None = None,
) -> NewClient:
    """Create a client that signs people in. Raises `InvalidInput`."""
    check_name(name)
    check_redirect_uris(redirect_uris, is_native=is_native)
    check_web_uris("post_logout_redirect_uris", post_logout_redirect_uris)
    if backchannel_logout_uri:
        check_web_uris("backchannel_logout_uri", [backchannel_logout_uri])
    if not redirect_uris and not has_device_flow:
        raise InvalidInput("A client that signs people in needs at least one redirect URI.")
    grants = [GrantType.REFRESH_TOKEN]
    grants += [GrantType.AUTHORIZATION_CODE] if redirect_uris else []
    grants += [GrantType.DEVICE_CODE] if has_device_flow else []
    return await _insert(
        db,
        name=name,
        is_public=is_public,
        application_type="native" if is_native else "web",
        redirect_uris=list(redirect_uris),
        post_logout_redirect_uris=list(post_logout_redirect_uris),
        grant_types=[str(grant) for grant in grants],
        scopes=check_scopes(scopes or (*IDENTITY_SCOPES, *API_SCOPES)),
        audiences=check_audiences(audiences),
        backchannel_logout_uri=backchannel_logout_uri,
    )


async def create_service_client(
    db: Session,
    *,
    name: str,
    scopes: Sequence[str],
    workspace: str,
    audiences: Sequence[str] = (),
    service_account: str | None = None,
) -> NewClient:
    """Create a client that acts for itself in one workspace (client credentials).

    With a `service_account` (name or id) it acts as that one: with its roles, as far as the scopes go, while it is not
    disabled; without, with the role that its scopes amount to. Raises `InvalidInput` or `NotFound`.
    """
    check_name(name)
    wanted = check_scopes(scopes)
    identity = sorted(set(wanted) & set(IDENTITY_SCOPES))
    if identity or not wanted:
        raise InvalidInput("A service client needs scopes of the API, such as read, write or documents:read.")
    found = await store.find_workspace(db, workspace)
    if found is None:
        raise NotFound("There is no such workspace.")
    account = None
    if service_account is not None:
        account = await store.find_service_account(db, found["organization_id"], service_account)
        if account is None:
            raise NotFound("There is no such service account in the workspace's organisation.")
        if account["workspace_id"] not in (None, found["id"]):
            raise InvalidInput("This service account belongs to another workspace: name that one.")
    return await _insert(
        db,
        name=name,
        is_public=False,
        grant_types=[str(GrantType.CLIENT_CREDENTIALS)],
        scopes=wanted,
        audiences=check_audiences(audiences),
        organization_id=found["organization_id"],
        workspace_id=found["id"],
        service_account_id=account["id"] if account else None,
    )


async def _insert(db: Session, *, name: str, is_public: bool, **values: object) -> NewClient:
    secret = None if is_public else new_secret()
    made = await store.insert(
        db,
        {
            "id": new_client_id(name),
            "name": name.strip(),
            "kind": ClientKind.MANAGED,
            "auth_method": "none" if is_public else "client_secret_basic",
            "secret_sha256": digest_of(secret) if secret else None,
            **values,
        },
    )
    assert made is not None, "client ids are random"
    return NewClient(made, secret)


async def get_client(db: Session, client_id: str) -> Client:
    """Return a client. Raises `NotFound`."""
    found = await store.find_any(db, client_id)
    if found is None:
        raise NotFound("There is no such client.")
    return found


async def list_clients(db: Session, *, limit: int = 200, offset: int = 0) -> tuple[list[Client], int]:
    """Return a page of clients, newest first."""
    return await store.list_clients(db, limit=limit, offset=offset)


async def delete_client(db: Session, client_id: str) -> None:
    """Remove a client; what it was given ends now. Raises `NotFound`, and `InvalidInput` for Echo's own."""
    if (await get_client(db, client_id)).is_first_party:
        raise InvalidInput("This client belongs to Echo itself.")
    await store.delete(db, client_id)


async def rotate_secret(db: Session, client_id: str) -> NewClient:
    """Replace a client's secret; the old one ends now. Raises `NotFound` or `InvalidInput`."""
    found = await get_client(db, client_id)
    if found.secret_sha256 is None or found.is_first_party:
        raise InvalidInput("This client has no secret that could be replaced.")
    secret = new_secret()
    changed = await store.update(db, client_id, {"secret_sha256": digest_of(secret)})
    assert changed is not None
    return NewClient(changed, secret)


async def ensure_first_party_clients(
    db: Session, settings: Settings, vault: Vault, *, is_serving: bool = False
) -> None:
    """Make Echo's own clients exist. Safe to repeat, from many processes at once.

    Whoever serves them decides at which addresses: a command beside a running server may not know its port.
    """
    base = base_url_of(settings)
    secret = new_secret()
    scopes = ["openid", "profile", "email", "offline_access", "read", "write", "admin"]
    web = {
        "redirect_uris": [f"{base}/auth/callback"],
        "post_logout_redirect_uris": [f"{base}/", f"{base}/app/"],
        "backchannel_logout_uri": f"{base}/auth/backchannel-logout",
        "scopes": scopes,
    }
    made = await store.insert(
        db,
        {
            "id": WEB_CLIENT,
            "name": "Echo",
            "kind": ClientKind.FIRST_PARTY,
            "auth_method": "client_secret_basic",
            "secret_sha256": digest_of(secret),
            "secret_vault": vault.encrypt(secret, purpose=SECRET_PURPOSE),
            "grant_types": [str(GrantType.AUTHORIZATION_CODE), str(GrantType.REFRESH_TOKEN)],
            **web,
        },
    )
    if made is None and is_serving:
        await store.update(db, WEB_CLIENT, web)
    await store.insert(
        db,
        {
            "id": CLI_CLIENT,
            "name": "Echo command line",
            "kind": ClientKind.FIRST_PARTY,
            "auth_method": "none",
            "application_type": "native",
            "grant_types": [str(GrantType.DEVICE_CODE), str(GrantType.REFRESH_TOKEN)],
            "scopes": scopes,
        },
    )


async def web_client(db: Session, vault: Vault) -> tuple[str, str]:
    """Return id and secret of the client that the browser app signs in with. Raises `NotFound` before it was made."""
    sealed = await store.sealed_secret(db, WEB_CLIENT)
    if sealed is None:
        raise NotFound("The browser app's client was not made yet: run 'ragecho db upgrade'.")
    return WEB_CLIENT, vault.decrypt(sealed, purpose=SECRET_PURPOSE).decode()


async def base_url(db: Session, settings: Settings) -> str:
    """Return the address that Echo was last served at, else that of the settings."""
    found = await store.find(db, WEB_CLIENT)
    addresses = found.redirect_uris if found else ()
    suffix = "/auth/callback"
    return next((one.removesuffix(suffix) for one in addresses if one.endswith(suffix)), base_url_of(settings))


def check_name(name: str) -> None:
    """Raise `InvalidInput` for a name that no page could show."""
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise InvalidInput(f"A client's name has 1 to {MAX_NAME} printable characters.")


def check_scopes(scopes: Sequence[str]) -> list[str]:
    """Return the scopes in their order, each once. Raises `InvalidInput` for one that does not exist."""
    unknown = sorted(set(scopes) - KNOWN_SCOPES)
    if unknown:
        raise InvalidInput(f"There is no scope '{unknown[0][:60]}'; known are {', '.join(sorted(KNOWN_SCOPES))}.")
    return list(dict.fromkeys(scopes))


def check_audiences(audiences: Sequence[str]) -> list[str]:
    """Return whom a client's tokens may be for, each once. Raises `InvalidInput` for what RFC 8707 forbids."""
    if len(audiences) > MAX_URIS:
        raise InvalidInput(f"At most {MAX_URIS} audiences.")
    for audience in audiences:
        if audience != ECHO_API and not is_audience(audience):
            raise InvalidInput("An audience is an absolute URI without fragment, or 'echo' for Echo's own API.")
    return list(dict.fromkeys(audiences))


def check_redirect_uris(uris: Sequence[str], *, is_native: bool) -> None:
    """Raise `InvalidInput` for URIs that a code must not be sent to (RFC 9700, 4.1; RFC 8252)."""
    if len(uris) > MAX_URIS:
        raise InvalidInput(f"At most {MAX_URIS} redirect URIs.")
    for uri in uris:
        if len(uri) > MAX_URI or not _PRINTABLE.fullmatch(uri) or "#" in uri or "*" in uri.partition("?")[0]:
            raise InvalidInput("A redirect URI is an absolute URI without fragment, wildcard, spaces or quotes.")
        parts = _parts(uri)
        if parts.scheme in ("https", "http") and not _AUTHORITY.fullmatch(parts.netloc):
            raise InvalidInput("A redirect URI names a host, perhaps a port, and no user.")
        if parts.scheme == "https" or is_loopback_uri(uri):
            continue
        if is_native and _CUSTOM_SCHEME.fullmatch(parts.scheme):
            continue
        raise InvalidInput(
            "A redirect URI is https://…, http:// on this machine (localhost, 127.0.0.1),"
            " or for native applications a scheme that is a reversed domain name (com.example.app:/callback)."
        )


def check_web_uris(what: str, uris: Sequence[str]) -> None:
    """Raise `InvalidInput` for URIs that are not https://, nor http:// on this machine."""
    if len(uris) > MAX_URIS:
        raise InvalidInput(f"{what}: at most {MAX_URIS}.")
    for uri in uris:
        is_clean = (
            len(uri) <= MAX_URI
            and _PRINTABLE.fullmatch(uri)
            and "#" not in uri
            and _AUTHORITY.fullmatch(_parts(uri).netloc)
        )
        if not is_clean or not ((_parts(uri).scheme == "https" and _parts(uri).hostname) or is_loopback_uri(uri)):
            raise InvalidInput(f"{what}: https://…, or http:// on this machine, without fragment.")


def _parts(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError as error:
        raise InvalidInput("This is no URI.") from error
    return parts
