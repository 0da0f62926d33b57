"""The port of the HTTP server, opened before the processes that serve it, so that a restarted one misses no connection."""

import contextlib
import http.client
import socket
from collections.abc import Callable

from ragecho.kernel.errors import ConfigurationError


def open_port(host: str, port: int) -> socket.socket:
    """Return a listener that processes can inherit. Raises `ConfigurationError` for a port that cannot be had."""
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


def readiness(host: str, port: int) -> Callable[[], bool]:
    """Return what asks the server whether it is ready."""

    def is_ready() -> bool:
        connection = http.client.HTTPConnection(shown_host(host), port, timeout=2.0)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/health/ready")
                return connection.getresponse().status == http.client.OK
            except (OSError, http.client.HTTPException):
                return False

    return is_ready


def shown_host(host: str) -> str:
    """Return the address that a person on this machine types for what we listen on."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
