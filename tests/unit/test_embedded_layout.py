"""Addresses and paths of the embedded server."""

import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragecho.platform.embedded.layout import EmbeddedServer, Layout

_NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=60
)


@given(st.lists(_NAMES.filter(lambda name: name not in {".", ".."}), min_size=1, max_size=5))
def test_the_socket_path_always_fits_and_is_the_same_at_every_start(names: list[str]) -> None:
    layout = Layout(Path("/", *names))
    socket = layout.socket_dir / ".s.PGSQL.5432"
    assert len(os.fsencode(socket)) <= 107
    assert socket.parent == Layout(Path("/", *names)).socket_dir


def test_a_long_data_directory_gets_a_socket_directory_of_its_own() -> None:
    first, second = (Layout(Path("/srv", name * 120)) for name in "ab")
    assert not first.socket_dir.is_relative_to(first.data_dir)
    assert first.socket_dir != second.socket_dir


@pytest.mark.parametrize("folder", ["/srv/echo/run", "/srv/with space & more?/run", "/srv/Größe/run"])
def test_the_url_carries_the_socket_directory_unharmed(folder: str) -> None:
    server = EmbeddedServer(socket_dir=Path(folder), port=5432)
    parts = urlsplit(server.app_url)
    assert (parts.scheme, parts.username, parts.path) == ("postgresql", "ragecho_app", "/ragecho")
    assert parse_qs(parts.query) == {"host": [folder], "port": ["5432"]}
    assert urlsplit(server.owner_url).username == "postgres"
