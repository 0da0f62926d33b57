"""An answer that is kept is never older than the index, never somebody else's, and always has a record of its own."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import text
from tests.db.conftest import Tenant
from tests.db.library_driver import add_document
from tests.db.people import add_group, add_person, run

from ragecho.ask.caching import AnswerCache, key_of
from ragecho.ask.drafts import Draft
from ragecho.ask.flow import AskFlow
from ragecho.ask.model import Answer, Answered, AskRequest, Cited, Event, Token
from ragecho.ask.settings import AnswersKept, AskSettings
from ragecho.audit.store import AnswerRecords
from ragecho.engines.fakes import FakeEmbedder, FakeGenerator, FakeReranker
from ragecho.kernel.caller import Access, Caller, group_principal
from ragecho.kernel.errors import GenerationFailed
from ragecho.kernel.ids import DocumentId, GroupId, uuid7
from ragecho.library import service, store_chunks, store_index
from ragecho.library.caching import IndexVersion
from ragecho.library.model import NamedReaders, SearchFilter
from ragecho.library.search import PassageSearch
from ragecho.platform.cache import MemoryCache
from ragecho.platform.database import Database
from ragecho.platform.telemetry.metrics import CACHE_LOOKUPS
from ragecho.ports.generator import Delta, Generator, Message

pytestmark = pytest.mark.anyio
QUESTION = "How many coins does the heron keeper earn?"
FACT = "The heron keeper earns nineteen coins."


@pytest.fixture
def memory(anyio_backend: str) -> MemoryCache:
    return MemoryCache(max_bytes=1 << 22)


def flow_of(
    database: Database,
    embedder: FakeEmbedder,
    memory: MemoryCache | None,
    *generators: Generator,
    source: PassageSearch | None = None,
) -> AskFlow:
    return AskFlow(
        source or PassageSearch(database, embedder, cache=memory),
        AnswerRecords(database),
        embedder,
        FakeReranker(),
        generators,
        cache=AnswerCache(memory, ttl_seconds=600) if memory is not None else None,
        settings=AskSettings(_env_file=None, answer_cache=AnswersKept.ALL),
    )


@pytest.fixture
def flow(database: Database, embedder: FakeEmbedder, memory: MemoryCache) -> AskFlow:
    return flow_of(database, embedder, memory)


class Held:
    """A generator that counts its answers and waits until the test lets it go on."""

    name = "test:held"

    def __init__(self) -> None:
        self.answers = 0
        self.has_begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float = 0.0
    ) -> AsyncIterator[Delta]:
        self.answers += 1
        self.has_begun.set()
        await self.may_end.wait()
        yield Delta("The heron keeper earns nineteen coins [1].")


class Counting:
    """A generator that counts its answers, and fails the first time if it is told to."""

    name = "test:counting"

    def __init__(self, *, fails: bool = False) -> None:
        self.answers = 0
        self._fails = fails

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float = 0.0
    ) -> AsyncIterator[Delta]:
        self.answers += 1
        if self._fails and self.answers == 1:
            raise GenerationFailed("down")
        yield Delta("The heron keeper earns nineteen coins [1].")


async def ask(flow: AskFlow, caller: Caller, question: str = QUESTION, **options: object) -> Answer:
    return await flow.ask(caller, AskRequest(question, **options))  # type: ignore[arg-type]  # any of its fields


async def until(condition: Callable[[], object]) -> None:
    """Let the others run until it is so."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for is other tasks' own counting, which tells nobody
            await asyncio.sleep(0)


def lookups(outcome: str) -> float:
    return CACHE_LOOKUPS.labels("answer", outcome)._value.get()


