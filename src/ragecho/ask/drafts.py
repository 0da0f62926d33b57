"""What was answered, before it has an id and a record of its own: one draft may serve several who ask the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ragecho.ask.model import REFUSAL_TEXT, Answer
from ragecho.ask.quoting import PART_UNANSWERED
from ragecho.ask.work import Work
from ragecho.audit.records import AnswerRecord, RetrievedPassage
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import AnswerId, uuid7
from ragecho.kernel.passages import Citation, EmbeddingSpace, Passage, Usage
from ragecho.library.query.queries import Query
from ragecho.platform.telemetry import current_trace_id

# Refusals that say something about the documents; the others say that something went wrong.
_LASTING_REFUSALS = frozenset({"no_passages", "no_evidence"})


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer or a refusal (`refusal` says why), and everything that it rests on."""

    text: str
    citations: tuple[Citation, ...]
    refusal: str | None
    confidence: float
    model: str
    prompt_version: str
    usage: Usage
    unsupported: tuple[str, ...]
    warnings: tuple[str, ...]
    passages: tuple[Passage, ...]
    queries: tuple[Query, ...]
    space: EmbeddingSpace | None
    is_momentary: bool = False

    @classmethod
    def of(cls, work: Work) -> "Draft":
        """Return what the work came to."""
        writer = work.writer if work.refusal is None else None
        return cls(
            text=writer.text if writer else REFUSAL_TEXT,
            citations=tuple(writer.citations) if writer else (),
            refusal=None if writer else work.refusal,
            confidence=work.evidence.confidence if work.evidence else 0.0,
            model=work.model,
            prompt_version=work.prompt_version,
            usage=work.usage,
            unsupported=tuple(writer.unsupported) if writer else (),
            warnings=tuple(work.warnings),
            passages=tuple(work.passages),
            queries=work.asked.queries,
            space=work.space,
            is_momentary=work.is_momentary,
        )

    @property
    def is_lasting(self) -> bool:
        """Whether the same question would be answered the same: nothing failed or was withdrawn on the way."""
        has_failed = any(not warning.startswith(PART_UNANSWERED) for warning in self.warnings)
        is_final = self.refusal is None or self.refusal in _LASTING_REFUSALS
        return is_final and not has_failed and not self.is_momentary

    def answer(self, timings_ms: Mapping[str, float], *, is_cached: bool) -> Answer:
        """Return the answer for one who asked; one that had been given before costs nothing again."""
        return Answer(
            id=AnswerId(uuid7()),
            text=self.text,
            citations=self.citations,
            is_refused=self.refusal is not None,
            refusal_reason=self.refusal,
            confidence=self.confidence,
            model=self.model,
            usage=Usage() if is_cached else self.usage,
            timings_ms=dict(timings_ms),
            unsupported=self.unsupported,
            warnings=self.warnings,
            is_cached=is_cached,
            queries=self.queries,
        )

    def record(
        self, caller: Caller, question: str, answer: Answer, settings: Mapping[str, Any], *, created_at: datetime
    ) -> AnswerRecord:
        """Return the record of `answer`, made for `caller`."""
        return AnswerRecord(
            id=answer.id,
            created_at=created_at,
            organization_id=caller.organization_id,
            workspace_id=caller.workspace_id,
            user_id=caller.user_id,
            api_key_id=caller.api_key_id,
            principals=caller.principals,
            question=question,
            prompt_version=self.prompt_version,
            model=answer.model,
            settings=settings,
            retrieved=tuple(
                RetrievedPassage(p.chunk_id, p.document_id, p.version_id, p.content_sha256, dict(p.scores))
                for p in self.passages
            ),
            answer=answer.text,
            citations=answer.citations,
            unsupported=answer.unsupported,
            is_refused=answer.is_refused,
            refusal_reason=answer.refusal_reason,
            confidence=answer.confidence,
            usage=answer.usage,
            timings_ms=answer.timings_ms,
            warnings=answer.warnings,
            trace_id=current_trace_id(),
            queries=tuple({"text": query.text, "way": query.way} for query in self.queries),
            is_cached=answer.is_cached,
        )
