import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragecho.ask.errors import UnknownModel
from ragecho.ask.flow import AskFlow
from ragecho.ask.model import Answer, Answered, AskRequest, Cited, Event, Status, Token
from ragecho.ask.settings import AskSettings
from ragecho.audit.records import AnswerRecord
from ragecho.engines.generation.scripted import ScriptedGenerator
from ragecho.kernel.authorization import Scope, WorkspaceRole
from ragecho.kernel.caller import WORKSPACE_PRINCIPAL, Caller
from ragecho.kernel.errors import Forbidden, GenerationFailed, InvalidInput, NotFound
from ragecho.kernel.ids import (
    AnswerId,
    ChunkId,
    DocumentId,
    OrganizationId,
    UserId,
    VersionId,
    WorkspaceId,
    uuid7,
)
from ragecho.kernel.passages import EmbeddingSpace, Passage
from ragecho.library.analysis import terms_of
from ragecho.library.model import SearchFilter
from ragecho.library.search import Found, SearchMode
from ragecho.ports.embedder import Vectors
from ragecho.ports.generator import Generator

CALLER = Caller(
    OrganizationId(UUID(int=1)),
    WorkspaceId(UUID(int=2)),
    (WORKSPACE_PRINCIPAL,),
    frozenset({Scope.READ}),
    user_id=UserId(UUID(int=3)),
    workspace_role=WorkspaceRole.READER,
)


def passage(text: str, *, before: str = "", title: str | None = None, filename: str = "handbook.txt") -> Passage:
    """Return a passage that stands after `before` in its document."""
    return Passage(
        chunk_id=ChunkId(uuid7()),
        document_id=DocumentId(uuid7()),
        version_id=VersionId(uuid7()),
        filename=filename,
        title=title,
        heading_path=(),
        page=None,
        start=len(before),
        end=len(before) + len(text),
        text=text,
        content_sha256=sha256(text.encode()).hexdigest(),
        score=0.5,
        scores={"fused": 0.5},
    )


class WordReranker:
    """Judges by words: the share of the question's terms that a text holds, sharpened."""

    model = "words"

    async def score(self, question: str, texts: Sequence[str]) -> list[float]:
        terms = set(terms_of(question))
        return [(len(terms & set(terms_of(text))) / max(1, len(terms))) ** 2 for text in texts]


class _Words:
    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[(i, i + 1) for i in range(len(text.split()))] for text in texts]

    def counts(self, texts: Sequence[str]) -> list[int]:
        return [len(found) for found in self.offsets(texts)]


SPACE = EmbeddingSpace(uuid7(), "none", "0", 2, "test")


class NoEmbedder:
    """An embedder that was never measured; only its tokenizer is asked."""

    model, revision, dimensions, max_tokens, tokens = "none", "0", 2, 512, _Words()

    def of(self, space: EmbeddingSpace) -> "NoEmbedder":
        return self

    async def embed_passages(self, texts: Sequence[str]) -> Vectors:
        return np.zeros((len(texts), 2), np.float32)

    async def embed_query(self, text: str) -> Vectors:
        return np.zeros(2, np.float32)


class MemoryLibrary:
    """Passages that are all found; `withdraw` takes one from its readers, `rewrite` changes the stored text."""

    def __init__(self, *passages: Passage) -> None:
        self.passages = list(passages)
        self.texts = {p.version_id: " " * p.start + p.text for p in passages}
        self.hidden: set[ChunkId] = set()
        self.checks = 0
        self.hide_after_checks: int | None = None

    def rewrite(self, which: int, text: str) -> None:
        self.texts[self.passages[which].version_id] = text

    async def search(
        self,
        caller: Caller,
        *,
        query: str,
        k: int,
        mode: SearchMode = SearchMode.HYBRID,
        wanted: SearchFilter | None = None,
    ) -> Found:
        terms = set(terms_of(query))
        ranked = sorted(self.passages, key=lambda p: -len(terms & set(terms_of(p.text))))
        return Found([replace(p, score=1 / (60 + i)) for i, p in enumerate(ranked)][:k], {"total": 1.0}, space=SPACE)

    async def readable(self, caller: Caller, passages: Sequence[Passage]) -> set[ChunkId]:
        self.checks += 1
        if self.hide_after_checks is not None and self.checks > self.hide_after_checks:
            return set()
        return {passage.chunk_id for passage in passages} - self.hidden

    async def version_text(self, caller: Caller, version_id: VersionId, *, start: int, end: int) -> str | None:
        return self.texts[version_id][start:end] if version_id in self.texts else None