async def test_the_same_question_is_answered_from_the_cache_with_a_record_of_its_own(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, memory: MemoryCache
) -> None:
    await add_document(database, tenant, embedder, FACT)
    generator = Counting()
    flow, user = flow_of(database, embedder, memory, generator), tenant.member(await add_person(database, tenant))
    hits, misses = lookups("hit"), lookups("miss")
    first, second = await ask(flow, user), await ask(flow, user)
    assert (first.is_cached, second.is_cached, generator.answers) == (False, True, 1)
    assert (second.text, second.citations, second.queries) == (first.text, first.citations, first.queries)
    assert second.citations[0].is_verified
    assert (lookups("hit") - hits, lookups("miss") - misses) == (1, 1)
    assert second.usage.output_tokens == 0
    records = [await flow.record_of(user, answer.id) for answer in (first, second)]
    assert [record.is_cached for record in records] == [False, True]
    assert records[1].id != records[0].id
    assert records[1].retrieved == records[0].retrieved
    assert (await ask(flow, user, is_fresh=True)).is_cached is False
    assert generator.answers == 2


@pytest.mark.parametrize(
    "change", ["words", "number", "model", "filter", "history", "unwritten", "groups", "person", "all", "workspace"]
)
async def test_whatever_an_answer_depends_on_is_asked_anew(
    database: Database,
    tenant: Tenant,
    other_tenant: Tenant,
    embedder: FakeEmbedder,
    memory: MemoryCache,
    change: str,
) -> None:
    await add_document(database, tenant, embedder, FACT)
    flow, member = flow_of(database, embedder, memory, Counting()), tenant.member()
    await ask(flow, member)
    callers = {
        "groups": replace(member, principals=(*member.principals, group_principal(GroupId(uuid7())))),
        "person": tenant.member(await add_person(database, tenant)),
        "all": replace(member, sees_all=True),
        "workspace": replace(other_tenant.member(), principals=member.principals),
    }
    options: dict[str, object] = {
        "number": {"k": 3},
        "model": {"model": "extractive"},
        "filter": {"wanted": SearchFilter(tags=("none",))},
        "history": {"history": (("user", "Who is he?"),)},
        "unwritten": {"is_rewritten": False},
    }.get(change, {})  # type: ignore[assignment]  # each has values of its own kind
    answer = await ask(flow, callers.get(change, member), f"{QUESTION}?" if change == "words" else QUESTION, **options)
    assert not answer.is_cached
    assert answer.is_refused is (change in {"filter", "workspace"})


async def test_other_models_and_settings_have_answers_of_their_own(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, memory: MemoryCache
) -> None:
    await add_document(database, tenant, embedder, FACT)
    await ask(flow_of(database, embedder, memory), tenant.member())
    assert not (await ask(flow_of(database, embedder, memory, Counting()), tenant.member())).is_cached
    assert (await ask(flow_of(database, embedder, memory), tenant.member())).is_cached, (
        "another process, the same cache"
    )


Change = Callable[[Database, Tenant, FakeEmbedder, DocumentId], Awaitable[None]]


async def deleted(database: Database, tenant: Tenant, _embedder: FakeEmbedder, document: DocumentId) -> None:
    worker = tenant.worker()
    async with database.transaction(worker) as session:
        await service.delete_document(worker, session, document)


async def made_private(database: Database, tenant: Tenant, _embedder: FakeEmbedder, document: DocumentId) -> None:
    worker = tenant.worker()
    async with database.transaction(worker) as session:
        await service.change_document(worker, session, document, service.DocumentChange(access=Access.PRIVATE))


async def relabelled(database: Database, tenant: Tenant, _embedder: FakeEmbedder, document: DocumentId) -> None:
    worker = tenant.worker()
    async with database.transaction(worker) as session:
        await store_chunks.relabel_chunks(session, worker, document, ["user:somebody"])


async def repaired(database: Database, tenant: Tenant, _embedder: FakeEmbedder, document: DocumentId) -> None:
    worker = tenant.worker()
    async with database.transaction(worker) as session:
        await session.execute(text("update documents set readers = '{user:somebody}' where id = :id"), {"id": document})
        await store_index.copy_readers(session, worker)


async def forgotten(database: Database, tenant: Tenant, _embedder: FakeEmbedder, document: DocumentId) -> None:
    """Whatever writes to documents, an operator at the database included."""
    async with database.transaction(tenant.worker()) as session:
        await session.execute(text("delete from documents where id = :id"), {"id": document})


async def replaced(database: Database, tenant: Tenant, embedder: FakeEmbedder, document: DocumentId) -> None:
    await deleted(database, tenant, embedder, document)
    await add_document(database, tenant, embedder, "The heron keeper earns seven coins.")


