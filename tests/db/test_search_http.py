"""The search route: what may be chosen, and what is told besides the passages."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.db.app_driver import key_of, running
from tests.db.conftest import Tenant
from tests.db.library_driver import add_document
from tests.db.spelling import SpellingEmbedder

from ragecho.engines.fakes import FakeEmbedder
from ragecho.platform.database import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
def embedder() -> FakeEmbedder:
    return SpellingEmbedder(dimensions=384)


@pytest.fixture
async def http(
    owner_url: str, tmp_path: Path, embedder: FakeEmbedder, database: Database, tenant: Tenant
) -> AsyncIterator[httpx.AsyncClient]:
    key = await key_of(database, tenant, None)
    await add_document(
        database,
        tenant,
        embedder,
        "The heliotrope grows by the weir.",
        "Mills grind.",
        "Eels pass.",
        filename="garden.txt",
    )
    await add_document(database, tenant, embedder, "Another document.", "With the code ERR_CONN-4012 in it.")
    async with running(owner_url, tmp_path, embedder) as (_, client):
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


async def ask(http: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await http.post("/api/v1/search", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_what_happened_to_a_query_is_told(http: httpx.AsyncClient) -> None:
    found = await ask(http, query='heliotrpoe by the weir, ERR_CONN-4012, "no such phrase"')
    assert found["corrected"] == {"heliotrpoe": "heliotrope"}
    assert found["exact"] == [{"text": "no such phrase", "found": False}, {"text": "ERR_CONN-4012", "found": True}]
    assert found["scope"] is None
    assert found["results"][0]["text"] == "With the code ERR_CONN-4012 in it."
    plain = await ask(http, query="heliotrpoe by the weir", correct=False, exact=False)
    assert (plain["corrected"], plain["exact"]) == ({}, [])


async def test_a_result_grows_and_says_what_was_found_in_it(http: httpx.AsyncClient) -> None:
    found = await ask(http, query="heliotrope by the weir", k=1, expand="neighbours")
    [result] = found["results"]
    assert result["text"] == "The heliotrope grows by the weir.\n\nMills grind."
    [span] = result["matched"]
    assert result["text"][span["start"] - result["start"] : span["end"] - result["start"]].startswith("The heliotrope")
    [alone] = (await ask(http, query="heliotrope by the weir", k=1))["results"]
    assert alone["matched"] == []
    text = await http.get(f"/api/v1/documents/{result['document_id']}/text")
    assert text.text[result["start"] : result["end"]] == result["text"]


async def test_a_question_about_a_document_names_its_scope(http: httpx.AsyncClient) -> None:
    found = await ask(http, query="What is garden.txt about?", k=2)
    assert found["scope"] == "document"
    assert {result["filename"] for result in found["results"]} == {"garden.txt"}
    assert (await ask(http, query="What is garden.txt about?", broad=False))["scope"] is None
    found = await ask(http, query="which documents do we have about mills", k=5)
    assert found["scope"] == "documents"
    assert len({result["document_id"] for result in found["results"]}) == len(found["results"]) == 2


@pytest.mark.parametrize(
    "choice", [{"expand": "chapter"}, {"max_per_document": 0}, {"diversity": 2}, {"correct": "perhaps"}, {"unknown": 1}]
)
async def test_a_choice_that_cannot_be_is_refused(http: httpx.AsyncClient, choice: dict[str, Any]) -> None:
    answer = await http.post("/api/v1/search", json={"query": "x", **choice})
    assert answer.status_code == 422
