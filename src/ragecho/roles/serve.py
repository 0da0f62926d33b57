"""Everything on one machine: the embedded PostgreSQL, the API and a worker, as one process tree.

This process only supervises and stays small: it imports neither the web framework nor models. The port is opened here
and handed to the API, so that a restarted API misses no connection.
"""

import socket
import subprocess
import sys
import webbrowser
from pathlib import Path

from ragecho.kernel.errors import ConfigurationError, Unavailable
from ragecho.platform.embedded import EmbeddedPostgres
from ragecho.platform.embedded.tuning import core_count
from ragecho.platform.memory import memory_limit_bytes
from ragecho.platform.settings import Settings
from ragecho.platform.telemetry import configure_logging
from ragecho.roles.api_processes import RAGECHO, api_children, environment_of, processes_for, supervisor_log
from ragecho.roles.port import open_port, readiness, shown_host
from ragecho.roles.supervisor import ChildSpec, Supervisor


def run(settings: Settings, *, open_browser: bool = False) -> int:
    """Serve until told to stop; return the exit code. Raises `ConfigurationError` or `Unavailable` if it cannot start."""
    configure_logging(settings, role="serve")
    with open_port(settings.host, settings.port) as listener:
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
    url = settings.public_url or f"http://{shown_host(settings.host)}:{port}"

    def announce() -> None:
        print(f"Echo is ready at {url}", flush=True)  # noqa: T201 - the one line that scripts wait for
        if setup_path:
            print(f"First start: become its administrator at {url}{setup_path}", flush=True)  # noqa: T201 - the next step
        if is_first_start:
            print(f"First start: or make a key with {_key_command(settings)}", flush=True)  # noqa: T201 - the next step
        if open_browser:
            webbrowser.open(f"{url}/docs")

    processes = settings.api_processes or processes_for(core_count(), memory_limit_bytes())
    with api_children(processes, listener, environment, is_ready=readiness(settings.host, port)) as apis:
        children = [*apis, ChildSpec("worker", [*RAGECHO, "worker"], env=environment)]
        return Supervisor(children, log=supervisor_log, database=postgres, on_ready=announce).run()


def _key_command(settings: Settings) -> str:
    place = "" if settings.data_dir == Path("data") else f"RAGECHO_DATA_DIR={settings.data_dir} "
    return f"{place}{sys.argv[0]} admin api-key create --workspace default --scopes read,write"


def _environment(settings: Settings, postgres: EmbeddedPostgres | None) -> dict[str, str]:
    environment = environment_of(settings)
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