@pytest.mark.parametrize("change", [deleted, made_private, relabelled, repaired, forgotten, replaced])
async def test_what_may_not_be_seen_any_more_is_absent_from_the_very_next_answer(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, flow: AskFlow, change: Change
) -> None:
    document = await add_document(database, tenant, embedder, FACT)
    assert "nineteen" in (await ask(flow, tenant.member())).text
    assert (await ask(flow, tenant.member())).is_cached
    await change(database, tenant, embedder, document)
    now = await ask(flow, tenant.member())
    assert not now.is_cached
    assert "nineteen" not in now.text
    assert ("seven" in now.text) is (change is replaced)


async def test_a_tag_that_was_given_or_taken_counts_in_the_very_next_answer(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, flow: AskFlow
) -> None:
    document = await add_document(database, tenant, embedder, FACT, tags=("wages",))
    wanted, worker = SearchFilter(tags=("wages",)), tenant.worker()
    for tags, is_answered in ((("other",), False), (("wages",), True)):
        async with database.transaction(worker) as session:
            await service.change_document(worker, session, document, service.DocumentChange(tags=tags))
        for is_cached in (False, True):
            answer = await ask(flow, tenant.member(), wanted=wanted)
            assert (answer.is_refused, answer.is_cached) == (not is_answered, is_cached)


@pytest.mark.parametrize("end", ["workspace_members", "group_members", "organization_members"])
async def test_a_right_that_ended_since_the_caller_was_recognised_counts_for_a_kept_answer_too(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, flow: AskFlow, end: str
) -> None:
    """The index has not moved, and the caller still carries the group: what it is now is asked of the database."""
    user = await add_person(database, tenant)
    group = await add_group(database, tenant, user)
    caller = replace(tenant.member(user), principals=(group_principal(group),))
    document = await add_document(database, tenant, embedder, FACT, access=Access.PRIVATE)
    worker = tenant.worker()
    async with database.transaction(worker) as session:
        named = NamedReaders(groups=(group,))
        await service.change_document(worker, session, document, service.DocumentChange(named=named))
    assert "nineteen" in (await ask(flow, caller)).text
    assert (await ask(flow, caller)).is_cached
    await run(database, tenant, f"delete from {end} where user_id = :user", user=user)
    for _ in range(2):
        gone = await ask(flow, caller)
        assert (gone.is_refused, gone.citations, gone.is_cached) == (True, (), False)
    if end == "group_members":
        await run(
            database,
            tenant,
            "insert into group_members (organization_id, group_id, user_id) values (:organization, :group, :user)",
            group=group,
            user=user,
        )
        assert "nineteen" in (await ask(flow, caller)).text, "a refusal of a moment is not kept"


async def test_a_refusal_for_want_of_documents_ends_with_the_document(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, flow: AskFlow
) -> None:
    for is_cached in (False, True):
        answer = await ask(flow, tenant.member())
        assert (answer.refusal_reason, answer.is_cached) == ("no_passages", is_cached)
    await add_document(database, tenant, embedder, FACT)
    assert "nineteen" in (await ask(flow, tenant.member())).text


@pytest.mark.parametrize("lie", ["readers", "quote"])
async def test_a_cache_that_lies_opens_nothing(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, memory: MemoryCache, flow: AskFlow, lie: str
) -> None:
    """Whoever can write to the cache, or breaks its keys: sources are read again for whoever asks."""
    owner, member = tenant.member(await add_person(database, tenant)), tenant.member()
    is_private = lie == "readers"
    await add_document(
        database,
        tenant,
        embedder,
        FACT,
        access=Access.PRIVATE if is_private else Access.WORKSPACE,
        owner_id=owner.user_id,
    )
    kept: list[tuple[IndexVersion, Draft]] = []

    class Listening(AnswerCache):
        async def put(self, key: str, index: IndexVersion, draft: Draft) -> None:
            kept.append((index, draft))

    flow._cache = Listening(memory, ttl_seconds=600)
    assert "nineteen" in (await ask(flow, owner)).text
    ((index, draft),) = kept
    if lie == "quote":
        draft = replace(draft, citations=(replace(draft.citations[0], quote="The keeper earns a million."),))
    flow._cache = AnswerCache(memory, ttl_seconds=600)
    await flow._cache.put(key_of(member, QUESTION, AskRequest(QUESTION), flow._depends_on(())), index, draft)
    answer = await ask(flow, member)
    assert not answer.is_cached
    assert answer.is_refused is is_private
    assert all(citation.quote == FACT for citation in answer.citations)


