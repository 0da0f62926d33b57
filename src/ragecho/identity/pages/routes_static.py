"""The pages' own files: one style sheet, one module, one picture. And for development the outbox."""

import hashlib
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ragecho.kernel.errors import NotFound

_FOLDER = Path(__file__).parent / "static"
_TYPES = {
    "identity.css": "text/css; charset=utf-8",
    "passkeys.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@cache
def _file(name: str) -> tuple[bytes, str]:
    content = (_FOLDER / name).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def static_routes() -> APIRouter:
    """Return the routes of the files; browsers ask whether a file has changed and mostly hear 304."""
    router = APIRouter(include_in_schema=False)

    @router.get("/static/{name}")
    async def static_file(request: Request, name: str) -> Response:
        if name not in _TYPES:
            raise NotFound("There is no such file.")
        content, tag = _file(name)
        headers = {
            "ETag": tag,
            "Cache-Control": "public, max-age=300, must-revalidate",
            "X-Content-Type-Options": "nosniff",
        }
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=_TYPES[name], headers=headers)

    return router
