"""Documents from elsewhere: `echo.sources`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ragecho_sdk import source_calls as calls
from ragecho_sdk.models import Page, UploadedDocument
from ragecho_sdk.source_models import Source, SourceItem, SourceRun

if TYPE_CHECKING:
    from ragecho_sdk.async_client import AsyncEcho


class AsyncSources:
    """Places that documents come from; reached as `echo.sources`."""

    def __init__(self, echo: AsyncEcho) -> None:
        self._echo = echo

    async def add_url(self, url: str, **labels: Any) -> UploadedDocument:
        """Fetch a page and process it, both in the background. `labels`: tags, access, metadata, readers."""
        return await self._echo.send(calls.add_url(url, labels))

    async def add(
        self,
        kind: str,
        name: str,
        config: Mapping[str, Any],
        *,
        secrets: Mapping[str, str] | None = None,
        labels: Mapping[str, Any] | None = None,
        interval_seconds: int | None = None,
        paused: bool | None = None,
    ) -> Source:
        """Set up a source and start its first run."""
        wanted = {
            "config": dict(config),
            "secrets": secrets,
            "labels": labels,
            "interval_seconds": interval_seconds,
            "paused": paused,
        }
        return await self._echo.send(calls.add_source(kind, name, wanted))

    async def list(self, *, limit: int | None = None, offset: int | None = None) -> Page[Source]:
        """Return one page of sources, newest first."""
        return await self._echo.send(calls.list_sources(limit=limit, offset=offset))

    async def get(self, source_id: str) -> Source:
        """Return one source and how it is doing."""
        return await self._echo.send(calls.get_source(source_id))

    async def update(self, source_id: str, **wanted: Any) -> Source:
        """Change a source: name, config, secrets, labels, interval_seconds (0 ends the schedule), paused."""
        return await self._echo.send(calls.update_source(source_id, wanted))

    async def delete(self, source_id: str, *, keep_documents: bool = False) -> None:
        """Remove a source; its documents go in the background unless they are kept."""
        return await self._echo.send(calls.delete_source(source_id, keep_documents=keep_documents))

    async def sync(self, source_id: str) -> SourceRun:
        """Look at the source now."""
        return await self._echo.send(calls.sync_source(source_id))

    async def runs(self, source_id: str, *, limit: int | None = None, offset: int | None = None) -> Page[SourceRun]:
        """Return one page of how looking at the source went, newest first."""
        return await self._echo.send(calls.source_runs(source_id, limit=limit, offset=offset))

    async def items(
        self, source_id: str, *, status: str | None = None, limit: int | None = None, offset: int | None = None
    ) -> Page[SourceItem]:
        """Return one page of what is in the source, with what failed and why."""
        return await self._echo.send(calls.source_items(source_id, status=status, limit=limit, offset=offset))
