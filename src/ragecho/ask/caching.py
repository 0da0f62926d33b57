"""Answers that are kept, keyed by everything they depend on, and questions that are asked at the same moment.

The key holds who asks (organisation, workspace and principals), what (the request, history and filters included) and how
(models, prompts, settings, release); the value holds the state of the index from before its passages were looked for. An
answer counts only while that is still the state *after* the question came: whatever is deleted, replaced, re-tagged or
re-classified moves it in the same transaction. Whoever takes an answer from here reads its sources again at that moment.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from hashlib import blake2b
from typing import Any
from uuid import UUID

import orjson

from ragecho import __version__
from ragecho.ask.drafts import Draft
from ragecho.ask.model import AskRequest
from ragecho.ask.steps.prompt import PROMPT_VERSION
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import ChunkId, DocumentId, VersionId
from ragecho.kernel.passages import Citation, EmbeddingSpace, Usage
from ragecho.library.analysis import ANALYSIS_VERSION
from ragecho.library.caching import IndexVersion, read_passage
from ragecho.library.query.queries import Query, Way
from ragecho.platform.cache import SingleFlight
from ragecho.platform.telemetry.metrics import count_cache_lookup
from ragecho.ports.cache import Cache

# Of the stored form: processes of two releases may share one cache.
FORMAT = 1


def key_of(caller: Caller, question: str, request: AskRequest, setting: Mapping[str, Any]) -> str:
    """Return the key of one caller's question: the digest of all that its answer depends on but the index.

    `setting` is what the installation is configured to: models, the rewriter, the settings of answering.
    """
    asked = asdict(request)
    del asked["is_fresh"], asked["question"]
    parts = [
        FORMAT,
        __version__,
        ANALYSIS_VERSION,
        PROMPT_VERSION,
        str(caller.organization_id),
        str(caller.workspace_id),
        sorted(caller.principals),
        caller.sees_all,
        question,
        asked,
        setting,
    ]
    return "answer:" + blake2b(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS), digest_size=24).hexdigest()


class AnswerCache:
    """Drafts in a `Cache`, and one run for those who ask the same of the same index at the same moment."""

    def __init__(self, cache: Cache, *, ttl_seconds: float) -> None:
        self._cache = cache
        self._ttl_seconds = ttl_seconds
        self._flights: SingleFlight[Draft] = SingleFlight()

    async def get(self, key: str, present: IndexVersion) -> Draft | None:
        """Return the draft that was made of the `present` index, None when there is none."""
        stored = await self._cache.get(key)
        return _decoded(stored, present) if stored is not None else None

    async def put(self, key: str, index: IndexVersion, draft: Draft) -> None:
        """Keep a draft that was made of `index` or later, if it is one that lasts."""
        if draft.is_lasting:
            await self._cache.put(key, _encoded(index, draft), ttl_seconds=self._ttl_seconds)

    async def once(
        self, key: str, index: IndexVersion, make: Callable[[], Coroutine[Any, Any, Draft]]
    ) -> tuple[Draft, bool]:
        """Return what `make` gives, and whether somebody else had begun it, having seen the same index."""
        return await self._flights.run((key, index), make)

    @staticmethod
    def count(*, is_hit: bool) -> None:
        """Count a lookup in the metrics."""
        count_cache_lookup("answer", is_hit=is_hit)


def _encoded(index: IndexVersion, draft: Draft) -> bytes:
    return orjson.dumps({"index": index, "draft": draft})


def _decoded(stored: bytes, present: IndexVersion) -> Draft | None:
    """Return what was stored; None for another state of the index, and for what another release stored."""
    try:
        found = orjson.loads(stored)
        if IndexVersion(UUID(found["index"]["space_id"]), found["index"]["version"]) != present:
            return None
        values: dict[str, Any] = found["draft"]
        space = values["space"]
        read = {
            "citations": tuple(_citation(one) for one in values["citations"]),
            "usage": Usage(**values["usage"]),
            "unsupported": tuple(values["unsupported"]),
            "warnings": tuple(values["warnings"]),
            "passages": tuple(read_passage(one) for one in values["passages"]),
            "queries": tuple(Query(**one | {"way": one["way"] and Way(one["way"])}) for one in values["queries"]),
            "space": space and EmbeddingSpace(**space | {"id": UUID(space["id"])}),
        }
        return Draft(**values | read)
    except (ValueError, KeyError, TypeError):
        return None


def _citation(one: Mapping[str, Any]) -> Citation:
    ids = {
        "document_id": DocumentId(UUID(one["document_id"])),
        "version_id": VersionId(UUID(one["version_id"])),
        "chunk_id": ChunkId(UUID(one["chunk_id"])),
    }
    return Citation(**{**one, **ids})