async def test_an_answer_for_which_something_failed_is_not_kept(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, memory: MemoryCache
) -> None:
    await add_document(database, tenant, embedder, FACT)
    generator = Counting(fails=True)
    flow = flow_of(database, embedder, memory, generator)
    first, second, third = [await ask(flow, tenant.member()) for _ in range(3)]
    assert (first.model, first.warnings) == ("extractive", ("generation_failed:test:counting",))
    assert (second.model, second.is_cached, third.is_cached, generator.answers) == ("test:counting", False, True, 2)


async def test_an_answer_that_nothing_supported_is_not_kept(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, memory: MemoryCache
) -> None:
    await add_document(database, tenant, embedder, FACT)
    flow = flow_of(database, embedder, memory, FakeGenerator("Pigs can fly over the moon [1]."))
    for _ in range(2):
        answer = await ask(flow, tenant.member())
        assert (answer.refusal_reason, answer.is_cached) == ("unsupported_answer", False)


async def test_the_same_question_at_the_same_moment_is_answered_once_and_recorded_for_each(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, memory: MemoryCache
) -> None:
    await add_document(database, tenant, embedder, FACT)
    generator = Held()
    flow, user = flow_of(database, embedder, memory, generator), tenant.member(await add_person(database, tenant))
    asked = [asyncio.ensure_future(ask(flow, user)) for _ in range(4)]
    assert flow._cache is not None
    flights = flow._cache._flights
    await until(lambda: set(flights._waiting.values()) == {4})
    asked[0].cancel()  # who began it may leave: the others still wait for it
    generator.may_end.set()
    answers = await asyncio.gather(*asked[1:])
    assert generator.answers == 1
    assert {answer.text for answer in answers} == {f"{FACT} [1]"}
    assert len({answer.id for answer in answers}) == 3
    for answer in answers:
        assert (await flow.record_of(user, answer.id)).answer == answer.text


async def test_who_asks_after_a_deletion_does_not_join_what_began_before_it(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, memory: MemoryCache
) -> None:
    document = await add_document(database, tenant, embedder, FACT)
    generator = Held()
    flow = flow_of(database, embedder, memory, generator)
    first = asyncio.ensure_future(ask(flow, tenant.member()))
    await asyncio.wait_for(generator.has_begun.wait(), 30)
    await deleted(database, tenant, embedder, document)
    second = asyncio.ensure_future(ask(flow, tenant.member()))
    generator.may_end.set()
    assert (await first).refusal_reason == "source_withdrawn"
    assert (await second).refusal_reason == "no_passages"
    assert "nineteen" not in (await ask(flow, tenant.member())).text


async def test_who_joined_what_is_withdrawn_while_it_is_written_is_not_shown_it(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, memory: MemoryCache
) -> None:
    """The answer is ready, and before the one who joined has it, its document goes."""
    document = await add_document(database, tenant, embedder, FACT)
    generator = Held()
    flow = flow_of(database, embedder, memory, generator)
    assert flow._cache is not None
    put = flow._cache.put

    async def put_and_delete(key: str, index: IndexVersion, draft: Draft) -> None:
        await put(key, index, draft)
        if not draft.refusal:
            await deleted(database, tenant, embedder, document)

    flow._cache.put = put_and_delete  # type: ignore[method-assign]  # the moment between answer and reader
    asked = [asyncio.ensure_future(ask(flow, tenant.member())) for _ in range(2)]
    flights = flow._cache._flights
    await until(lambda: set(flights._waiting.values()) == {2})
    generator.may_end.set()
    answers = await asyncio.gather(*asked)
    assert sorted(answer.is_refused for answer in answers) == [False, True]


