"""Who is signed in where: the tokens of `ragecho login`, one file per server, readable by their owner only.

They lie where the operating system keeps such things (`~/.config/ragecho/logins` on Linux; RAGECHO_LOGIN_DIR elsewhere).
"""

import hashlib
import json
import os
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from ragecho.cli.errors import CliError
from ragecho_sdk.transport import is_loopback, plain_options

CLIENT_ID = "echo-cli"
# A token is renewed so long before its end: it must still hold when the request arrives.
EARLY_SECONDS = 30.0
_LOCK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Login:
    """One sign-in. `expires_at` is the access token's end, in seconds since the epoch."""

    server: str
    issuer: str
    token_endpoint: str
    revocation_endpoint: str | None
    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_at: float

    def with_tokens(self, answer: dict[str, Any]) -> "Login":
        """Return the login with what the token endpoint answered."""
        return replace(
            self,
            access_token=str(answer["access_token"]),
            refresh_token=str(answer["refresh_token"]) if answer.get("refresh_token") else self.refresh_token,
            expires_at=time.time() + float(answer.get("expires_in") or 60),
        )


def login_dir() -> Path:
    """Return the folder of the files."""
    given = os.environ.get("RAGECHO_LOGIN_DIR")
    if given:
        return Path(given)
    import platformdirs

    return platformdirs.user_config_path("ragecho") / "logins"


def path_of(server: str) -> Path:
    """Return the file of a server's login."""
    return login_dir() / f"{hashlib.sha256(server.encode()).hexdigest()[:24]}.json"


def load(server: str) -> Login | None:
    """Return the stored login of a server, or None. A file that cannot be read counts as none."""
    try:
        found = Login(**json.loads(path_of(server).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.server == server else None


def save(login: Login) -> Path:
    """Store a login in one step, with mode 0600 from the first byte on; return where."""
    path = path_of(login.server)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(login), file)
    draft.replace(path)
    return path


def forget(server: str) -> None:
    """Remove a login."""
    path_of(server).unlink(missing_ok=True)


def is_allowed_address(url: str) -> bool:
    """Return whether tokens may be sent there: by TLS, or to this very machine."""
    return url.startswith("https://") or (url.startswith("http://") and is_loopback(url))


def post(url: str, form: dict[str, str]) -> httpx.Response:
    """Send a form to the identity service. Raises `httpx.HTTPError`."""
    with httpx.Client(**plain_options(url)) as http:
        return http.post(url, data=form, headers={"Accept": "application/json"})


class StoredLogin(httpx.Auth):
    """Signs requests with the stored login of a server, and renews it; programs that run at once renew it once."""

    def __init__(self, login: Login) -> None:
        self._login = login

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send with a token that counts; where the server refuses it, once more with a new one."""
        if self._login.expires_at - EARLY_SECONDS < time.time():
            self._renew()
        response = yield self._signed(request)
        if response.status_code == HTTPStatus.UNAUTHORIZED and isinstance(request.stream, httpx.ByteStream):
            self._renew()
            yield self._signed(request)

    def _signed(self, request: httpx.Request) -> httpx.Request:
        request.headers["Authorization"] = f"Bearer {self._login.access_token}"
        return request

    def _renew(self) -> None:
        from filelock import FileLock, Timeout

        used = self._login
        try:
            with FileLock(path_of(used.server).with_suffix(".lock"), timeout=_LOCK_SECONDS, mode=0o600):
                current = load(used.server)
                if current is not None and current.access_token != used.access_token:
                    self._login = current  # another program did it meanwhile
                    return
                self._login = self._renewed(current)
                save(self._login)
        except Timeout:
            raise CliError("another command is renewing the sign-in and does not finish; try again.") from None

    def _renewed(self, login: Login | None) -> Login:
        if login is None or not login.refresh_token:
            raise self._over()
        form = {"grant_type": "refresh_token", "refresh_token": login.refresh_token, "client_id": CLIENT_ID}
        try:
            answer = post(login.token_endpoint, form)
        except httpx.HTTPError as error:
            raise CliError(f"the sign-in could not be renewed: {login.issuer} does not answer ({error}).") from None
        if answer.status_code == HTTPStatus.OK:
            return login.with_tokens(answer.json())
        if answer.status_code in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED):
            forget(login.server)
            raise self._over()
        raise CliError(f"the sign-in could not be renewed: {login.issuer} answered {answer.status_code}.")

    def _over(self) -> CliError:
        return CliError(f"your sign-in at {self._login.server} has ended: sign in again with `ragecho login`.")


def revoke(login: Login) -> bool:
    """Tell the identity service that the login is over (RFC 7009); False when it could not be reached."""
    if not login.revocation_endpoint:
        return False
    token = login.refresh_token or login.access_token
    with suppress(httpx.HTTPError):
        answer = post(login.revocation_endpoint, {"token": token, "client_id": CLIENT_ID})
        return answer.status_code == HTTPStatus.OK
    return False
