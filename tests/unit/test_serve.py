"""Opening the port."""

import socket

import pytest

from ragecho.kernel.errors import ConfigurationError
from ragecho.roles.port import open_port


def test_connections_of_the_inherited_listener_do_not_wait_for_acknowledgements() -> None:
    with open_port("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        with socket.create_connection(listener.getsockname()) as _client:
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_a_taken_port_is_said_with_its_remedy() -> None:
    with open_port("127.0.0.1", 0) as listener, pytest.raises(ConfigurationError, match="--port"):
        open_port("127.0.0.1", listener.getsockname()[1])
