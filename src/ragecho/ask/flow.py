"""From a question to a proven answer: guard, understand, retrieve, judge, rerank, prompt, generate, cite and verify, record.

`ask` and `stream` run the same steps; the stream only listens in. No database session is open while a model works:
every call to the library and the record store is a transaction of its own.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ragecho.ask.caching import AnswerCache, key_of
from ragecho.ask.drafts import Draft
from ragecho.ask.errors import UnknownModel
from ragecho.ask.finder import Finder
from ragecho.ask.model import (
    EXTRACTIVE,
    Answer,
    Answered,
    AskRequest,
    Cited,
    Event,
    PassagesFound,
    PassageSource,
    RecordStore,
    Status,
    Token,
)
from ragecho.ask.quoting import quotes_of
from ragecho.ask.settings import AnswersKept, AskSettings
from ragecho.ask.steps.cite import check_sentence, split_complete
from ragecho.ask.steps.guard import guard
from ragecho.ask.steps.prompt import REFUSAL_TOKEN, Prompt, build_prompt
from ragecho.ask.windows import ScoredWindow
from ragecho.ask.work import Work
from ragecho.ask.writer import AnswerWriter, Emit, SourceWithdrawn
from ragecho.audit.records import AnswerRecord
from ragecho.kernel.authorization import Permission
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import GenerationFailed, NotFound
from ragecho.kernel.ids import AnswerId
from ragecho.library.query.rewrite import QueryRewriter, Rewritten
from ragecho.platform.telemetry import get_logger, span
from ragecho.platform.telemetry.metrics import count_answer
from ragecho.ports.embedder import Embedders
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
        embedders: Embedders,
        reranker: Reranker | None,
        generators: Sequence[Generator] = (),
        *,
        rewriter: QueryRewriter | None = None,
        cache: AnswerCache | None = None,
        settings: AskSettings | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._search = search
        self._records = records
        self._settings = settings or AskSettings()
        self._finder = Finder(search, reranker, rewriter, self._settings)
        self._embedders = embedders
        self._reranker = reranker
        self._judge = self._finder.judge
        self._generators = tuple(generators)
        self._rewriter = rewriter
        self._cache = cache if self._settings.answer_cache is not AnswersKept.NONE else None
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
        question = guard(request.question)
        work = Work(caller, request, question, emit, Rewritten.unchanged(question))
        generators = self._wanted(request.model)
        with span("ask") as current:
            draft, is_cached = await self._drafted(work, generators)
            current.set_attributes(
                {"ask.model": draft.model, "ask.is_refused": draft.refusal is not None, "ask.is_cached": is_cached}
            )
            work.timings_ms["total"] = round((time.perf_counter() - started) * 1e3, 3)
            answer = draft.answer(work.timings_ms, is_cached=is_cached)
            settings = self._settings_of(request, draft)
            with work.step("record"):
                record = draft.record(caller, question, answer, settings, created_at=self._now())
                await self._records.record(caller, record)
        count_answer("cached" if is_cached else "refused" if answer.is_refused else "answered")
        log.info(
            "answer.refused" if answer.is_refused else "answer.generated",
            model=answer.model,
            reason=answer.refusal_reason,
            passages=len(draft.passages),
            citations=len(answer.citations),
            is_cached=is_cached,
            duration_ms=work.timings_ms["total"],
        )
        if answer.is_refused:
            await emit(Token(answer.text))
        await emit(Answered(answer))
        return answer

    async def _drafted(self, work: Work, generators: Sequence[Generator]) -> tuple[Draft, bool]:
        """Return what was answered before and still holds, or what is answered now; and whether it was before."""
        cache, request = self._cache, work.request
        if cache is None:
            return await self._draft(work, generators), False
        is_keeping = not generators or self._settings.answer_cache is AnswersKept.ALL
        with work.step("cache"):
            index = await self._search.index_version(work.caller)
            key = key_of(work.caller, work.question, request, self._depends_on(generators))
            kept = await cache.get(key, index) if is_keeping and not request.is_fresh else None
            is_hit = kept is not None and await self._still_holds(work.caller, kept)
            if is_keeping:
                cache.count(is_hit=is_hit)
        if kept is not None and is_hit:
            await _tell(kept, work.emit)
            return kept, True

        async def make() -> Draft:
            draft = await self._draft(work, generators)
            if is_keeping:
                await cache.put(key, index, draft)
            return draft

        # A stream shows its own work, which ends with it: nobody else can wait for that.
        if request.is_fresh or work.emit is not _nobody:
            return await make(), False
        draft, is_joined = await cache.once(key, index, make)
        if is_joined and not await self._still_holds(work.caller, draft):
            return await self._draft(work, generators), False
        return draft, is_joined

    async def _still_holds(self, caller: Caller, draft: Draft) -> bool:
        """Tell whether the caller may read every source now, and finds in it the words that were quoted."""
        chunks = {passage.chunk_id for passage in draft.passages}
        if chunks - await self._search.readable(caller, draft.passages):
            return False
        for one in draft.citations:
            stored = await self._search.version_text(caller, one.version_id, start=one.start, end=one.end)
            if stored != one.quote:
                return False
        return True

    async def _draft(self, work: Work, generators: Sequence[Generator]) -> Draft:
        await self._finder.find(work)
        try:
            await self._write(work, generators)
        except SourceWithdrawn:
            work.refusal = SourceWithdrawn.code
        return Draft.of(work)

    def _wanted(self, model: str | None) -> tuple[Generator, ...]:
        if model == EXTRACTIVE:
            return ()
        if model is None:
            return self._generators
        chosen = tuple(generator for generator in self._generators if generator.name == model)
        if not chosen:
            raise UnknownModel(f"There is no such model here; there are: {', '.join(self.models)}.")
        return chosen

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
            readable = await self._search.readable(work.caller, work.passages)
        if all(passage.chunk_id in readable for passage in work.passages):
            return
        work.is_momentary = True
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
                count_tokens=partial(self._count_tokens, work),
                max_context_tokens=self._settings.ask_context_tokens,
                earlier=[text for role, text in work.request.history if role == "user"],
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
        await writer.write(await check_sentence(clean, prompt.passages, reranker=self._judge))

    async def _quote(self, work: Work) -> None:
        evidence = work.evidence
        assert evidence is not None
        reranker = self._judge if evidence.is_reread else None
        with work.step("generate"):
            quotes = await quotes_of(work, reranker)
        work.writer = AnswerWriter(work.caller, work.passages, self._search, work.emit)
        with work.step("verify"):
            for quote in quotes:
                await work.writer.write(quote)
        if not work.writer.has_evidence:
            work.refusal = "no_evidence"

    def _count_tokens(self, work: Work, text: str) -> int:
        assert work.space is not None
        return self._embedders.of(work.space).tokens.counts([text])[0]

    def _depends_on(self, generators: Sequence[Generator]) -> dict[str, Any]:
        """Return what an answer depends on besides who asks what of which index."""
        return {
            "settings": self._settings.model_dump(),
            "generators": [generator.name for generator in generators],
            "reranker": self._reranker.model if self._reranker else None,
            "rewriter": self._rewriter.name if self._rewriter else None,
        }

    def _settings_of(self, request: AskRequest, draft: Draft) -> dict[str, Any]:
        space = draft.space
        return {
            "k": request.k or self._settings.ask_passages,
            "mode": str(request.mode),
            "filter": asdict(request.wanted),
            "history": [{"role": role, "text": text} for role, text in request.history],
            "requested_model": request.model,
            "embedder": space.model if space else None,
            "embedder_revision": space.revision if space else None,
            "dimensions": space.dimensions if space else None,
            "reranker": self._reranker.model if self._reranker else None,
            "rewriter": self._rewriter.name if self._rewriter and request.is_rewritten else None,
            "min_confidence": self._settings.ask_min_confidence,
            "context_tokens": self._settings.ask_context_tokens,
            "max_tokens": self._settings.ask_max_tokens,
            "temperature": self._settings.ask_temperature,
        }


async def _tell(draft: Draft, emit: Emit) -> None:
    """Tell a stream of an answer that was there before, in the order in which it would have been written."""
    await emit(Status("cache"))
    if draft.refusal is not None:
        return
    await emit(PassagesFound(draft.passages))
    for citation in draft.citations:
        await emit(Cited(citation))
    await emit(Token(draft.text))


async def _nobody(_: Event) -> None:
    """Listen to nothing."""
