"""Signing in a program without a browser of its own: the device authorization grant (RFC 8628)."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx

from ragecho.cli.errors import CliError
from ragecho.cli.logins import CLIENT_ID, Login, is_allowed_address, post
from ragecho_sdk.transport import plain_options

SCOPES = "openid profile email offline_access read write admin"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_NAMES = ("issuer", "device_authorization_endpoint", "token_endpoint")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A sign-in that waits for a person. `address` holds the code already, `page` is where it can be typed."""

    code: str
    page: str
    address: str
    device_code: str = field(repr=False)
    interval_seconds: float
    expires_in_seconds: float


def discover(server: str) -> dict[str, Any]:
    """Return where the server's identity service is reached. Raises `CliError`."""
    url = f"{server}/identity/.well-known/openid-configuration"
    try:
        with httpx.Client(**plain_options(url)) as http:
            answer = http.get(url)
        found = answer.json() if answer.status_code == HTTPStatus.OK else None
    except httpx.HTTPError:
        raise CliError(
            f"No Echo server answers at {server}. Start one with `ragecho serve`, or name another with --server."
        ) from None
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in _NAMES):
        raise CliError(f"{server} has no identity service that commands can sign in at; use an API key there.")
    unsafe = [found[name] for name in _NAMES if not is_allowed_address(found[name])]
    if unsafe:
        raise CliError(f"{unsafe[0]} is not https: tokens are sent over TLS only, or to this very machine.")
    return found


def begin(metadata: dict[str, Any]) -> Waiting:
    """Ask for a code. Raises `CliError`."""
    answer = _posted(metadata["device_authorization_endpoint"], {"client_id": CLIENT_ID, "scope": SCOPES})
    body = _object(answer)
    if answer.status_code != HTTPStatus.OK or not body.get("device_code"):
        raise CliError(f"the identity service refused to begin a sign-in ({_error(answer, body)}).")
    page = str(body["verification_uri"])
    return Waiting(
        code=str(body["user_code"]),
        page=page,
        address=str(body.get("verification_uri_complete") or page),
        device_code=str(body["device_code"]),
        interval_seconds=float(body.get("interval") or 5),
        expires_in_seconds=float(body.get("expires_in") or 600),
    )


def wait(
    waiting: Waiting,
    metadata: dict[str, Any],
    server: str,
    *,
    pause: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Login:
    """Return the login once the person has allowed it. Raises `CliError` when they refused, or the code expired."""
    form = {"grant_type": DEVICE_GRANT, "device_code": waiting.device_code, "client_id": CLIENT_ID}
    interval, deadline = waiting.interval_seconds, monotonic() + waiting.expires_in_seconds
    while monotonic() < deadline:
        pause(interval)
        try:
            answer = post(metadata["token_endpoint"], form)
        except httpx.HTTPError:
            interval *= 2  # RFC 8628, 3.5
            continue
        body = _object(answer)
        if answer.status_code == HTTPStatus.OK and body.get("access_token"):
            empty = Login(
                server, metadata["issuer"], metadata["token_endpoint"], metadata.get("revocation_endpoint"), "", None, 0
            )
            return empty.with_tokens(body)
        error = str(body.get("error", ""))
        if error == "slow_down" or answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            interval += 5
        elif error == "access_denied":
            raise CliError("the sign-in was refused in the browser.")
        elif error == "expired_token":
            break
        elif error != "authorization_pending" and answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise CliError(f"the identity service ended the sign-in ({_error(answer, body)}).")
    raise CliError("the code has expired. Run `ragecho login` again.")


def _posted(url: str, form: dict[str, str]) -> httpx.Response:
    try:
        return post(url, form)
    except httpx.HTTPError as error:
        raise CliError(f"the identity service does not answer ({type(error).__name__}).") from None


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {}


def _error(answer: httpx.Response, body: dict[str, Any]) -> str:
    return str(body.get("error_description") or body.get("error") or body.get("detail") or answer.status_code)
