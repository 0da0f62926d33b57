"""Pages as answers: the template environment, the headers of every page, and the pages that other parts ask for."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ragecho.identity.pages.csrf import FIELD, FormGuard
from ragecho.identity.pages.language import Language, choose_language

_TEMPLATES = Path(__file__).parent / "templates"
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*", re.IGNORECASE)
_NEVER_A_TARGET = frozenset({"javascript", "data", "vbscript", "blob", "filesystem", "about", "file"})

OPENER_KEPT = {"Cross-Origin-Opener-Policy": "unsafe-none"}


@cache
def environment() -> Environment:
    """Return the templates; autoescape always, and a name that is not given is an error, not an empty string."""
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals["FIELD"] = FIELD
    return made


def form_target(redirect_uri: str) -> str | None:
    """Return the CSP source of an app's redirect address, or None for what no policy should name.

    Browsers hold `form-action` against the redirects that follow a form, too; without this the way back to the app ends
    in Chromium at a blank page. The grammar has no IPv6 addresses: for those the scheme stands.
    """
    try:
        parts = urlsplit(redirect_uri)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if not _SCHEME.fullmatch(scheme) or scheme in _NEVER_A_TARGET:
        return None
    if scheme not in {"http", "https"} or ":" in host:
        return f"{scheme}:"
    if not _HOST.fullmatch(host):
        return None
    return f"{scheme}://{host}{'' if port is None else f':{port}'}"


def content_security_policy(form_targets: Iterable[str | None] = ()) -> str:
    """Return the policy of a page: nothing but our own files, no inline, no frame, forms to us and the named targets."""
    targets = " ".join(["'self'", *sorted({target for target in form_targets if target})])
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        f"base-uri 'none'; form-action {targets}; frame-ancestors 'none'"
    )


class Pages:
    """Renders templates for one deployment. `root` is the path that the identity service is mounted at."""

    def __init__(self, guard: FormGuard, *, root: str = "/identity", product: str = "Echo") -> None:
        self.guard = guard
        self.root = root.rstrip("/")
        self.product = product

    def language(self, request: Request, ui_locales: Sequence[str] | str | None = None) -> Language:
        """Return the language of this answer: the app's `ui_locales`, the address's, the browser's."""
        wanted = ui_locales.split() if isinstance(ui_locales, str) else list(ui_locales or ())
        asked = request.query_params.get("ui_locales", "").split()
        return choose_language([*asked, *wanted], request.headers.get("accept-language", ""))

    def page(
        self,
        request: Request,
        template: str,
        /,
        *,
        status: int = 200,
        language: Language | None = None,
        session: str = "",
        targets: Iterable[str | None] = (),
        **context: Any,
    ) -> Response:
        """Return a rendered page. `session` binds its forms; `targets` are further places that its forms may lead to."""
        spoken = language or self.language(request)
        values: dict[str, Any] = {
            "problem": None,
            "problems": {},
            "notice": None,
            "is_wide": False,
            **context,
            "t": spoken.text,
            "plural": spoken.plural,
            "language": spoken,
            "product": self.product,
            "root": self.root,
            "csrf": Markup('<input type="hidden" name="{}" value="{}">').format(
                FIELD, self.guard.token(request, session=session)
            ),
            "csrf_token": self.guard.token(request, session=session),
        }
        body = environment().get_template(template).render(values)
        named = [target for target in targets if target]
        response = HTMLResponse(
            body,
            status_code=status,
            headers={
                # An app may have opened this request in a window of its own and waits for that window to come back.
                **(OPENER_KEPT if named else {}),
                "Content-Security-Policy": content_security_policy(named),
                "Cache-Control": "no-store",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
                "Content-Language": spoken.tag,
                "Vary": "Accept-Language, Cookie",
            },
        )
        self.guard.remember(request, response)
        return response

    def error(
        self,
        request: Request,
        *,
        status: int,
        title: str,
        text: str,
        details: Sequence[tuple[str, str]] = (),
        start_url: str | None = None,
        start_label: str | None = None,
        ui_locales: Sequence[str] | str | None = None,
    ) -> Response:
        """Return an error page: what happened, how to go on, and for developers the facts as (name, value).

        `start_url` must be an address that the caller of this method trusts (a registered one), never one of the request.
        """
        return self.page(
            request,
            "error.html",
            status=status,
            language=self.language(request, ui_locales),
            title=title,
            text=text,
            details=details,
            start_url=start_url,
            start_label=start_label,
        )
