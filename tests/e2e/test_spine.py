"""From nothing to a proven answer, over HTTP, against the real process tree."""

import httpx
import pytest
from tests.e2e.conftest import Server, settled, upload
from tests.e2e.pdf import make_pdf

HANDBOOK = b"""# Harbour handbook

## Berthing fees

A yacht of up to ten metres pays 24 euro a night. Larger boats pay 3 euro for every further metre.

## Opening hours

The harbour office is open from 7 in the morning until 8 in the evening, from April to October.
"""
PAGE = b"""<!doctype html><html><head><title>Fuel dock</title><script>alert("no")</script></head><body>
<h1>Fuel dock</h1><p>Diesel is sold on weekdays between nine and five.</p><p>Petrol must be ordered a day ahead.</p>
</body></html>"""
PDF = make_pdf(
    "Chapter 1: Rules of the basin\n\nThe speed limit inside the basin is three knots.",
    "Chapter 2: Winter storage\n\nBoats are lifted out in the first week of November.\n"
    "The crane carries at most twelve tonnes.",
)


@pytest.fixture(scope="module")
def harbour(server: Server, key: str) -> dict[str, str]:
    """The three documents, ready."""
    with server.client(key) as client:
        accepted = upload(
            client,
            ("handbook.md", HANDBOOK),
            ("fuel.html", PAGE),
            ("rules.pdf", PDF),
            tags="harbour",
        )
        for one in accepted:
            assert settled(client, one["id"])["status"] == "ready"
        return {str(one["filename"]): str(one["id"]) for one in accepted}


@pytest.mark.parametrize(
    ("question", "filename", "page", "words"),
    [
        ("How much does a yacht of up to ten metres pay a night?", "handbook.md", None, "24 euro"),
        ("When is diesel sold?", "fuel.html", None, "weekdays between nine and five"),
        ("How many tonnes can the crane carry?", "rules.pdf", 2, "twelve tonnes"),
    ],
)
def test_an_answer_cites_file_page_and_exact_words(
    client: httpx.Client, harbour: dict[str, str], question: str, filename: str, page: int | None, words: str
) -> None:
    answer = client.post("/api/v1/ask", json={"question": question}).json()
    assert answer["refused"] is False, answer
    citation = answer["citations"][0]
    assert (citation["filename"], citation["page"], citation["verified"]) == (filename, page, True)
    assert citation["document_id"] == harbour[filename]
    assert words in citation["quote"]
    text = client.get(f"/api/v1/documents/{citation['document_id']}/text").text
    assert text[citation["start"] : citation["end"]] == citation["quote"]
    assert "[1]" in answer["answer"]
    record = client.get(f"/api/v1/answers/{answer['id']}").json()
    assert record["question"] == question


@pytest.mark.parametrize(
    "question", ["Who won the football world cup in 1974?", "What is the boiling point of tungsten?"]
)
def test_a_question_the_documents_do_not_answer_is_refused(
    client: httpx.Client, harbour: dict[str, str], question: str
) -> None:
    answer = client.post("/api/v1/ask", json={"question": question}).json()
    assert answer["refused"] is True, answer
    assert answer["refusal_reason"]
    assert answer["citations"] == []


@pytest.mark.parametrize("mode", ["hybrid", "vector", "lexical"])
def test_search_finds_the_passage_first(client: httpx.Client, harbour: dict[str, str], mode: str) -> None:
    found = client.post("/api/v1/search", json={"query": "winter storage crane", "k": 5, "mode": mode}).json()
    assert found["results"][0]["filename"] == "rules.pdf"
    assert found["timings_ms"]["total"] > 0


def test_scripts_of_a_page_are_not_text(client: httpx.Client, harbour: dict[str, str]) -> None:
    text = client.get(f"/api/v1/documents/{harbour['fuel.html']}/text").text
    assert "alert" not in text
    assert "Petrol must be ordered" in text


def test_a_cited_page_is_shown_with_its_words_marked(client: httpx.Client, harbour: dict[str, str]) -> None:
    answer = client.post("/api/v1/ask", json={"question": "How many tonnes can the crane carry?"}).json()
    citation = answer["citations"][0]
    page = f"/api/v1/documents/{citation['document_id']}/pages/{citation['page']}.png"
    plain = client.get(page, params={"width": 600})
    marked = client.get(page, params={"width": 600, "highlight": f"{citation['start']}-{citation['end']}"})
    assert plain.headers["content-type"] == marked.headers["content-type"] == "image/png"
    assert plain.content[:4] == marked.content[:4] == b"\x89PNG"
    assert plain.content != marked.content
    assert client.get(f"/api/v1/documents/{citation['document_id']}/pages/99.png").status_code == 404
    assert client.get(f"/api/v1/documents/{harbour['handbook.md']}/pages/1.png").status_code == 404
    assert client.get(page, params={"highlight": "x"}).status_code == 422


