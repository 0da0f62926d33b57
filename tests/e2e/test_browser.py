"""What a person sees in a real browser."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright
from tests.e2e.conftest import Server

QUIET = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if found is None:
        pytest.fail("No Chromium: install the package `chromium` (CI does).")
    # Chromium refuses its own sandbox to root.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*QUIET, *sandbox])
        yield browser
        browser.close()


def test_the_api_reference_renders_without_anything_remote_or_inline(server: Server, browser: Browser) -> None:
    page = browser.new_page()
    complaints: list[str] = []
    requested: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: requested.append(request.url))
    page.goto(f"{server.url}/docs")
    page.get_by_text("/api/v1/ask", exact=True).wait_for(timeout=20_000)
    assert page.get_by_text("/api/v1/search", exact=True).is_visible()
    assert complaints == []
    assert [url for url in requested if not url.startswith((server.url, "data:"))] == []
    page.close()
