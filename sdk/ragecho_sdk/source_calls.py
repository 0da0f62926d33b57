"""The routes of documents from elsewhere, as values. Both clients send these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ragecho_sdk.calls import Call, get, nothing, once, post, segment
from ragecho_sdk.models import Page, UploadedDocument, page_of
from ragecho_sdk.source_models import Source, SourceItem, SourceRun

PATH = "/api/v1/sources"


def add_url(url: str, labels: Mapping[str, Any]) -> Call[UploadedDocument]:
    """Take a page in by its address."""
    call = post("/api/v1/documents/url", lambda data: UploadedDocument.read(data["documents"][0]), url=url, **labels)
    return once(call)


def add_source(kind: str, name: str, wanted: Mapping[str, Any]) -> Call[Source]:
    """Set up a source."""
    return once(post(PATH, Source.read, kind=kind, name=name, **wanted))


def list_sources(*, limit: int | None, offset: int | None) -> Call[Page[Source]]:
    """One page of sources."""
    return get(PATH, page_of(Source), limit=limit, offset=offset)


def get_source(source_id: str) -> Call[Source]:
    """One source."""
    return get(f"{PATH}/{segment(source_id)}", Source.read)


def update_source(source_id: str, wanted: Mapping[str, Any]) -> Call[Source]:
    """Change a source."""
    body = {name: value for name, value in wanted.items() if value is not None}
    return Call("PATCH", f"{PATH}/{segment(source_id)}", Source.read, body=body)


def delete_source(source_id: str, *, keep_documents: bool) -> Call[None]:
    """Remove a source."""
    return Call("DELETE", f"{PATH}/{segment(source_id)}", nothing, {"keep_documents": keep_documents})


def sync_source(source_id: str) -> Call[SourceRun]:
    """Look at a source now."""
    return once(Call("POST", f"{PATH}/{segment(source_id)}/sync", SourceRun.read))


def source_runs(source_id: str, *, limit: int | None, offset: int | None) -> Call[Page[SourceRun]]:
    """One page of a source's runs."""
    return get(f"{PATH}/{segment(source_id)}/runs", page_of(SourceRun), limit=limit, offset=offset)


def source_items(
    source_id: str, *, status: str | None, limit: int | None, offset: int | None
) -> Call[Page[SourceItem]]:
    """One page of what is in a source."""
    return get(f"{PATH}/{segment(source_id)}/items", page_of(SourceItem), status=status, limit=limit, offset=offset)
