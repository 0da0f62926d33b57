"""A caller who may read little finds as much in it as one who may read everything finds in all (a hundredth of the sizes)."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np
import pytest
from tests.db.conftest import Tenant, make_tenant
from tests.db.databases import another_database
from tests.db.search_plans import Matrix, Step, fill, plans_of, random_vectors

from ragecho.engines.fakes import FakeEmbedder
from ragecho.kernel.caller import Caller
from ragecho.library import search_sql
from ragecho.library.residency import SEARCHES_BEFORE_READING, ResidentIndexes
from ragecho.library.search import READING_BY_KEYS, PassageSearch, SearchMode, SearchTuning, vector_literal
from ragecho.library.search_route import Among, IndexState, Route, route_of
from ragecho.platform.database import Database, Query

pytestmark = pytest.mark.anyio

CHUNKS = 10_000
# As in a workspace of 100 000 chunks with the usual constants: large, and a tenth of it is few.
TUNING = SearchTuning(
    exact_below_chunks=2_000, few_chunks=1_200, candidate_cap=500, widest_cap=10_000, depth=50, vector_share=0.5
)
SHARES = {"most": 0.6, "tenth": 0.1, "hundredth": 0.01, "thousandth": 0.001}
WORDS = [f"word{n}" for n in range(400)]
QUESTIONS = 20


@dataclass(frozen=True, slots=True)
class Filled:
    tenant: Tenant
    ids: list[UUID]
    vectors: Matrix
    readers: list[list[str]]
    words: list[list[str]]

    def caller(self, share: str) -> Caller:
        return replace(self.tenant.member(), principals=(f"group:{share}", "user:none"))

    def readable(self, share: str) -> list[int]:
        return [place for place, labels in enumerate(self.readers) if f"group:{share}" in labels]


class Prepared:
    """An embedder whose questions' vectors are given."""

    def __init__(self, vectors: Matrix) -> None:
        self._vectors = vectors

    model, revision, dimensions = "fake", "1", 384

    def of(self, space: object) -> "Prepared":
        return self

    async def embed_query(self, query: str) -> Matrix:
        return self._vectors[int(query.rsplit(maxsplit=1)[-1])]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def owner_url(owner_url: str) -> Iterator[str]:
    """A database of the module's own: its graph is built over these vectors alone."""
    with another_database(owner_url) as url:
        yield url


@pytest.fixture(scope="module")
async def filled(owner_url: str, anyio_backend: str) -> Filled:
    from ragecho.library.analysis import TermIds, terms_of

    database = Database(owner_url, pool_size=1)
    tenant = await make_tenant(database)
    await database.close()
    rng = random.Random(1)
    readers = [
        [*(f"group:{name}" for name, share in SHARES.items() if rng.random() < share), f"user:{n % 50}"]
        for n in range(CHUNKS)
    ]
    for name in SHARES:  # nobody is left without any
        readers[rng.randrange(CHUNKS)].append(f"group:{name}")
    # As words are in a language: the first in a third of all chunks, the last in a few.
    weights = [1 / (rank + 1) for rank in range(len(WORDS))]
    words = [sorted(set(rng.choices(WORDS, weights, k=12))) for _ in range(CHUNKS)]
    vectors = random_vectors(CHUNKS, seed=1)
    ids = TermIds(tenant.workspace_id)
    terms = [sorted(ids.of([stem for word in one for stem in terms_of(word)])) for one in words]
    return Filled(tenant, fill(owner_url, tenant, vectors, readers, terms), vectors, readers, words)


@pytest.mark.parametrize("share", [*SHARES, "everything"])
async def test_vectors_find_what_an_exact_scan_of_the_readable_finds(
    database: Database, filled: Filled, share: str
) -> None:
    questions = random_vectors(QUESTIONS, seed=2)
    search = PassageSearch(database, Prepared(questions), TUNING)  # type: ignore[arg-type]  # only questions are embedded
    caller = filled.tenant.worker() if share == "everything" else filled.caller(share)
    places = list(range(CHUNKS)) if share == "everything" else filled.readable(share)
    hits = wanted = 0
    for number, question in enumerate(questions):
        found = await search.search(caller, query=f"question {number}", k=10, mode=SearchMode.VECTOR)
        order = np.argsort(-(filled.vectors[places] @ question), kind="stable")[:10]
        exact = {filled.ids[places[place]] for place in order}
        hits += len(exact & {passage.chunk_id for passage in found.passages})
        wanted += len(exact)
    assert hits / wanted >= 0.95