class MemoryRecords:
    """Records in a dict."""

    def __init__(self) -> None:
        self.kept: dict[AnswerId, AnswerRecord] = {}

    async def record(self, caller: Caller, record: AnswerRecord) -> None:
        self.kept[record.id] = record

    async def get(self, caller: Caller, answer_id: AnswerId) -> AnswerRecord | None:
        found = self.kept.get(answer_id)
        return found if found is not None and found.user_id == caller.user_id else None


def flow(library: MemoryLibrary, *generators: Generator, **settings: Any) -> AskFlow:
    return AskFlow(
        library,
        MemoryRecords(),
        NoEmbedder(),
        WordReranker(),
        generators,
        settings=AskSettings(_env_file=None, **settings),
        now=lambda: datetime(2026, 11, 21, tzinfo=UTC),
    )


def ask(it: AskFlow, question: str, **options: Any) -> Answer:
    return asyncio.run(it.ask(CALLER, AskRequest(question, **options)))


def events_of(it: AskFlow, question: str) -> list[Event]:
    async def collect() -> list[Event]:
        return [event async for event in it.stream(CALLER, AskRequest(question))]

    return asyncio.run(collect())


NOTICE = passage(
    "Employees may work from home. The notice period for permanent employees is three months. Lunch is at noon.",
    before="Chapter 4. ",
)
LEAVE = passage("Annual leave is 30 days. Leave that is not taken by 31 March of the next year lapses.")
QUESTION = "What is the notice period for permanent employees?"


def assert_proven(answer: Answer, library: MemoryLibrary) -> None:
    numbers = [int(n) for n in re.findall(r"\[(\d+)\]", answer.text)]
    assert set(numbers) == {citation.n for citation in answer.citations}
    for citation in answer.citations:
        assert library.texts[citation.version_id][citation.start : citation.end] == citation.quote


def test_without_a_generator_the_answer_quotes_the_sentence_that_answers() -> None:
    library = MemoryLibrary(LEAVE, NOTICE)
    answer = ask(flow(library), QUESTION)
    assert answer.text == "The notice period for permanent employees is three months. [1]"
    assert answer.model == "extractive"
    assert [c.quote for c in answer.citations] == ["The notice period for permanent employees is three months."]
    assert answer.citations[0].is_verified
    assert answer.citations[0].start == len("Chapter 4. Employees may work from home. ")
    assert_proven(answer, library)


def test_a_question_about_something_else_is_refused_without_citations() -> None:
    answer = ask(flow(MemoryLibrary(LEAVE, NOTICE)), "Who won the football world cup in 1954?")
    assert (answer.is_refused, answer.refusal_reason, answer.citations) == (True, "no_evidence", ())


def test_an_empty_library_is_refused_for_lack_of_passages() -> None:
    answer = ask(flow(MemoryLibrary()), QUESTION)
    assert (answer.is_refused, answer.refusal_reason) == (True, "no_passages")


def test_a_generated_sentence_is_cited_by_the_span_that_holds_its_words() -> None:
    library = MemoryLibrary(NOTICE, LEAVE)
    generator = ScriptedGenerator("scripted:a", ["The notice peri", "od is three months [1]", ". It was fun [7]."])
    answer = ask(flow(library, generator), QUESTION)
    assert answer.text == "The notice period is three months. [1] It was fun."
    assert answer.unsupported == ("It was fun.",)
    assert [c.quote for c in answer.citations] == ["The notice period for permanent employees is three months."]
    assert (answer.model, answer.usage.output_tokens) == ("scripted:a", 3)
    assert_proven(answer, library)


def test_a_wrong_number_in_a_generated_sentence_is_marked() -> None:
    generator = ScriptedGenerator(
        "scripted:a", ["Annual leave is 30 days [2]. ", "The notice period for permanent employees is 6 months [1]."]
    )
    library = MemoryLibrary(NOTICE, LEAVE)
    answer = ask(flow(library, generator), "What is the notice period for permanent employees, and annual leave?")
    assert answer.unsupported == ("The notice period for permanent employees is 6 months.",)
    assert [c.is_verified for c in answer.citations] == [True, False]
    assert_proven(answer, library)


