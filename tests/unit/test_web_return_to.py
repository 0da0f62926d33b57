"""Where a browser may be sent after signing in."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragecho.web.return_to import local_path

HOME = "https://echo.example.com"


@pytest.mark.parametrize("wanted", ["/app/", "/app/?view=newest", "/app/documents/1#page=2", "/docs", "/app/%C3%A9"])
def test_pages_of_ours_are_kept(wanted: str) -> None:
    assert local_path(wanted) == wanted


@pytest.mark.parametrize(
    "wanted",
    [
        *[
            None,
            "",
            "app",
            "https://evil.example/",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
        ],
        *[
            "/\t/evil.example",
            "/\n/evil.example",
            " //evil.example",
            "/app/\x00",
            "javascript:alert(1)",
            "/app/ x",
            "/é",
        ],
        *["/auth/logout", "/identity/authorize?client_id=x", "/api/v1/documents", "/" + "x" * 3000],
    ],
)
def test_anything_else_is_the_app(wanted: str | None) -> None:
    assert local_path(wanted) == "/app/"


@given(st.one_of(st.text(), st.text(alphabet="/\\:.@?#%\t\n evil").map(lambda tail: "/" + tail)))
def test_nothing_leads_to_another_host(wanted: str) -> None:
    """Also as browsers read it: a backslash is a slash, tabs and line ends are dropped (WHATWG URL)."""
    found = local_path(wanted)
    as_read = found.replace("\\", "/").replace("\t", "").replace("\n", "").replace("\r", "").strip()
    assert urlsplit(urljoin(f"{HOME}/auth/callback", as_read)).netloc == "echo.example.com"
