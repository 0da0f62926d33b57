"""From a question to a proven answer: guard, retrieve, judge, rerank, prompt, generate, cite and verify, record.

`ask` and `stream` run the same steps; the stream only listens in. No database session is open while a model works:
every call to the library and the record store is a transaction of its own.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from ragecho.ask.errors import UnknownModel
from ragecho.ask.model import (
    EXTRACTIVE,
    REFUSAL_TEXT,
    Answer,
    Answered,
    AskRequest,
    Event,
    PassagesFound,
    PassageSource,
    RecordStore,
    Status,
    Token,
)
from ragecho.ask.settings import AskSettings
from ragecho.ask.steps.answer_extractively import answer_extractively
from ragecho.ask.steps.cite import check_sentence, split_complete
from ragecho.ask.steps.contextualize import contextualize
from ragecho.ask.steps.guard import guard
from ragecho.ask.steps.judge_evidence import judge_evidence
from ragecho.ask.steps.prompt import REFUSAL_TOKEN, Prompt, build_prompt
from ragecho.ask.steps.rerank import rerank
from ragecho.ask.windows import ScoredWindow
from ragecho.ask.work import Work
from ragecho.ask.writer import AnswerWriter, Emit, SourceWithdrawn
from ragecho.audit.records import AnswerRecord, RetrievedPassage
from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import GenerationFailed, NotFound
from ragecho.kernel.ids import AnswerId, uuid7
from ragecho.platform.telemetry import current_trace_id, get_logger, span
from ragecho.platform.telemetry.metrics import count_answer
from ragecho.ports.embedder import Embedder
from ragecho.ports.generator import Generator
from ragecho.ports.reranker import Reranker

log = get_logger(__name__)

GENERATION_FAILED = "generation_failed"
_QUEUE = 64


class AskFlow:
    """Answers questions. Stateless apart from its collaborators; `generators` are tried in order, none means quoting."""

    def __init__(
        self,
        search: PassageSource,
        records: RecordStore,
        embedder: Embedder,
        reranker: Reranker | None,
        generators: Sequence[Generator] = (),
        *,
        settings: AskSettings | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._search = search
        self._records = records
        self._embedder = embedder
        self._reranker = reranker
        self._generators = tuple(generators)
        self._settings = settings or AskSettings()
        self._now = now

    @property
    def models(self) -> tuple[str, ...]:
        """The names that a request may give as `model`, the default first."""
        return tuple(dict.fromkeys([*[g.name for g in self._generators], EXTRACTIVE]))

    async def ask(self, caller: Caller, request: AskRequest) -> Answer:
        """Return the answer, recorded. Raises `Forbidden`, `InvalidInput`, `UnknownModel` and what the library raises."""
        return await self._answer(caller, request, _nobody)

    async def stream(self, caller: Caller, request: AskRequest) -> AsyncGenerator[Event]:
        """Yield what happens, `Answered` last. Raises like `ask`; closing the iterator stops the work."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(_QUEUE)

        async def work() -> Answer:
            try:
                return await self._answer(caller, request, queue.put)
            finally:
                # A full queue has a reader that will come back to an ended task.
                with suppress(asyncio.QueueFull):
                    queue.put_nowait(None)

        task = asyncio.create_task(work())
        try:
            while not (task.done() and queue.empty()):
                event = await queue.get()
                if event is None:
                    break
                yield event
            await task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task

    def check_model(self, model: str | None) -> None:
        """Raise `UnknownModel` unless a request may name this model."""
        self._wanted(model)

    async def record_of(self, caller: Caller, answer_id: AnswerId) -> AnswerRecord:
        """Return the record of an answer that the caller asked for. Raises `NotFound`."""
        caller.require(Permission.ANSWERS_READ)
        record = await self._records.get(caller, answer_id)
        if record is None:
            raise NotFound("There is no such answer.")
        return record

    async def _answer(self, caller: Caller, request: AskRequest, emit: Emit) -> Answer:
        started = time.perf_counter()
        caller.require(Permission.ANSWERS_READ)
        work = Work(caller, request, guard(request.question), emit)
        generators = self._wanted(request.model)
        with span("ask") as current:
            await self._find(work)
            try:
                await self._write(work, generators)
            except SourceWithdrawn:
                work.refusal = SourceWithdrawn.code
            current.set_attributes({"ask.model": work.model, "ask.is_refused": work.refusal is not None})
            work.timings_ms["total"] = round((time.perf_counter() - started) * 1e3, 3)
            answer = self._finished(work)
            with work.step("record"):
                await self._records.record(caller, self._record(work, answer))
        count_answer("refused" if answer.is_refused else "answered")
        log.info(
            "answer.refused" if answer.is_refused else "answer.generated",
            model=answer.model,
            reason=answer.refusal_reason,
            passages=len(work.passages),
            citations=len(answer.citations),
            duration_ms=work.timings_ms["total"],
        )
        if answer.is_refused:
            await emit(Token(answer.text))
        await emit(Answered(answer))
        return answer

    def _wanted(self, model: str | None) -> tuple[Generator, ...]:
        if model == EXTRACTIVE:
            return ()
        if model is None:
            return self._generators
        chosen = tuple(generator for generator in self._generators if generator.name == model)
        if not chosen:
            raise UnknownModel(f"There is no such model here; there are: {', '.join(self.models)}.")
        return chosen

    async def _find(self, work: Work) -> None:
        """Retrieve, judge, and put the passages in order."""
        request = work.request
        await work.emit(Status("retrieve"))
        with work.step("retrieve"):
            found = await self._search.search(
                work.caller,
                query=work.question,
                k=request.k or self._settings.ask_passages,
                mode=request.mode,
                wanted=request.wanted,
            )
        await work.emit(Status("judge"))
        with work.step("judge"):
            work.evidence = await judge_evidence(
                contextualize(work.question),
                found.passages,
                reranker=self._reranker,
                embedder_model=self._embedder.model,
                min_confidence=self._settings.ask_min_confidence,
            )
        with work.step("rerank"):
            work.passages, work.windows = rerank(
                found.passages, work.evidence.windows, is_reread=work.evidence.is_reread
            )

    async def _write(self, work: Work, generators: Sequence[Generator]) -> None:
        """Answer with the first generator that can, else by quoting; or set `refusal`."""
        evidence = work.evidence
        assert evidence is not None
        if not evidence.is_sufficient and not (generators and evidence.is_worth_asking):
            work.refusal = evidence.reason
            return
        await self._check_grants(work)
        if not work.passages:
            work.refusal = "no_passages"
            return
        await work.emit(PassagesFound(tuple(work.passages)))
        for generator in generators:
            await work.emit(Status("generate", {"model": generator.name}))
            try:
                await self._generate(work, generator)
            except GenerationFailed as error:
                log.warning("answer.generator_failed", model=generator.name, code=error.code)
                await self._void(work, f"{GENERATION_FAILED}:{generator.name}")
                continue
            return
        work.model = work.prompt_version = EXTRACTIVE
        if not evidence.is_sufficient:
            work.refusal = evidence.reason
            return
        await work.emit(Status("generate", {"model": EXTRACTIVE}))
        await self._quote(work)

    async def _check_grants(self, work: Work) -> None:
        """Drop what the caller may not read now, though the search found it a moment ago."""
        with work.step("recheck"):
            readable = await self._search.readable(work.caller, [passage.chunk_id for passage in work.passages])
        if all(passage.chunk_id in readable for passage in work.passages):
            return
        kept = [i for i, passage in enumerate(work.passages) if passage.chunk_id in readable]
        work.windows = [
            ScoredWindow(s.window.at(kept.index(s.window.passage)), s.score)
            for s in work.windows
            if s.window.passage in kept
        ]
        work.passages = [work.passages[i] for i in kept]

    async def _void(self, work: Work, warning: str) -> None:
        work.warnings.append(warning)
        if work.writer is not None and work.writer.has_evidence:
            await work.emit(Status("restart"))
        work.writer = None

    async def _generate(self, work: Work, generator: Generator) -> None:
        """Stream a generator's answer through the checks. Raises `GenerationFailed`."""
        with work.step("prompt"):
            prompt = build_prompt(
                work.question,
                work.passages,
                count_tokens=self._count_tokens,
                max_context_tokens=self._settings.ask_context_tokens,
            )
        work.model, work.prompt_version = generator.name, prompt.version
        work.writer = AnswerWriter(work.caller, prompt.passages, self._search, work.emit)
        try:
            with work.step("generate"):
                async with asyncio.timeout(self._settings.ask_generator_seconds):
                    is_declined = await self._read(work, generator, prompt, work.writer)
        except TimeoutError as error:
            raise GenerationFailed("The generator took too long.", model=generator.name) from error
        if is_declined:
            work.refusal = "no_evidence"
        elif not work.writer.has_evidence:
            work.refusal = "unsupported_answer"

    async def _read(self, work: Work, generator: Generator, prompt: Prompt, writer: AnswerWriter) -> bool:
        """Write the generated sentences as they are completed; True when the generator declined to answer."""
        buffer, has_words = "", False
        deltas = generator.stream(
            prompt.messages, max_tokens=self._settings.ask_max_tokens, temperature=self._settings.ask_temperature
        )
        async for delta in deltas:
            buffer += delta.text
            work.add(delta.usage)
            pieces, buffer = split_complete(buffer)
            for piece in pieces:
                if REFUSAL_TOKEN in piece and not has_words:
                    return True
                has_words = True
                await self._write_piece(piece, prompt, writer)
        if REFUSAL_TOKEN in buffer and not has_words:
            return True
        if not has_words and not buffer.strip():
            raise GenerationFailed("The generator said nothing.", model=generator.name)
        await self._write_piece(buffer, prompt, writer)
        return False

    async def _write_piece(self, piece: str, prompt: Prompt, writer: AnswerWriter) -> None:
        clean = piece.replace(REFUSAL_TOKEN, "")
        await writer.write(await check_sentence(clean, prompt.passages, reranker=self._reranker))

    async def _quote(self, work: Work) -> None:
        evidence = work.evidence
        assert evidence is not None
        reranker = self._reranker if evidence.is_reread else None
        with work.step("generate"):
            quotes = await answer_extractively(
                contextualize(work.question), work.passages, work.windows, reranker=reranker
            )
        work.writer = AnswerWriter(work.caller, work.passages, self._search, work.emit)
        with work.step("verify"):
            for quote in quotes:
                await work.writer.write(quote)
        if not work.writer.has_evidence:
            work.refusal = "no_evidence"

    def _count_tokens(self, text: str) -> int:
        return len(self._embedder.tokens.offsets([text])[0])

    def _finished(self, work: Work) -> Answer:
        writer = work.writer if work.refusal is None else None
        return Answer(
            id=AnswerId(uuid7()),
            text=writer.text if writer else REFUSAL_TEXT,
            citations=tuple(writer.citations) if writer else (),
            is_refused=writer is None,
            refusal_reason=work.refusal,
            confidence=work.evidence.confidence if work.evidence else 0.0,
            model=work.model,
            usage=work.usage,
            timings_ms=dict(work.timings_ms),
            unsupported=tuple(writer.unsupported) if writer else (),
            warnings=tuple(work.warnings),
        )

    def _record(self, work: Work, answer: Answer) -> AnswerRecord:
        caller = work.caller
        return AnswerRecord(
            id=answer.id,
            created_at=self._now(),
            organization_id=caller.organization_id,
            workspace_id=caller.workspace_id,
            user_id=caller.user_id,
            api_key_id=caller.api_key_id,
            principals=caller.principals,
            question=work.question,
            prompt_version=work.prompt_version,
            model=answer.model,
            settings=self._settings_of(work),
            retrieved=tuple(
                RetrievedPassage(p.chunk_id, p.document_id, p.version_id, p.content_sha256, dict(p.scores))
                for p in work.passages
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
        )

    def _settings_of(self, work: Work) -> dict[str, Any]:
        request = work.request
        return {
            "k": request.k or self._settings.ask_passages,
            "mode": str(request.mode),
            "filter": asdict(request.wanted),
            "requested_model": request.model,
            "embedder": self._embedder.model,
            "embedder_revision": self._embedder.revision,
            "reranker": self._reranker.model if self._reranker else None,
            "min_confidence": self._settings.ask_min_confidence,
            "context_tokens": self._settings.ask_context_tokens,
            "max_tokens": self._settings.ask_max_tokens,
            "temperature": self._settings.ask_temperature,
        }


async def _nobody(_: Event) -> None:
    """Listen to nothing."""
