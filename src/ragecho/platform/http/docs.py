"""`/docs`: Swagger UI from files of our own, under a policy that allows nothing else."""

from html import escape
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from ragecho.kernel.errors import NotFound

_STATIC = Path(__file__).parent / "static"
_FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "docs.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
# Swagger UI draws its icons as data: images; `connect-src` is for trying the API out.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" type="image/png" href="{root}/docs/static/favicon-32x32.png">
<link rel="stylesheet" href="{root}/docs/static/swagger-ui.css">
<script src="{root}/docs/static/swagger-ui-bundle.js" defer></script>
<script src="{root}/docs/static/docs.js" defer></script>
</head>
<body><main id="docs" data-openapi="{root}/openapi.json"></main></body>
</html>
"""


def docs_router(title: str) -> APIRouter:
    """Return the routes of `/docs`; they are not part of the description."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def docs(request: Request) -> Response:
        root = escape(str(request.scope.get("root_path", "")).rstrip("/"), quote=True)
        page = _PAGE.format(title=escape(title), root=root)
        return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})

    @router.get("/docs/static/{name}")
    async def docs_file(name: str) -> Any:
        media_type = _FILES.get(name)
        if media_type is None:
            raise NotFound("There is no such file.")
        return FileResponse(_STATIC / name, media_type=media_type, headers={"Cache-Control": "public, max-age=86400"})

    return router
