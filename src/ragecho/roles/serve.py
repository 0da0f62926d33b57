"""Everything on one machine: the embedded PostgreSQL, the API and a worker, as one process tree.

This process only supervises and stays small: it imports neither the web framework nor models. The port is opened here
and handed to the API, so that a restarted API misses no connection.
"""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path

from ragecho.kernel.errors import ConfigurationError, Unavailable
from ragecho.platform.embedded import EmbeddedPostgres
from ragecho.platform.settings import Settings
from ragecho.platform.telemetry import configure_logging, get_logger
from ragecho.roles.supervisor import ChildSpec, Supervisor

log = get_logger(__name__)

# The API takes over this descriptor instead of opening a port of its own.
LISTEN_FD_VARIABLE = "RAGECHO_LISTEN_FD"


def run(settings: Settings, *, open_browser: bool = False) -> int:
    """Serve until told to stop; return the exit code. Raises `ConfigurationError` or `Unavailable` if it cannot start."""
    configure_logging(settings, role="serve")
    with _listen(settings.host, settings.port) as listener:
        if settings.database_url is not None:
            return _serve(settings, listener, None, is_first_start=False, open_browser=open_browser)
        is_first_start = not (settings.data_dir / "postgres").exists()
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"The data directory cannot be made: {error.strerror} (RAGECHO_DATA_DIR)."
            ) from error
        postgres = EmbeddedPostgres(settings.data_dir)
        postgres.start()
        try:
            return _serve(settings, listener, postgres, is_first_start=is_first_start, open_browser=open_browser)
        finally:
            postgres.stop()


def _serve(
    settings: Settings,
    listener: socket.socket,
    postgres: EmbeddedPostgres | None,
    *,
    is_first_start: bool,
    open_browser: bool,
) -> int:
    port = listener.getsockname()[1]
    # The port that was really opened: the identity service names itself by it.
    environment = _environment(settings, postgres) | {"RAGECHO_PORT": str(port)}
    setup_path = _prepare(settings, environment, postgres)
    environment |= {LISTEN_FD_VARIABLE: str(listener.fileno())}
    url = settings.public_url or f"http://{_shown(settings.host)}:{port}"

    def announce() -> None:
        print(f"Echo is ready at {url}", flush=True)  # noqa: T201 - the one line that scripts wait for
        if setup_path:
            print(f"First start: become its administrator at {url}{setup_path}", flush=True)  # noqa: T201 - the next step
        if is_first_start:
            print(f"First start: or make a key with {_key_command(settings)}", flush=True)  # noqa: T201 - the next step
        if open_browser:
            webbrowser.open(f"{url}/docs")

    ragecho = [sys.executable, "-m", "ragecho"]
    children = [
        ChildSpec(
            "api",
            [*ragecho, "api"],
            env=environment,
            is_ready=_readiness(settings.host, port),
            pass_fds=(listener.fileno(),),
        ),
        ChildSpec("worker", [*ragecho, "worker"], env=environment),
    ]
    return Supervisor(children, log=_log, database=postgres, on_ready=announce).run()


def _key_command(settings: Settings) -> str:
    place = "" if settings.data_dir == Path("data") else f"RAGECHO_DATA_DIR={settings.data_dir} "
    return f"{place}{sys.argv[0]} admin api-key create --workspace default --scopes read,write"


def _log(event: str, /, **facts: object) -> None:
    log.info(event, **facts)


def _environment(settings: Settings, postgres: EmbeddedPostgres | None) -> dict[str, str]:
    """Return what the children start with: our own environment and the settings that options may have changed."""
    environment = os.environ | {
        "RAGECHO_DATA_DIR": str(settings.data_dir.resolve()),
        "RAGECHO_HOST": settings.host,
        "RAGECHO_PORT": str(settings.port),
    }
    if postgres is not None:
        environment["RAGECHO_DATABASE_URL"] = postgres.address.app_url
    return environment


def _prepare(settings: Settings, environment: dict[str, str], postgres: EmbeddedPostgres | None) -> str:
    """Migrate in a process of its own: what that imports would stay in ours for as long as it serves.

    Returns the path of the first administrator's one-time link while nobody can sign in, else an empty text. Only with a
    database of our own: many servers may share another one, and each would end the others' link.
    """
    command = [sys.executable, "-m", "ragecho.roles.prepare"]
    if postgres is not None:
        command += ["--embedded", "--setup-link"]
        owner = postgres.address.owner_url
    elif settings.database_owner_url is not None:
        owner = settings.database_owner_url.get_secret_value()
    else:
        owner = environment.get("RAGECHO_DATABASE_URL", "")
    done = subprocess.run(  # noqa: S603 - our own module, no shell
        command,
        env=environment | {"RAGECHO_DATABASE_URL": owner} if owner else environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it ended without a word"]
        raise Unavailable(f"The database could not be prepared: {lines[-1].removeprefix('ragecho: ')}")
    return next((line for line in done.stdout.splitlines() if line.startswith("/identity/setup?")), "")


def _listen(host: str, port: int) -> socket.socket:
    listener = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it. The API cannot tell from a bare descriptor that this is TCP, so its event loop would not
        # set it, and every answer would wait 40 ms for the client's delayed acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise ConfigurationError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}. Choose another with --host, --port or RAGECHO_PORT."
        ) from error
    return listener


def _readiness(host: str, port: int) -> Callable[[], bool]:
    def is_ready() -> bool:
        connection = http.client.HTTPConnection(_shown(host), port, timeout=2.0)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/health/ready")
                return connection.getresponse().status == http.client.OK
            except (OSError, http.client.HTTPException):
                return False

    return is_ready


def _shown(host: str) -> str:
    """Return the address that a person on this machine types for what we listen on."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
