"""What pages say about things: scopes, times, browsers, apps' links."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from markupsafe import Markup

from ragecho.identity.pages.language import Language
from ragecho.kernel.authorization import RULES, Permission

_BROWSERS = (
    (r"Edg(?:e|A|iOS)?/", "Edge"),
    (r"OPR/|Opera", "Opera"),
    (r"SamsungBrowser/", "Samsung Internet"),
    (r"Firefox/|FxiOS/", "Firefox"),
    (r"Chrome/|CriOS/|Chromium/", "Chrome"),
    (r"Safari/", "Safari"),
    (r"curl/", "curl"),
    (r"python-httpx/|python-requests/", "Python"),
)
_SYSTEMS = (
    (r"iPhone|iPad|iPod", "iOS"),
    (r"Android", "Android"),
    (r"CrOS", "ChromeOS"),
    (r"Windows", "Windows"),
    (r"Mac OS X|Macintosh", "macOS"),
    (r"Linux|X11", "Linux"),
)


def scopes_in_words(language: Language, scopes: Iterable[str]) -> list[Markup]:
    """Return what scopes allow, from the one authorization table; each once, in the order given.

    What says for how long all of it holds comes last.
    """
    ordered = sorted(scopes, key=lambda scope: scope == "offline_access")
    return list(dict.fromkeys(_scope(language, scope) for scope in ordered))


def _scope(language: Language, scope: str) -> Markup:
    if f"scope.{scope}" in language.texts and scope != "other":
        return language.text(f"scope.{scope}")
    try:
        permission = Permission(scope)
    except ValueError:
        return language.text("scope.other", scope=scope)
    return Markup.escape(language.permission(scope, RULES[permission].does))


def when(language: Language, moment: datetime, zone: str | None = None) -> Markup:
    """Return a moment as people write it, in their time zone where we know it."""
    try:
        local = moment.astimezone(ZoneInfo(zone) if zone else UTC)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        local = moment.astimezone(UTC)
    shown = local.strftime(language.texts["format.moment"])
    return Markup('<time datetime="{}">{} {}</time>').format(local.isoformat(timespec="seconds"), shown, local.tzname())


def browser_of(language: Language, user_agent: str | None) -> str | None:
    """Return which browser on which system it says it is, or None where it says nothing that we know."""
    text = (user_agent or "")[:400]
    browser = next((name for pattern, name in _BROWSERS if re.search(pattern, text)), None)
    system = next((name for pattern, name in _SYSTEMS if re.search(pattern, text)), None)
    if browser and system:
        return str(language.text("devices.on", browser=browser, system=system))
    return browser or system


def app_links(
    language: Language, *, about: str | None, privacy: str | None, terms: str | None
) -> list[tuple[str, str]]:
    """Return an app's own links as (label, address); only http and https."""
    named = (("login.about", about), ("login.privacy", privacy), ("login.terms", terms))
    return [(str(language.text(key)), address) for key, address in named if address and is_web_address(address)]


def is_web_address(address: str) -> bool:
    """Return whether it is an http or https URL with a host: what a link may lead to."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def place_of(redirect_uri: str) -> str:
    """Return where an app lives, for people: the host with its port, or the scheme of an app on the device."""
    try:
        parts = urlsplit(redirect_uri)
    except ValueError:
        return ""
    return parts.netloc.rpartition("@")[2] if parts.scheme in {"http", "https"} else f"{parts.scheme}:"