def test_the_same_bytes_again_are_the_same_document(client: httpx.Client, harbour: dict[str, str]) -> None:
    (again,) = upload(client, ("copy.md", HANDBOOK))
    assert again["duplicate_of"] == harbour["handbook.md"] == again["id"]
    assert again["job_id"] is None


def test_a_deleted_document_is_absent_from_the_next_answer(client: httpx.Client) -> None:
    (one,) = upload(client, ("secret.txt", b"The lighthouse keeper's parrot is called Zebedee."))
    settled(client, one["id"])
    question = {"question": "What is the lighthouse keeper's parrot called?"}
    assert "Zebedee" in client.post("/api/v1/ask", json=question).json()["answer"]
    assert client.delete(f"/api/v1/documents/{one['id']}").status_code == 204
    after = client.post("/api/v1/ask", json=question).json()
    assert "Zebedee" not in str(after)
    for path in ("", "/content", "/text", "/chunks"):
        assert client.get(f"/api/v1/documents/{one['id']}{path}").status_code == 404


def test_a_replaced_document_answers_from_the_new_version_and_never_from_both(client: httpx.Client) -> None:
    (one,) = upload(client, ("tide.txt", b"High water on Sunday is at ten past four in the afternoon."))
    settled(client, one["id"])
    replaced = client.put(
        f"/api/v1/documents/{one['id']}/content",
        files={"file": ("tide.txt", b"High water on Sunday is at half past five in the afternoon.")},
    )
    assert replaced.status_code == 202
    question = {"query": "When is high water on Sunday?", "k": 10}

    def texts() -> list[str]:
        results = client.post("/api/v1/search", json=question).json()["results"]
        return [hit["text"] for hit in results if hit["document_id"] == one["id"]]

    seen = texts()
    while "half past five" not in seen[0]:
        assert len(seen) == 1
        seen = texts()
    assert len(seen) == 1
    assert client.get(f"/api/v1/documents/{one['id']}").json()["version"] == 2


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.txt", b"", "empty"),
        ("noise.pdf", b"%PDF-1.4\nthis is not a PDF at all", "damaged"),
        ("program.txt", b"\x7fELF\x02\x01\x01\x00" + bytes(range(256)) * 8, "unsupported_type"),
    ],
)
def test_a_file_that_cannot_be_read_fails_alone_and_says_why(
    client: httpx.Client, name: str, content: bytes, reason: str
) -> None:
    (one,) = upload(client, (name, content))
    document = settled(client, one["id"])
    assert document["status"] == "failed"
    assert isinstance(document["error"], dict)
    assert document["error"]["code"] == reason
    job = client.get(f"/api/v1/jobs/{one['job_id']}").json()
    assert job["status"] == "failed"
    assert client.get("/health/ready").status_code == 200


def test_the_command_line_answers_with_a_citation(server: Server, key: str, harbour: dict[str, str]) -> None:
    shown = server.ragecho("ask", "How many tonnes can the crane carry?", env={"RAGECHO_API_KEY": key})
    assert "rules.pdf" in shown
    assert "twelve tonnes" in shown


def test_metrics_health_and_openapi_are_served(server: Server, harbour: dict[str, str], client: httpx.Client) -> None:
    client.post("/api/v1/ask", json={"question": "When is diesel sold?"})
    with server.client() as anonymous:
        assert anonymous.get("/health").json() == {"status": "ok"}
        ready = anonymous.get("/health/ready").json()
        assert ready["status"] == "ready"
        assert ready["checks"]["database"]["latency_ms"] >= 0
        metrics = anonymous.get("/metrics").text
        assert 'ragecho_answers_total{outcome="answered"}' in metrics
        assert 'ragecho_search_seconds_count{step="query"}' in metrics
        assert 'http_requests_total{method="POST",route="/api/v1/ask",status="200"}' in metrics
        assert anonymous.get("/openapi.json").json()["openapi"].startswith("3.1")
        assert anonymous.get("/health", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"


def test_no_log_line_holds_a_key_or_content(server: Server, key: str, harbour: dict[str, str]) -> None:
    log = "".join(server.log)
    assert "http.request" in log
    assert key not in log
    assert "twelve tonnes" not in log