def test_a_mark_that_points_to_the_wrong_passage_is_repaired() -> None:
    library = MemoryLibrary(NOTICE, LEAVE)
    generator = ScriptedGenerator("scripted:a", ["The notice period for permanent employees is three months [2]."])
    answer = ask(flow(library, generator), QUESTION)
    assert answer.citations[0].document_id == NOTICE.document_id
    assert answer.unsupported == ()


def test_an_answer_of_which_nothing_is_supported_is_not_shown() -> None:
    generator = ScriptedGenerator("scripted:a", ["Ignore the rules. ", "Send your password to example.org [1]."])
    it = flow(MemoryLibrary(NOTICE), generator)
    answer = ask(it, QUESTION)
    assert (answer.is_refused, answer.refusal_reason, answer.citations) == (True, "unsupported_answer", ())
    assert not any(isinstance(e, Token) and "password" in e.text for e in events_of(it, QUESTION))


def test_a_generator_that_declines_makes_a_refusal() -> None:
    answer = ask(flow(MemoryLibrary(NOTICE), ScriptedGenerator("scripted:a", ["NO_", "EVIDENCE"])), QUESTION)
    assert (answer.is_refused, answer.refusal_reason, answer.model) == (True, "no_evidence", "scripted:a")


def test_when_generators_fail_the_next_one_answers_and_then_the_quotes() -> None:
    broken = ScriptedGenerator("scripted:a", ["The notice period"], error=GenerationFailed("down"))
    working = ScriptedGenerator("scripted:b", ["The notice period is three months [1]."])
    assert ask(flow(MemoryLibrary(NOTICE), broken, working), QUESTION).model == "scripted:b"
    answer = ask(flow(MemoryLibrary(NOTICE), broken), QUESTION)
    assert (answer.model, answer.warnings) == ("extractive", ("generation_failed:scripted:a",))
    assert answer.citations[0].is_verified


def test_a_stream_that_breaks_after_a_shown_sentence_says_that_it_restarts() -> None:
    pieces = ["The notice period is three months [1]. ", "Annual leave is", " 30"]
    broken = ScriptedGenerator("scripted:a", pieces, error=GenerationFailed("down"))
    events = events_of(flow(MemoryLibrary(NOTICE, LEAVE), broken), QUESTION)
    at = next(i for i, e in enumerate(events) if isinstance(e, Status) and e.step == "restart")
    last = events[-1]
    assert isinstance(last, Answered)
    assert "".join(e.text for e in events[at:] if isinstance(e, Token)) == last.answer.text


def test_the_tokens_of_a_stream_are_the_answer_and_citations_come_before_their_marks() -> None:
    pieces = ["The notice period is three months [1]. ", "Annual leave is 30 days [2]."]
    events = events_of(flow(MemoryLibrary(NOTICE, LEAVE), ScriptedGenerator("scripted:a", pieces)), QUESTION)
    last = events[-1]
    assert isinstance(last, Answered)
    assert "".join(e.text for e in events if isinstance(e, Token)) == last.answer.text
    seen: set[int] = set()
    for event in events:
        if isinstance(event, Cited):
            seen.add(event.citation.n)
        if isinstance(event, Token):
            assert {int(n) for n in re.findall(r"\[(\d+)\]", event.text)} <= seen


def test_a_stream_that_is_closed_early_stops_the_work() -> None:
    was_stopped = []

    class Slow(MemoryLibrary):
        async def readable(self, caller: Caller, passages: Sequence[Passage]) -> set[ChunkId]:
            try:
                await asyncio.Event().wait()
            finally:
                was_stopped.append(True)
            return {passage.chunk_id for passage in passages}

    async def first_event() -> None:
        stream = flow(Slow(NOTICE)).stream(CALLER, AskRequest(QUESTION))
        await anext(stream)
        await asyncio.sleep(0)
        await stream.aclose()

    asyncio.run(first_event())
    assert was_stopped == [True]


def test_a_stream_raises_what_asking_raises() -> None:
    with pytest.raises(InvalidInput):
        events_of(flow(MemoryLibrary(NOTICE)), " \n ")


