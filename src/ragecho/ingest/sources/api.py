"""Routes of documents from elsewhere."""

from typing import Annotated

from fastapi import APIRouter

from ragecho.ingest.schemas import AcceptedDocument, AcceptedDocuments
from ragecho.ingest.sources.by_url import UrlUploads
from ragecho.ingest.sources.schemas import UrlIn
from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Caller
from ragecho.platform.http.authentication import Authenticate
from ragecho.platform.http.permissions import requires


def build_url_router(uploads: UrlUploads, authenticate: Authenticate) -> APIRouter:
    """Return the route that takes pages in by their address."""
    router = APIRouter(prefix="/api/v1/documents", tags=["documents"])
    Writing = Annotated[Caller, requires(authenticate, Permission.DOCUMENTS_WRITE)]

    @router.post("/url", status_code=202)
    async def add_url(caller: Writing, wanted: UrlIn) -> AcceptedDocuments:
        """Fetch a page and process it, both in the background.

        Private, local and reserved addresses are refused, also behind redirects.
        """
        accepted = await uploads.accept(caller, wanted.url, labels=wanted.to_labels())
        return AcceptedDocuments(documents=[AcceptedDocument.of(accepted)])

    return router
