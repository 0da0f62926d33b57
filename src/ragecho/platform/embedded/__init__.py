"""The product's own PostgreSQL, run from the binaries of a Python wheel when no external server is configured."""

from ragecho.platform.embedded.layout import EmbeddedServer
from ragecho.platform.embedded.server import EmbeddedPostgres, running_server

__all__ = ["EmbeddedPostgres", "EmbeddedServer", "running_server"]