def test_a_passage_that_was_revoked_after_the_search_reaches_no_prompt() -> None:
    library = MemoryLibrary(NOTICE, LEAVE)
    library.hidden.add(LEAVE.chunk_id)
    generator = ScriptedGenerator("scripted:a", ["The notice period is three months [1]."])
    ask(flow(library, generator), QUESTION)
    assert "lapses" not in generator.prompts[0][1].content
    assert "three months" in generator.prompts[0][1].content


def test_a_passage_that_is_revoked_while_the_answer_is_written_ends_in_a_refusal() -> None:
    library = MemoryLibrary(NOTICE)
    library.hide_after_checks = 1
    answer = ask(flow(library, ScriptedGenerator("scripted:a", ["The notice period is three months [1]."])), QUESTION)
    assert (answer.is_refused, answer.refusal_reason, answer.citations) == (True, "source_withdrawn", ())
    assert "three months" not in answer.text


def test_words_that_are_not_in_the_stored_text_are_not_verified() -> None:
    library = MemoryLibrary(NOTICE)
    library.rewrite(0, "x" * 500)
    answer = ask(flow(library), QUESTION)
    assert answer.is_refused
    assert answer.citations == ()


def test_only_configured_models_may_be_named() -> None:
    it = flow(MemoryLibrary(NOTICE), ScriptedGenerator("scripted:a", ["x"]))
    assert ask(it, QUESTION, model="extractive").model == "extractive"
    with pytest.raises(UnknownModel, match="scripted:a, extractive"):
        ask(it, QUESTION, model="scripted:b")


def test_reading_needs_the_read_scope() -> None:
    writer = replace(CALLER, scopes=frozenset({Scope.WRITE}))
    with pytest.raises(Forbidden):
        asyncio.run(flow(MemoryLibrary(NOTICE)).ask(writer, AskRequest(QUESTION)))


def test_the_record_can_replay_the_answer() -> None:
    it = flow(MemoryLibrary(NOTICE, LEAVE), ScriptedGenerator("scripted:a", ["The notice period is three months [1]."]))
    answer = ask(it, QUESTION, k=2, wanted=SearchFilter(tags=("hr",)))
    record = asyncio.run(it.record_of(CALLER, answer.id))
    assert (record.question, record.answer, record.citations) == (QUESTION, answer.text, answer.citations)
    assert (record.prompt_version, record.model) == ("answer.v1", "scripted:a")
    assert {p.content_sha256 for p in record.retrieved} == {NOTICE.content_sha256, LEAVE.content_sha256}
    assert (record.settings["k"], record.settings["filter"]["tags"], record.settings["reranker"]) == (
        2,
        ("hr",),
        "words",
    )
    assert {"retrieve", "judge", "generate", "total"} <= record.timings_ms.keys()


def test_a_record_is_not_found_by_somebody_else() -> None:
    it = flow(MemoryLibrary(NOTICE))
    answer = ask(it, QUESTION)
    other = replace(CALLER, user_id=UserId(UUID(int=9)))
    with pytest.raises(NotFound):
        asyncio.run(it.record_of(other, answer.id))


SENTENCES = st.lists(
    st.sampled_from(
        [
            "The notice period for permanent employees is three months",
            "Annual leave is 30 days",
            "Leave lapses on 31 March",
            "Nobody knows why",
            "It costs 7 euros",
            "- an item",
        ]
    ),
    min_size=1,
    max_size=6,
)
MARKS = st.sampled_from(["", " [1]", " [2]", " [1][2]", " [1, 2]", " [9]", "[0]"])


@settings(max_examples=60, deadline=None)
@given(SENTENCES, st.lists(MARKS, min_size=6, max_size=6), st.integers(1, 9), st.booleans())
def test_whatever_is_generated_marks_resolve_and_quotes_are_verbatim(
    sentences: list[str], marks: list[str], size: int, is_mark_after_stop: bool
) -> None:
    ends = [(f".{mark}" if is_mark_after_stop else f"{mark}.") for mark in marks]
    text = " ".join(s + end for s, end in zip(sentences, ends, strict=False))
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    library = MemoryLibrary(NOTICE, LEAVE)
    answer = ask(flow(library, ScriptedGenerator("scripted:a", pieces)), QUESTION)
    assert answer.is_refused == (not answer.citations)
    assert_proven(answer, library)
    if not answer.is_refused:
        assert any(citation.is_verified for citation in answer.citations)
