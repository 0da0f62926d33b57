"""SQL of answer records."""

from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text

from ragecho.audit.records import AnswerRecord, RetrievedPassage
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import AnswerId
from ragecho.kernel.passages import Citation, Usage
from ragecho.platform.database import Database

SOURCE_WITHDRAWN = "source_withdrawn"


class AnswerRecords:
    """Keeps what was asked and answered; a record is shown only to whoever asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, caller: Caller, record: AnswerRecord) -> None:
        """Keep a record."""
        async with self._database.transaction(caller) as session:
            await session.execute(
                text(
                    "insert into answers (workspace_id, id, readers, user_id, api_key_id, question, refused, model, record,"
                    " created_at) values (:workspace_id, :id, :readers, :user_id, :api_key_id, :question, :refused, :model,"
                    " cast(:record as jsonb), :created_at)"
                ),
                {
                    "workspace_id": caller.workspace_id,
                    "id": record.id,
                    # What has no principal of its own (Echo's workers) leaves a record that nobody is shown.
                    "readers": [caller.own_principal] if caller.own_principal else [],
                    "user_id": record.user_id,
                    "api_key_id": record.api_key_id,
                    "question": record.question,
                    "refused": record.is_refused,
                    "model": record.model,
                    "record": orjson.dumps(asdict(record)).decode(),
                    "created_at": record.created_at,
                },
            )

    async def get(self, caller: Caller, answer_id: AnswerId) -> AnswerRecord | None:
        """Return the caller's record, or None. Words of documents that the caller may no longer read are left out."""
        async with self._database.transaction(caller) as session:
            found = await session.execute(
                text("select cast(record as text) from answers where workspace_id = :workspace_id and id = :id"),
                {"workspace_id": caller.workspace_id, "id": answer_id},
            )
            stored = found.scalar_one_or_none()
            if stored is None:
                return None
            record = _decode(orjson.loads(stored))
            readable = await session.execute(
                text("select id from document_versions where workspace_id = :workspace_id and id = any (:ids)"),
                {"workspace_id": caller.workspace_id, "ids": [citation.version_id for citation in record.citations]},
            )
            versions = set(readable.scalars())
        still = tuple(citation for citation in record.citations if citation.version_id in versions)
        if len(still) == len(record.citations):
            return record
        return replace(record, answer="", citations=still, is_refused=True, refusal_reason=SOURCE_WITHDRAWN)


def _decode(stored: dict[str, Any]) -> AnswerRecord:
    ids = ("id", "organization_id", "workspace_id", "user_id", "api_key_id")
    stored |= {name: UUID(stored[name]) if stored[name] else None for name in ids}
    stored["created_at"] = datetime.fromisoformat(stored["created_at"])
    stored["retrieved"] = tuple(RetrievedPassage(**_with_ids(passage)) for passage in stored["retrieved"])
    stored["citations"] = tuple(Citation(**_with_ids(citation)) for citation in stored["citations"])
    stored["usage"] = Usage(**stored["usage"])
    stored |= {name: tuple(stored.get(name, ())) for name in ("principals", "unsupported", "warnings", "queries")}
    known = {field.name for field in fields(AnswerRecord)}
    return AnswerRecord(**{name: value for name, value in stored.items() if name in known})


def _with_ids(values: dict[str, Any]) -> dict[str, Any]:
    return values | {name: UUID(values[name]) for name in ("document_id", "version_id", "chunk_id")}
