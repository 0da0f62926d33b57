"""Addresses of pages: one spelling for each page, and names that people can read."""

import re
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urljoin, urlsplit, urlunsplit

MAX_URL = 2000
_PORTS = {"http": 80, "https": 443}
# Say who sent the reader and nothing about the page.
_TRACKING = re.compile(r"utm_\w+|gclid|dclid|fbclid|msclkid|yclid|mc_[ce]id|igshid|_ga", re.IGNORECASE)
_ESCAPE = re.compile(r"%[0-9a-fA-F]{2}")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def canonical_url(url: str, *, base: str | None = None) -> str | None:
    """Return one spelling of the page's address, or None where it is no http(s) address of up to `MAX_URL` characters.

    Scheme and host in lower case, no default port, no fragment, dot segments resolved, escapes as RFC 3986 section 6.2
    has them, and no parameters that only say where the reader came from. `base` is what a relative address is relative to.
    """
    try:
        parts = urlsplit(urljoin(base, url.strip()) if base else url.strip())
        port, host = parts.port, parts.hostname
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not host or parts.username is not None:
        return None
    try:
        name = host if ":" in host else host.encode("idna").decode("ascii") if not host.isascii() else host
    except UnicodeError:
        return None
    authority = f"[{name}]" if ":" in name else name.rstrip(".")
    if port is not None and port != _PORTS[parts.scheme]:
        authority = f"{authority}:{port}"
    path = _without_dots(_escaped(parts.path)) or "/"
    made = urlunsplit(SplitResult(parts.scheme, authority, path, _query(parts.query), ""))
    return made if len(made) <= MAX_URL else None


def page_name(url: str) -> str:
    """Return what a citation calls the page: its address without what every address has."""
    parts = urlsplit(url)
    query = f"?{unquote(parts.query)}" if parts.query else ""
    name = f"{parts.netloc}{unquote(parts.path)}".rstrip("/") + query
    return "".join(character for character in name if character.isprintable()) or url


def host_of(url: str) -> str:
    """Return the host of a canonical address, without a leading `www.`: both names are one site."""
    return (urlsplit(url).hostname or "").removeprefix("www.")


def _query(query: str) -> str:
    if not query:
        return ""
    kept = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if not _TRACKING.fullmatch(name)]
    if len(kept) == len(parse_qsl(query, keep_blank_values=True)):
        return _escaped(query)
    return urlencode(kept)


def _escaped(text: str) -> str:
    """Escape what must be, and write escapes of unreserved characters as the characters."""

    def one(match: re.Match[str]) -> str:
        character = chr(int(match[0][1:], 16))
        return character if character in _UNRESERVED else match[0].upper()

    return quote(_ESCAPE.sub(one, text), safe="/?#[]@!$&'()*+,;=:%-._~", errors="replace")


def _without_dots(path: str) -> str:
    """Resolve `.` and `..` (RFC 3986, section 5.2.4)."""
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            if len(kept) > 1:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/".join(kept)
