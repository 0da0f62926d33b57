"""Several wordings of one question: one read, one list, the same permissions."""

from typing import Any

import pytest
from tests.db.conftest import Tenant
from tests.db.library_driver import add_document

from ragecho.engines.fakes import FakeEmbedder
from ragecho.kernel.caller import Access
from ragecho.kernel.ids import UserId, uuid7
from ragecho.library.model import SearchFilter
from ragecho.library.query.queries import Query, Way
from ragecho.library.search import PassageSearch, SearchMode
from ragecho.platform.cache import MemoryCache
from ragecho.platform.database import Database

pytestmark = pytest.mark.anyio
WHOLE = Query("What do the heron and the crane eat?")
PARTS = (Query("heron breakfast", Way.DECOMPOSE), Query("crane supper", Way.DECOMPOSE))
MADE_UP = Query("otter river bank", Way.HYDE, embed_as_passage=True)


@pytest.fixture
def search(database: Database, embedder: FakeEmbedder) -> PassageSearch:
    return PassageSearch(database, embedder, cache=MemoryCache(max_bytes=1 << 20))


async def filled(database: Database, tenant: Tenant, embedder: FakeEmbedder) -> None:
    await add_document(database, tenant, embedder, "heron breakfast is fish", "crane supper is frogs", tags=("birds",))
    await add_document(database, tenant, embedder, "the otter sleeps on the river bank", tags=("mammals",))
    for number in range(12):
        await add_document(database, tenant, embedder, f"lorem ipsum number {number}")


async def test_each_wording_finds_its_own_and_they_become_one_list(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, search: PassageSearch
) -> None:
    await filled(database, tenant, embedder)
    found = await search.search_all(tenant.member(), queries=(WHOLE, *PARTS, MADE_UP), k=3)
    assert {one.text for one in found.passages} == {
        "heron breakfast is fish",
        "crane supper is frogs",
        "the otter sleeps on the river bank",
    }
    assert [one.score for one in found.passages] == sorted((one.score for one in found.passages), reverse=True)


async def test_they_are_asked_in_one_read_and_kept_together(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, search: PassageSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(database, tenant, embedder)
    await search.search(tenant.member(), query="which state the index is in", k=1)
    reads: list[int] = []
    read = database.read

    async def counted(caller: Any, *queries: Any, **options: Any) -> Any:
        reads.append(len(queries))
        return await read(caller, *queries, **options)

    monkeypatch.setattr(database, "read", counted)
    first = await search.search_all(tenant.member(), queries=(WHOLE, *PARTS), k=3)
    assert reads == [1 + 3], "the index's state and three searches"
    second = await search.search_all(tenant.member(), queries=(WHOLE, *PARTS), k=3)
    assert (second.is_cached, second.passages) == (True, first.passages)
    assert not (await search.search_all(tenant.member(), queries=(WHOLE, PARTS[0]), k=3)).is_cached


async def test_a_wording_opens_nothing_that_the_question_does_not(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, search: PassageSearch
) -> None:
    await filled(database, tenant, embedder)
    owner = UserId(uuid7())
    await add_document(database, tenant, embedder, "crane supper is secret", access=Access.PRIVATE, owner_id=owner)
    wordings = (WHOLE, *PARTS, MADE_UP)
    of_owner = await search.search_all(tenant.member(owner), queries=wordings, k=50)
    of_member = await search.search_all(tenant.member(UserId(uuid7())), queries=wordings, k=50)
    assert "crane supper is secret" in {one.text for one in of_owner.passages}
    assert "crane supper is secret" not in {one.text for one in of_member.passages}
    assert not (await search.search_all(tenant.stranger(), queries=wordings, k=50)).passages
    tagged = await search.search_all(tenant.member(), queries=wordings, k=50, wanted=SearchFilter(tags=("mammals",)))
    assert {one.text for one in tagged.passages} == {"the otter sleeps on the river bank"}


async def test_a_made_up_answer_is_searched_by_meaning_only(
    database: Database, tenant: Tenant, embedder: FakeEmbedder, search: PassageSearch
) -> None:
    await filled(database, tenant, embedder)
    queries = (Query("heron"), MADE_UP)
    by_words = await search.search_all(tenant.member(), queries=queries, k=50, mode=SearchMode.LEXICAL)
    assert {one.text for one in by_words.passages} == {"heron breakfast is fish"}
    (otter,) = [
        one
        for one in (await search.search_all(tenant.member(), queries=queries, k=50)).passages
        if one.text.startswith("the otter")
    ]
    assert "lexical" not in otter.scores
