"""The gateway's own few pages: who is signed in, and what to do when signing in did not work."""

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("ragecho.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(name: str, *, status: int = 200, form_action: str = "'self'", **values: Any) -> HTMLResponse:
    """Return a page. Nothing in it is kept by caches, framed, or loaded from elsewhere; forms go to `form_action`."""
    policy = (
        f"default-src 'none'; style-src 'self'; img-src 'self' data:; form-action {form_action};"
        " base-uri 'none'; frame-ancestors 'none'"
    )
    body = _environment().get_template(name).render(**values)
    return HTMLResponse(body, status, {"Content-Security-Policy": policy, "Cache-Control": "no-store"})


@cache
def style_sheet() -> bytes:
    """Return the pages' one style sheet."""
    return files("ragecho.web").joinpath("static", "app.css").read_bytes()
