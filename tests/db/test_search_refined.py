"""What follows the hot statement: exact forms, slips, repetitions, sections, broad questions; and nothing of what is hidden."""

from hashlib import sha256
from typing import Any

import pytest
from tests.db.conftest import Tenant
from tests.db.library_driver import add_document
from tests.db.spelling import SpellingEmbedder

from ragecho.engines.fakes import FakeEmbedder
from ragecho.ingest.steps.analyse import analyse
from ragecho.kernel.caller import Access, Caller, readers_of
from ragecho.kernel.ids import DocumentId, UserId, VersionId, uuid7
from ragecho.kernel.parsed import Page
from ragecho.kernel.passages import ChunkSpan, Passage
from ragecho.library import store_chunks, store_uploads
from ragecho.library.model import IndexedVersion, SearchFilter, Version
from ragecho.library.query.options import Expand, Scope, SearchOptions
from ragecho.library.search import Found, PassageSearch, SearchMode, SearchTuning, vector_literal
from ragecho.platform.cache import MemoryCache
from ragecho.platform.database import Database, Query

pytestmark = pytest.mark.anyio


@pytest.fixture
def embedder() -> FakeEmbedder:
    return SpellingEmbedder(dimensions=384)


OWNER = UserId(uuid7())


@pytest.fixture
def search(database: Database, embedder: FakeEmbedder) -> PassageSearch:
    return PassageSearch(database, embedder)


async def ask(search: PassageSearch, caller: Caller, query: str, k: int = 5, **options: object) -> Found:
    return await search.search(caller, query=query, k=k, options=SearchOptions(**options))  # type: ignore[arg-type]  # as given


def texts(found: Found) -> list[str]:
    return [passage.text for passage in found.passages]


async def add_sections(
    database: Database,
    tenant: Tenant,
    embedder: FakeEmbedder,
    *sections: tuple[str, list[str]],
    access: Access = Access.WORKSPACE,
    filename: str = "book.pdf",
) -> tuple[DocumentId, str]:
    """Store a ready document of (heading, texts), two chunks on a page, and return its id and its text."""
    document_id, worker, readers = DocumentId(uuid7()), tenant.worker(), readers_of(access, owner_id=OWNER)
    whole, spans, pages = "", [], []
    for heading, bodies in sections:
        for body in bodies:
            if len(spans) % 2 == 0:
                pages.append(Page(len(pages) + 1, len(whole), len(whole)))
            start = len(whole)
            whole += body + "\n\n"
            spans.append(
                ChunkSpan(
                    len(spans), start, start + len(body), body, (heading,), len(pages), 10, f"{heading}\n\n{body}"
                )
            )
    vectors = await embedder.embed_passages([span.embedded_text for span in spans])
    rows = analyse(worker.workspace_id, spans, [vector_literal(vector) for vector in vectors], pages)
    async with database.transaction(worker) as session:
        await store_chunks.lock_index(session, worker)
        version = Version(
            VersionId(uuid7()), document_id, 1, filename, "text/plain", 1, sha256(whole.encode()).hexdigest()
        )
        await store_uploads.insert_documents(
            session,
            worker,
            [version],
            tags=(),
            metadata={},
            access=access,
            owner_id=None,
            readers=readers,
        )
        await store_chunks.store_parsed(session, worker, {version.id: (whole, "{}", "test")})
        indexed = IndexedVersion(document_id, version.id, readers, tuple(rows), pages=len(pages))
        await store_chunks.insert_versions(session, worker, space_id=tenant.space.id, versions=[indexed])
        await store_chunks.finish_versions(session, worker, [indexed])
    return document_id, whole


# Exact forms


