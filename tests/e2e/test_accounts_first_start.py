"""The first start of a server makes its first administrator by the link that it prints, once."""

import re
from pathlib import Path

import httpx
from tests.e2e.conftest import Server, eventually, serving

PASSWORD = "plover quartz mimic 71"
LINK = re.compile(r"become its administrator at (\S+/identity/setup\?token=([\w-]{43}))")
SEE_OTHER = 303


def setup_link(server: Server) -> re.Match[str] | None:
    return LINK.search("".join(server.log))


def submit(client: httpx.Client, page: str, **fields: str) -> httpx.Response:
    """Fill in the form of a page as a browser without scripts does."""
    html = client.get(page).text
    hidden = dict(re.findall(r'<input type="hidden" name="([\w-]+)" value="([^"]*)"', html))
    action = re.search(r'<form method="post" action="([^"]+)"', html)
    assert action is not None, html
    origin = str(client.base_url).rstrip("/")
    return client.post(action[1], data=hidden | fields, headers={"Origin": origin})


def test_the_first_start_prints_a_link_that_makes_one_administrator(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with serving(data_dir) as server:
        found = eventually(lambda: setup_link(server), what="the link of the first start")
        assert isinstance(found, re.Match)
        link, token = found[1], found[2]
        assert link.startswith(server.url)
        with server.client() as client:
            made = submit(client, link, email="ada@example.com", password=PASSWORD, name="Ada")
            assert (made.status_code, made.headers["location"]) == (SEE_OTHER, "/identity/account")
            assert "Ada" in client.get("/identity/account").text
        with server.client() as other:
            assert "<form" not in other.get(link).text
            entered = submit(other, "/identity/login", email="ada@example.com", password=PASSWORD)
            assert entered.status_code == SEE_OTHER
        assert "".join(server.log).count(token) == 1  # the line for the person at the machine
        assert PASSWORD not in "".join(server.log)
    with serving(data_dir) as again:
        with again.client() as client:
            assert (
                submit(client, "/identity/login", email="ada@example.com", password=PASSWORD).status_code == SEE_OTHER
            )
        assert setup_link(again) is None


def test_an_administrator_made_on_the_machine_signs_in_and_ends_the_link(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with serving(data_dir) as server:
        found = eventually(lambda: setup_link(server), what="the link of the first start")
        assert isinstance(found, re.Match)
        from ragecho.platform.settings import Settings
        from ragecho.roles.admin import create_administrator

        create_administrator(Settings(data_dir=data_dir), email="bob@example.com", password=PASSWORD)
        with server.client() as client:
            assert (
                submit(client, "/identity/login", email="bob@example.com", password=PASSWORD).status_code == SEE_OTHER
            )
            assert "<form" not in client.get(found[1]).text
