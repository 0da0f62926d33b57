"""The gateway's own few pages: who is signed in, and what to do when signing in did not work."""

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from ragecho.web.text import language_of, translator


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("ragecho.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(request: Request, name: str, *, status: int = 200, form_action: str = "'self'", **values: Any) -> HTMLResponse:
    """Return a page in the browser's language. Nothing in it is kept by caches, framed, or loaded from elsewhere.

    Forms go to `form_action`.
    """
    language = language_of(request)
    policy = (
        f"default-src 'none'; style-src 'self'; img-src 'self' data:; form-action {form_action};"
        " base-uri 'none'; frame-ancestors 'none'"
    )
    body = _environment().get_template(name).render(language=language, t=translator(language), **values)
    return HTMLResponse(body, status, {"Content-Security-Policy": policy, "Cache-Control": "no-store"})


@cache
def style_sheet() -> bytes:
    """Return the pages' one style sheet."""
    return files("ragecho.web").joinpath("static", "app.css").read_bytes()