async def test_a_code_is_found_among_many_that_share_all_its_parts(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    rows = [f"part AB-{a}.{b}/{c} AB {a} {b} {c}" for a in range(10, 15) for b in range(30, 35) for c in range(1, 5)]
    await add_document(database, tenant, embedder, *rows)
    await add_document(database, tenant, embedder, "The red valve is called AB-99.32/3 here. " + "It is a valve. " * 30)
    # What both sides find by themselves is too little to hold it.
    search = PassageSearch(database, embedder, SearchTuning(depth=5))
    found = await ask(search, tenant.member(), "AB-99.32/3", k=3)
    assert "AB-99.32/3" in found.passages[0].text
    assert found.passages[0].scores["exact"] == 1.0
    assert [(form.text, form.is_found) for form in found.facts.exact] == [("AB-99.32/3", True)]
    assert [passage.score for passage in found.passages] == sorted((p.score for p in found.passages), reverse=True)
    assert "vector" in found.passages[0].scores


async def test_a_phrase_that_stands_nowhere_is_said_to_and_the_usual_is_found(
    database: Database, tenant: Tenant, search: PassageSearch, embedder: FakeEmbedder
) -> None:
    await add_document(
        database, tenant, embedder, "The heron stood at the weir.", "Weirs hold water; herons fish there."
    )
    found = await ask(search, tenant.member(), 'where is "the heron at the weir"')
    assert [(form.text, form.is_found) for form in found.facts.exact] == [("the heron at the weir", False)]
    assert len(found.passages) == 2
    quoted = await ask(search, tenant.member(), 'where is "heron stood at"')
    assert quoted.facts.exact[0].is_found
    assert quoted.passages[0].text == "The heron stood at the weir."


@pytest.mark.parametrize("query", ['"the secret clause"', "code ZX-4711.8/15"])
async def test_nothing_tells_of_an_exact_form_in_what_others_keep(
    database: Database, tenant: Tenant, other_tenant: Tenant, embedder: FakeEmbedder, query: str
) -> None:
    hidden = "Here is the secret clause, by the code ZX-4711.8/15."
    await add_document(database, tenant, embedder, "The clause is public. The code is secret.")
    without = await ask(PassageSearch(database, embedder), tenant.member(), query)
    await add_document(database, tenant, embedder, hidden, access=Access.PRIVATE, owner_id=OWNER)
    await add_document(database, other_tenant, embedder, hidden)
    search = PassageSearch(database, embedder)
    found = await ask(search, tenant.member(), query)
    assert found.facts == without.facts
    assert not found.facts.exact[0].is_found
    assert texts(found) == texts(without)
    assert (await ask(search, tenant.member(OWNER), query)).facts.exact[0].is_found


async def test_an_exact_form_is_looked_for_within_the_filter_only(
    database: Database, tenant: Tenant, search: PassageSearch, embedder: FakeEmbedder
) -> None:
    await add_document(database, tenant, embedder, "The part XY-1234 is red.", tags=("old",))
    await add_document(database, tenant, embedder, "Parts are listed here.", tags=("new",))
    found = await search.search(tenant.member(), query="part XY-1234", k=5, wanted=SearchFilter(tags=("new",)))
    assert texts(found) == ["Parts are listed here."]
    assert not found.facts.exact[0].is_found


async def test_a_file_that_is_named_answers_before_others(
    database: Database, tenant: Tenant, search: PassageSearch, embedder: FakeEmbedder
) -> None:
    for number in range(8):
        await add_document(
            database, tenant, embedder, f"Travel is paid by the office {number}.", filename=f"r{number}.txt"
        )
    wanted = await add_document(database, tenant, embedder, "Nothing is paid.", filename="budget_2024.xlsx")
    found = await ask(search, tenant.member(), "is travel paid in budget_2024.xlsx", k=3)
    assert found.passages[0].document_id == wanted
    assert len(found.passages) == 3


# Slips


async def test_a_word_that_nothing_holds_is_searched_as_the_word_that_was_meant(
    database: Database, tenant: Tenant, search: PassageSearch, embedder: FakeEmbedder
) -> None:
    await add_document(database, tenant, embedder, "The heliotrope grows by the weir.")
    await add_document(database, tenant, embedder, "The weir holds the water of the mill.")
    found = await ask(search, tenant.member(), "where does the heliotrpoe grow by the weir")
    assert found.facts.corrected == {"heliotrpoe": "heliotrope"}
    assert found.passages[0].text == "The heliotrope grows by the weir."
    assert (await ask(search, tenant.member(), "heliotrpoe weir", correct=False)).facts.corrected == {}
    assert (await ask(search, tenant.member(), "heliotropes weir")).facts.corrected == {}


@pytest.mark.parametrize("mode", [SearchMode.HYBRID, SearchMode.LEXICAL])
async def test_a_single_slip_is_corrected_where_no_word_is_found_at_all(
    database: Database, tenant: Tenant, search: PassageSearch, embedder: FakeEmbedder, mode: SearchMode
) -> None:
    await add_document(database, tenant, embedder, *(f"Rules of number {n} for the mill." for n in range(40)))
    await add_document(database, tenant, embedder, "Die Öffnungszeiten der Mühle.")
    found = await search.search(tenant.member(), query="Ofnungszeiten", k=3, mode=mode)
    assert found.facts.corrected == {}  # two slips: no word of one slip is known
    found = await search.search(tenant.member(), query="Öffnungszieten", k=3, mode=mode)
    assert found.facts.corrected == {"Öffnungszieten": "öffnungszeiten"}
    assert found.passages[0].text == "Die Öffnungszeiten der Mühle."


async def test_no_correction_tells_a_word_that_only_others_may_read(
    database: Database, tenant: Tenant, other_tenant: Tenant, embedder: FakeEmbedder
) -> None:
    await add_document(database, tenant, embedder, "Plants grow by the weir.")
    await add_document(database, tenant, embedder, "The heliotrope is ours.", access=Access.PRIVATE, owner_id=OWNER)
    await add_document(database, other_tenant, embedder, "The heliotrope is theirs.")
    search = PassageSearch(database, embedder)
    for query in ("heliotrpoe", "heliotrpoe plants by the weir"):
        assert (await ask(search, tenant.member(), query)).facts.corrected == {}
    assert (await ask(search, tenant.member(OWNER), "heliotrpoe")).facts.corrected == {"heliotrpoe": "heliotrope"}


async def test_a_hidden_word_does_not_show_by_a_correction_that_fails_to_come(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    await add_document(database, tenant, embedder, "The zeppelon is a typing error of somebody.")
    before = await ask(PassageSearch(database, embedder), tenant.member(), "zeppelin")
    await add_document(database, tenant, embedder, "The zeppelin is secret.", access=Access.PRIVATE, owner_id=OWNER)
    after = await ask(PassageSearch(database, embedder), tenant.member(), "zeppelin")
    assert before.facts == after.facts
    assert before.facts.corrected == {"zeppelin": "zeppelon"}


async def test_a_frequent_word_is_no_slip_only_because_no_document_holds_it(
    database: Database, tenant: Tenant, search: PassageSearch, embedder: FakeEmbedder
) -> None:
    await add_document(database, tenant, embedder, "You may never stay at home.")
    found = await ask(search, tenant.member(), "may they stay at home with fever")
    assert found.facts.corrected == {}


# Repetitions


async def test_a_text_that_stands_everywhere_leaves_room_for_others(
    database: Database, tenant: Tenant, search: PassageSearch, embedder: FakeEmbedder
) -> None:
    for number in range(20):
        await add_document(database, tenant, embedder, "All rights reserved by the heron.", filename=f"{number}.txt")
    others = [f"The heron has rights of {word}." for word in ("water", "weirs", "mills")]
    await add_document(database, tenant, embedder, *others)
    found = await ask(search, tenant.member(), "rights reserved by the heron", k=4)
    assert sorted(texts(found)) == sorted(["All rights reserved by the heron.", *others])
    assert len({one.filename for one in found.facts.duplicates}) >= 15
    assert {one.of for one in found.facts.duplicates} == {found.passages[0].chunk_id}
    as_found = await ask(search, tenant.member(), "rights reserved by the heron", k=4, fold_duplicates=False)
    assert set(texts(as_found)) == {"All rights reserved by the heron."}


async def test_a_documents_share_may_be_bounded(
    database: Database, tenant: Tenant, search: PassageSearch, embedder: FakeEmbedder
) -> None:
    await add_document(database, tenant, embedder, *(f"The heron stands at weir {n}." for n in range(8)))
    small = await add_document(database, tenant, embedder, "A heron was drawn once.")
    found = await ask(search, tenant.member(), "heron stands at the weir", k=3, max_per_document=2)
    assert [passage.document_id for passage in found.passages].count(small) == 1
    assert len(found.passages) == 3


# What stands around


async def test_a_passage_grows_to_its_neighbours_or_its_section_and_stays_the_stored_text(
    database: Database, tenant: Tenant, search: PassageSearch, embedder: FakeEmbedder
) -> None:
    document, whole = await add_sections(
        database,
        tenant,
        embedder,
        ("One", ["Mills are old."]),
        ("Two", ["Weirs hold water.", "Herons eat frogs.", "Ducks sleep there.", "Eels pass by."]),
        ("Three", ["The end comes."]),
    )
    found = await ask(search, tenant.member(), "herons eat frogs", k=1)
    for how, first, last in (
        (Expand.NONE, "Herons", "frogs."),
        (Expand.NEIGHBOURS, "Weirs", "there."),
        (Expand.SECTION, "Weirs", "by."),
    ):
        [passage] = (await search.expand(tenant.member(), found, how)).passages
        assert passage.text.startswith(first)
        assert passage.text.endswith(last)
        assert passage.text == whole[passage.start : passage.end]
        assert passage.content_sha256 == sha256(passage.text.encode()).hexdigest()
        assert passage.document_id == document
        assert passage.chunk_id == found.passages[0].chunk_id
        # Two chunks stand on a page, and the herons are the third.
        assert passage.page_at(whole.index("Herons")) == 2
        if how is Expand.SECTION:
            assert [passage.page_at(whole.index(word)) for word in ("Weirs", "Ducks", "Eels")] == [1, 2, 3]


async def test_passages_of_one_section_become_one(
    database: Database, tenant: Tenant, search: PassageSearch, embedder: FakeEmbedder
) -> None:
    await add_sections(
        database, tenant, embedder, ("Herons", [f"Herons of kind {n}." for n in "abcd"]), ("Mills", ["A mill."])
    )
    found = await ask(search, tenant.member(), "herons of a kind", k=4)
    grown = await search.expand(tenant.member(), found, Expand.SECTION)
    assert len([passage for passage in grown.passages if passage.text.startswith("Herons")]) == 1
    spans = [span for passage in grown.passages for span in grown.matches[passage.chunk_id]]
    assert sorted(spans) == sorted((passage.start, passage.end) for passage in found.passages)


async def test_what_is_no_longer_readable_does_not_grow(
    database: Database, tenant: Tenant, search: PassageSearch, embedder: FakeEmbedder
) -> None:
    await add_sections(
        database, tenant, embedder, ("Two", ["Herons eat frogs.", "The secret is here."]), access=Access.PRIVATE
    )
    found = await ask(search, tenant.member(OWNER), "herons eat frogs", k=1)
    [passage] = (await search.expand(tenant.member(), found, Expand.SECTION)).passages
    assert "secret" not in passage.text


# Broad questions


async def a_book(database: Database, tenant: Tenant, embedder: FakeEmbedder, **more: object) -> DocumentId:
    sections = [
        (f"Chapter {n}", [f"Chapter {n} begins with topic {n}.", f"More on topic {n}.", f"Yet more on {n}."])
        for n in range(1, 5)
    ]
    document, _ = await add_sections(database, tenant, embedder, *sections, **more)  # type: ignore[arg-type]  # as given
    return document


@pytest.mark.parametrize(
    "query", ["What is book.pdf about?", "Fasse book.pdf zusammen", "总结一下 book.pdf", "résume book"]
)
async def test_a_question_about_a_document_gets_its_opening_and_the_beginnings_of_its_sections(
    database: Database, tenant: Tenant, search: PassageSearch, embedder: FakeEmbedder, query: str
) -> None:
    book = await a_book(database, tenant, embedder, filename="book.pdf" if "book.pdf" in query else "résume book.pdf")
    await add_document(database, tenant, embedder, "This book is about what a pdf is about.")
    found = await ask(search, tenant.member(), query, k=4)
    assert found.facts.scope is Scope.DOCUMENT
    assert {passage.document_id for passage in found.passages} == {book}
    assert [passage.text for passage in found.passages] == [f"Chapter {n} begins with topic {n}." for n in range(1, 5)]
    assert [passage.score for passage in found.passages] == sorted((p.score for p in found.passages), reverse=True)


async def test_a_filter_or_being_the_only_one_says_which_document_is_meant(
    database: Database, tenant: Tenant, search: PassageSearch, embedder: FakeEmbedder
) -> None:
    book = await a_book(database, tenant, embedder)
    assert (await ask(search, tenant.member(), "What is this document about?")).facts.scope is Scope.DOCUMENT
    await add_document(database, tenant, embedder, "Another one.")
    assert (await ask(search, tenant.member(), "What is this document about?")).facts.scope is None
    wanted = SearchFilter(documents=(book,))
    found = await search.search(tenant.member(), query="What is this about?", k=3, wanted=wanted)
    assert found.facts.scope is Scope.DOCUMENT
    assert found.passages[0].text == "Chapter 1 begins with topic 1."
    topic = await search.search(tenant.member(), query="What is topic 3 about?", k=3, wanted=wanted)
    assert topic.facts.scope is None


async def test_a_document_that_may_not_be_read_is_not_recognised_by_its_name(
    database: Database, tenant: Tenant, other_tenant: Tenant, search: PassageSearch, embedder: FakeEmbedder
) -> None:
    await a_book(database, tenant, embedder, access=Access.PRIVATE)
    await a_book(database, other_tenant, embedder)
    await add_document(database, tenant, embedder, "Something else.")
    found = await ask(search, tenant.member(), "What is book.pdf about?")
    assert found.facts.scope is None
    assert [form.is_found for form in found.facts.exact] == [False]
    assert texts(found) == ["Something else."]
    assert (await ask(search, tenant.member(OWNER), "What is book.pdf about?")).facts.scope is Scope.DOCUMENT


async def test_a_question_for_documents_gets_each_document_once(
    database: Database, tenant: Tenant, search: PassageSearch, embedder: FakeEmbedder
) -> None:
    await add_document(database, tenant, embedder, *(f"Heat pumps warm house {n}." for n in range(6)), filename="a.txt")
    await add_document(database, tenant, embedder, "A heat pump is quiet.", filename="b.txt")
    found = await ask(search, tenant.member(), "Which documents do I have about heat pumps?", k=5)
    assert found.facts.scope is Scope.DOCUMENTS
    assert [passage.filename for passage in found.passages] == ["a.txt", "b.txt"]


# Costs and caches


class Watched(Database):
    """Counts what is read."""

    reads = 0

    async def read(self, caller: Caller | None, *queries: Query, **options: Any):  # type: ignore[no-untyped-def]  # as its parent
        self.reads += 1
        return await super().read(caller, *queries, **options)


async def test_a_plain_question_is_one_round_trip(owner_url: str, tenant: Tenant, embedder: FakeEmbedder) -> None:
    database = Watched(owner_url, pool_size=1)
    try:
        await add_document(database, tenant, embedder, "The heron stood at the weir.", "Mills grind corn for bread.")
        search = PassageSearch(database, embedder)
        await ask(search, tenant.member(), "warm up")
        for query in ("where does the heron stand", "what grinds corn into excellent flour for the village's bread"):
            database.reads = 0
            await ask(search, tenant.member(), query)
            assert database.reads == 1, query
    finally:
        await database.close()


async def test_kept_results_tell_the_same_and_options_make_other_results(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    await add_document(database, tenant, embedder, "The heliotrope grows by the weir, see AB-1234.")
    search = PassageSearch(database, embedder, cache=MemoryCache(max_bytes=1 << 20))
    query = "heliotrpoe by the weir AB-1234"
    first = await ask(search, tenant.member(), query)
    again = await ask(search, tenant.member(), query)
    assert (first.is_cached, again.is_cached) == (False, True)
    assert first.facts == again.facts
    assert first.facts.corrected
    assert first.facts.exact
    other = await ask(search, tenant.member(), query, correct=False)
    assert not other.is_cached
    assert other.facts.corrected == {}


async def test_no_passages_no_steps(search: PassageSearch, tenant: Tenant) -> None:
    found = await ask(search, tenant.member(), 'anything "quoted" in a.txt?')
    nothing: list[Passage] = []
    assert found.passages == nothing
    assert (await search.expand(tenant.member(), found, Expand.SECTION)).passages == nothing
