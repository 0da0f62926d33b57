"""The gateway's pages in two languages."""

import re
from pathlib import Path

import ragecho.web
from ragecho.web.text import GERMAN, translator

WEB = Path(ragecho.web.__file__).parent


def test_every_text_of_the_pages_is_known_in_german() -> None:
    said = {
        text for page in (WEB / "templates").glob("*.html") for text in re.findall(r't\("([^"]+)"\)', page.read_text())
    }
    # What is said of a failed sign-in stands in the code as whole sentences.
    told = {
        text
        for name in ("service.py", "api.py")
        for text in re.findall(
            r'(?:SignInFailed\(|_failed\(\s*request,|return)\s+?"([A-Z][^"]+\.)"', (WEB / name).read_text()
        )
    }
    told |= set(re.findall(r'SignInFailed\(\s*"([^"]+)"', (WEB / "service.py").read_text()))
    assert len(told) >= 8
    assert said | told <= set(GERMAN)


def test_a_text_that_is_not_known_stays_as_it_is() -> None:
    assert translator("de")("Not in the list.") == "Not in the list."
    assert translator("en")("Sign in") == "Sign in"
