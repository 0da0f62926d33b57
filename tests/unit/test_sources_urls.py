"""One spelling for each page, and links as a browser would follow them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragecho.engines.sources.links import read_links
from ragecho.ingest.sources.by_url import checked_address
from ragecho.kernel.errors import InvalidInput
from ragecho.kernel.urls import canonical_url, host_of, page_name
from ragecho.platform.outbound import AddressRefused


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("HTTP://Example.ORG:80/a/../b/./c?x=1#frag", "http://example.org/b/c?x=1"),
        ("https://example.org:443", "https://example.org/"),
        ("https://example.org:8443/", "https://example.org:8443/"),
        ("https://example.org/%7Euser/%c3%a9", "https://example.org/~user/%C3%A9"),
        ("https://example.org/é", "https://example.org/%C3%A9"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://example.org/?utm_source=mail&id=7&fbclid=zz", "https://example.org/?id=7"),
        ("https://example.org/?b=2&a=1", "https://example.org/?b=2&a=1"),
        ("https://example.org./", "https://example.org/"),
        ("http://[2606:4700::1]/x", "http://[2606:4700::1]/x"),
        ("https://example.org/../../x", "https://example.org/x"),
        ("https://example.org/a/..", "https://example.org/"),
    ],
)
def test_a_page_has_one_spelling(url: str, canonical: str) -> None:
    assert canonical_url(url) == canonical


@pytest.mark.parametrize(
    "url",
    ["", "ftp://example.org/", "mailto:a@example.org", "javascript:alert(1)", "https://user:pw@example.org/", "https:///x",
     "https://example.org:99999/", "https://example.org/" + "a" * 2000, "http://[::1"],
)  # fmt: skip
def test_what_is_no_address_of_a_page_has_none(url: str) -> None:
    assert canonical_url(url) is None


@given(st.text(max_size=200))
def test_the_canonical_spelling_is_its_own_canonical_spelling(path: str) -> None:
    canonical = canonical_url("https://example.org/" + path)
    assert canonical is None or canonical_url(canonical) == canonical


def test_a_citation_names_a_page_by_its_address() -> None:
    assert page_name("https://example.org/hand%20book/fees?lang=de") == "example.org/hand book/fees?lang=de"
    assert page_name("https://example.org/") == "example.org"
    assert host_of("https://www.example.org/a") == host_of("http://example.org:8080/")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://127.0.0.1/", "http://[::ffff:10.0.0.1]/", "http://2130706433/", "gopher://x/",
            "http://169.254.169.254/latest/meta-data/", "http://user@example.org/", "nonsense"],
)  # fmt: skip
def test_an_address_that_leads_inside_is_refused_at_once(url: str) -> None:
    with pytest.raises(AddressRefused):
        checked_address(url, allow_private=False)


def test_an_address_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidInput):
        checked_address("https://example.org/" + "x" * 2000, allow_private=False)


def test_links_are_absolute_and_each_is_there_once() -> None:
    html = b"""<base href="/docs/"><a href="a">A</a> <a href="a#part">A again</a> <a href="/b?utm_source=x">B</a>
      <a rel="nofollow" href="/c">C</a> <a href="mailto:x@example.org">mail</a> <a href="https://other.example/">O</a>"""
    found = read_links(html, "https://example.org/start")
    assert found.links == (
        "https://example.org/docs/a",
        "https://example.org/b",
        "https://other.example/",
    )


def test_a_page_may_name_its_own_address_but_not_another_sites() -> None:
    own = read_links(b'<link rel="canonical" href="/real">', "https://example.org/x?page=1")
    assert own.canonical == "https://example.org/real"
    assert read_links(b'<link rel=canonical href="https://evil.example/">', "https://example.org/").canonical is None


def test_a_page_that_does_not_want_to_be_followed_is_not() -> None:
    found = read_links(b'<meta name="robots" content="noindex, nofollow"><a href="/a">A</a>', "https://example.org/")
    assert found.links == ()
    assert not found.is_index