@pytest.mark.parametrize("share", [*SHARES, "everything"])
async def test_memory_finds_what_an_exact_scan_of_the_readable_finds(
    database: Database, filled: Filled, share: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A tenth of the usual size: codes choose what is compared where most may be read, all is compared where little may be.
    monkeypatch.setattr("ragecho.library.resident_vectors.EXACT_UP_TO", 1_000)
    questions = random_vectors(QUESTIONS, seed=2)
    resident = ResidentIndexes(database, budget_bytes=64 << 20)
    search = PassageSearch(database, Prepared(questions), TUNING, resident=resident)  # type: ignore[arg-type]  # as above
    caller = filled.tenant.worker() if share == "everything" else filled.caller(share)
    for _ in range(SEARCHES_BEFORE_READING + 1):
        await search.search(caller, query="question 0", k=10, mode=SearchMode.VECTOR)
    await resident.settled()
    places = list(range(CHUNKS)) if share == "everything" else filled.readable(share)
    hits = wanted = 0
    for number, question in enumerate(questions):
        found = await search.search(caller, query=f"question {number}", k=10, mode=SearchMode.VECTOR)
        scores = filled.vectors[places] @ question
        order = np.argsort(-scores, kind="stable")[:10]
        exact = {filled.ids[places[place]] for place in order}
        hits += len(exact & {passage.chunk_id for passage in found.passages})
        wanted += len(exact)
        assert found.passages[0].scores["vector"] == pytest.approx(scores.max(), abs=2e-3)
    assert hits / wanted >= 0.98
    await search.close()


@pytest.mark.parametrize("share", SHARES)
async def test_words_find_what_ranking_all_that_is_readable_finds(
    database: Database, filled: Filled, share: str
) -> None:
    search = PassageSearch(database, Prepared(random_vectors(QUESTIONS, seed=2)), TUNING)  # type: ignore[arg-type]  # as above
    # Every readable chunk is ranked: what a cap could cost is gone.
    whole = PassageSearch(
        database,
        Prepared(random_vectors(QUESTIONS, seed=2)),  # type: ignore[arg-type]  # as above
        replace(TUNING, candidate_cap=10_000_000, widest_cap=10_000_000),
    )
    rng, hits, wanted = random.Random(3), 0, 0
    for _ in range(QUESTIONS):
        # As questions are: some words of one passage, frequent ones too.
        words = " ".join(rng.choices(filled.words[rng.choice(filled.readable(share))], k=6))
        found = await search.search(filled.caller(share), query=words, k=10, mode=SearchMode.LEXICAL)
        exact = await whole.search(filled.caller(share), query=words, k=10, mode=SearchMode.LEXICAL)
        # Equal scores are equally good: what counts is that nothing better was missed.
        last = exact.passages[-1].score if exact.passages else 0.0
        assert len(found.passages) == len(exact.passages)
        scores = sorted((p.scores["lexical"] for p in found.passages), reverse=True)
        best = sorted((p.scores["lexical"] for p in exact.passages), reverse=True)
        hits += sum(abs(one - other) < 1e-4 for one, other in zip(scores, best, strict=True))
        wanted += len(best)
        assert last >= 0
    assert hits / wanted >= 0.95


def the_query(filled: Filled, caller: Caller, route: Route, mode: str, filters: dict[str, object]) -> Query:
    from ragecho.library.analysis import TermIds

    statement, names = search_sql.search_statement(mode, route, dimensions=384, filters=frozenset(filters), share=0.5)
    parameters = {
        **filters,
        "workspace_id": caller.workspace_id,
        "space_id": filled.tenant.space.id,
        "limit": 10,
        "depth": TUNING.depth,
        "vector": vector_literal(filled.vectors[0]),
        "terms": TermIds(filled.tenant.workspace_id).of(["word300", "word310", "word1"]),
        "weights": [1.0, 1.0, 1.0],
        "candidate_cap": route.candidate_cap,
        "sees_all": caller.sees_all,
        "principals": list(caller.principals),
    }
    return statement, {name: parameters[name] for name in names}


def state_of(filled: Filled, readable: int) -> IndexState:
    return IndexState(filled.tenant.space.id, 384, CHUNKS, readable=readable, surely_readable=readable)


def pieces(plans: list[list[Step]]) -> dict[str, set[str | None]]:
    """Return the indexes that each of the pieces' partitions is read by; None stands for a scan of the whole table."""
    used: dict[str, set[str | None]] = {}
    for plan in plans:
        for step in plan:
            table = step.table or step.index or ""
            if table.startswith(("chunks_p", "chunk_vectors_p", "chunk_terms_p")) and step.kind != "Bitmap Heap Scan":
                partition = "_".join(table.split("_")[: 2 if table.startswith("chunks") else 3])
                used.setdefault(partition, set()).add(step.index)
    return used


@pytest.mark.parametrize(
    ("share", "vectors", "terms"),
    [
        ("everything", "embedding", {"terms"}),
        ("most", "embedding", {"terms"}),
        ("tenth", "readers", {"terms", "readers"}),
        ("hundredth", "readers", {"readers"}),
        ("thousandth", "readers", {"readers"}),
    ],
)
def test_the_plan_of_a_search_reads_by_the_indexes_it_was_made_for(
    filled: Filled, owner_url: str, share: str, vectors: str, terms: set[str]
) -> None:
    caller = filled.tenant.worker() if share == "everything" else filled.caller(share)
    readable = CHUNKS if share == "everything" else len(filled.readable(share))
    route = route_of(state_of(filled, readable), TUNING)
    used = pieces(plans_of(owner_url, caller, the_query(filled, caller, route, "hybrid", {})))
    assert len({name.rsplit("_p", 1)[1] for name in used}) == 1, f"one partition, the workspace's own: {used}"
    by_piece = {name.rsplit("_p", 1)[0]: indexes for name, indexes in used.items()}
    assert by_piece["chunks"] <= {index for index in by_piece["chunks"] if index and index.endswith("_pkey")}
    kinds = {_kind(index) for index in by_piece["chunk_vectors"]}
    assert kinds == {vectors, "pkey"}, "the side's own index, and the key where scores are looked up"
    assert {_kind(index) for index in by_piece["chunk_terms"]} <= terms
    assert None not in by_piece["chunk_terms"]


@pytest.mark.parametrize("settings", [{}, READING_BY_KEYS], ids=["planned anew", "as in a search"])
def test_what_memory_found_is_read_by_keys(filled: Filled, owner_url: str, settings: dict[str, str]) -> None:
    caller = filled.caller("most")
    statement = search_sql.held_statement(frozenset({"vector", "lexical"}))
    parameters = {
        "workspace_id": caller.workspace_id,
        "sees_all": False,
        "principals": list(caller.principals),
        "held_ids": filled.ids[:10],
        "held_scores": [1 - n / 10 for n in range(10)],
        "held_vector": [0.5] * 10,
        "held_lexical": [None] * 10,
    }
    plans = plans_of(owner_url, caller, (statement, parameters), settings)
    used = pieces(plans)
    assert [(name.rsplit("_p", 1)[0], {_kind(index) for index in indexes}) for name, indexes in used.items()] == [
        ("chunks", {"pkey"})
    ]
    (documents,) = ({step.index for step in plan if step.table == "documents"} for plan in plans)
    assert documents == {"documents_pkey"}


def _kind(index: str | None) -> str | None:
    if index is None:
        return None
    index = index.rstrip("0123456789")  # an index made anew gets a number
    names = {
        "embedding_idx": "embedding",
        "terms_idx": "terms",
        "reader_keys_idx": "readers",
        "document_id_idx": "documents",
    }
    return next(
        (kind for end, kind in names.items() if index.endswith(end)), "pkey" if index.endswith("pkey") else index
    )


def test_a_filter_that_leaves_little_is_read_by_documents(filled: Filled, owner_url: str) -> None:
    caller = filled.tenant.worker()
    with_documents = {"tags": ["none"]}
    route = route_of(state_of(filled, CHUNKS), TUNING, matching=3)
    assert (route.vector_among, route.lexical_among, route.candidate_cap) == (Among.DOCUMENTS, Among.DOCUMENTS, None)
    used = pieces(plans_of(owner_url, caller, the_query(filled, caller, route, "hybrid", with_documents)))
    for name, indexes in used.items():
        if name.startswith(("chunk_vectors", "chunk_terms")):
            assert {_kind(index) for index in indexes} <= {"documents", "pkey"}, used


def test_looking_a_workspaces_state_up_reads_keys_only(filled: Filled, owner_url: str) -> None:
    caller = filled.caller("tenth")
    parameters = {"workspace_id": caller.workspace_id, "principals": list(caller.principals)}
    (plan,) = plans_of(owner_url, caller, (search_sql.INDEX_STATE, parameters))
    assert "reader_counts_pkey" in {step.index for step in plan}


async def test_who_carries_many_labels_of_the_same_documents_is_counted(database: Database, filled: Filled) -> None:
    """Fifty labels name the same chunks again and again: their counts alone would say that nearly all can be read."""
    search = PassageSearch(database, FakeEmbedder(dimensions=384), replace(TUNING, few_chunks=7_000))
    caller = replace(filled.caller("most"), principals=("group:most", "group:tenth", "group:hundredth", "user:1"))
    await search.search(caller, query="heron", k=5)
    state = search._states[caller.workspace_id, caller.principals, False]
    exact = sum(1 for labels in filled.readers if set(labels) & set(caller.principals))
    assert state.readable == state.surely_readable == exact
