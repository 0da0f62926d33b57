"""The API as one process or several, over one port that is opened before they start.

An event loop uses one core. Several processes use several, and the port is served while one of them starts anew.
"""

import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from ragecho.platform.settings import Settings
from ragecho.platform.telemetry import configure_logging, get_logger
from ragecho.roles.port import open_port, readiness
from ragecho.roles.shares import FD_VARIABLE, LISTEN_FD_VARIABLE, PLACE_VARIABLE, shared_numbers
from ragecho.roles.supervisor import ChildSpec, Supervisor

log = get_logger(__name__)

RAGECHO: Final = (sys.executable, "-m", "ragecho")

# Where nothing is configured: each process has models, caches and indexes of its own.
_MOST_UNASKED: Final = 4
_MEMORY_FOR_EACH_BYTES: Final = 4 << 30


def run_several(settings: Settings) -> int:
    """Answer HTTP by `settings.api_processes` until told to stop; return the exit code."""
    configure_logging(settings, role="serve")
    with open_port(settings.host, settings.port) as listener:
        port = listener.getsockname()[1]
        environment = environment_of(settings) | {"RAGECHO_PORT": str(port)}
        is_ready = readiness(settings.host, port)
        with api_children(settings.api_processes, listener, environment, is_ready=is_ready) as children:
            return Supervisor(children, log=supervisor_log).run()


def environment_of(settings: Settings) -> dict[str, str]:
    """Return what the children start with: our own environment and the settings that options may have changed."""
    return os.environ | {
        "RAGECHO_DATA_DIR": str(settings.data_dir.resolve()),
        "RAGECHO_HOST": settings.host,
        "RAGECHO_PORT": str(settings.port),
    }


def supervisor_log(event: str, /, **facts: object) -> None:
    """Write one line of a supervisor."""
    log.info(event, **facts)


def processes_for(cores: int, memory_bytes: int) -> int:
    """Return how many processes suit a machine on which everything runs, at least one."""
    # Rounded: what is sold as 8 GB has a little less.
    return max(1, min(cores, _MOST_UNASKED, round(memory_bytes / _MEMORY_FOR_EACH_BYTES)))


@contextmanager
def api_children(
    processes: int, listener: socket.socket, environment: Mapping[str, str], *, is_ready: Callable[[], bool]
) -> Iterator[list[ChildSpec]]:
    """Yield what to start. The first makes the port ready, the others follow: they would only slow its start down."""
    command, port = [*RAGECHO, "api"], listener.fileno()
    common = {**environment, LISTEN_FD_VARIABLE: str(port), "RAGECHO_API_PROCESSES": str(processes)}
    if processes == 1:
        yield [ChildSpec("api", command, env=common, is_ready=is_ready, pass_fds=(port,))]
        return
    with shared_numbers(processes) as numbers, tempfile.TemporaryDirectory(prefix="ragecho-metrics-") as metrics:
        common |= {FD_VARIABLE: str(numbers), "PROMETHEUS_MULTIPROC_DIR": metrics}
        yield [
            ChildSpec(
                "api" if place == 0 else f"api-{place + 1}",
                command,
                env=common | {PLACE_VARIABLE: str(place)},
                is_ready=is_ready if place == 0 else None,
                pass_fds=(port, numbers),
                is_later=place > 0,
            )
            for place in range(processes)
        ]
