"""Where a browser may be sent after signing in: to a page of ours, never elsewhere."""

from urllib.parse import urlsplit

from ragecho.web.model import APP_PATH

MAX_LENGTH = 2000


def local_path(wanted: str | None) -> str:
    r"""Return `wanted` if it is a path on this site that shows a page, else the app's own.

    Browsers read `\\` as `/` and drop control characters, so a path that has either could lead to another host.
    """
    if not wanted or len(wanted) > MAX_LENGTH or not wanted.startswith("/") or wanted.startswith("//"):
        return APP_PATH
    if "\\" in wanted or not all("!" <= character <= "~" for character in wanted):
        return APP_PATH
    parts = urlsplit(wanted)
    if parts.scheme or parts.netloc or parts.path.startswith(("//", "/auth/", "/identity/", "/api/")):
        return APP_PATH
    return wanted