async def events_of(flow: AskFlow, caller: Caller) -> list[Event]:
    return [event async for event in flow.stream(caller, AskRequest(QUESTION))]


async def test_a_stream_tells_of_a_kept_answer_as_of_any_other(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, flow: AskFlow
) -> None:
    await add_document(database, tenant, embedder, FACT)
    await ask(flow, tenant.member())
    events = await events_of(flow, tenant.member())
    last = events[-1]
    assert isinstance(last, Answered)
    assert last.answer.is_cached
    assert "".join(event.text for event in events if isinstance(event, Token)) == last.answer.text
    cited = [event.citation for event in events if isinstance(event, Cited)]
    assert tuple(cited) == last.answer.citations
    assert events.index(Cited(cited[0])) < next(i for i, event in enumerate(events) if isinstance(event, Token))


async def test_a_stream_that_is_closed_takes_nobody_else_with_it(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, memory: MemoryCache
) -> None:
    await add_document(database, tenant, embedder, FACT)
    generator = Held()
    flow = flow_of(database, embedder, memory, generator)
    stream = flow.stream(tenant.member(), AskRequest(QUESTION))
    await anext(stream)
    asked = asyncio.ensure_future(ask(flow, tenant.member()))
    await asyncio.wait_for(generator.has_begun.wait(), 30)
    await stream.aclose()
    generator.may_end.set()
    assert "nineteen" in (await asked).text


async def test_it_can_be_switched_off(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, memory: MemoryCache
) -> None:
    await add_document(database, tenant, embedder, FACT)
    flow = AskFlow(
        PassageSearch(database, embedder),
        AnswerRecords(database),
        embedder,
        FakeReranker(),
        cache=AnswerCache(memory, ttl_seconds=600),
        settings=AskSettings(_env_file=None, answer_cache=AnswersKept.NONE),
    )
    assert [(await ask(flow, tenant.member())).is_cached for _ in range(2)] == [False, False]


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_in_between_an_answer_from_the_cache_is_the_one_that_would_be_given_now(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, flow: AskFlow, seed: int
) -> None:
    """The property of all of the above: any order of changes and questions, with a cache and without."""
    chance = random.Random(seed)
    plain = flow_of(database, embedder, None)
    people = [tenant.member(await add_person(database, tenant)) for _ in range(2)]
    there: list[DocumentId] = []
    changes: list[Change] = [deleted, made_private, relabelled, repaired, forgotten]
    cached = 0
    for step in range(40):
        if not there or chance.random() < 0.15:
            owner = chance.choice(people)
            access = chance.choice([Access.WORKSPACE, Access.PRIVATE])
            words = f"The heron keeper earns {step} coins."
            there.append(await add_document(database, tenant, embedder, words, access=access, owner_id=owner.user_id))
        elif chance.random() < 0.15:
            change = chance.choice(changes)
            document = chance.choice(there)
            await change(database, tenant, embedder, document)
            if change in (deleted, forgotten):
                there.remove(document)
        person, k = chance.choice(people), chance.choice([1, 8])
        kept, now = await ask(flow, person, k=k), await ask(plain, person, k=k)
        cached += kept.is_cached
        assert (kept.text, kept.refusal_reason) == (now.text, now.refusal_reason)
        assert [one.quote for one in kept.citations] == [one.quote for one in now.citations]
    assert cached > 3, "the test is worth something only where answers came from the cache"


async def test_what_a_language_model_wrote_is_kept_only_where_that_is_wanted(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, memory: MemoryCache
) -> None:
    await add_document(database, tenant, embedder, FACT)
    asked: list[AnswersKept] = []
    for kept in AnswersKept:
        flow = AskFlow(
            PassageSearch(database, embedder),
            AnswerRecords(database),
            embedder,
            FakeReranker(),
            (FakeGenerator(f"{FACT} [1]."),),
            cache=AnswerCache(memory, ttl_seconds=600),
            settings=AskSettings(_env_file=None, answer_cache=kept),
        )
        if [(await ask(flow, tenant.member())).is_cached for _ in range(2)] == [False, True]:
            asked.append(kept)
    assert asked == [AnswersKept.ALL]
