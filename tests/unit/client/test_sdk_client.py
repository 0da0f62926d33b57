"""The client SDK over real HTTP, against the contract double (see conftest.py)."""

import asyncio
import inspect

import pytest
from starlette.responses import HTMLResponse, JSONResponse

from ragecho_sdk import (
    AsyncEcho,
    Echo,
    EchoAPIError,
    EchoAuthenticationError,
    EchoConflictError,
    EchoConnectionError,
    EchoNotFoundError,
    EchoProtocolError,
    EchoTimeoutError,
    EchoUnavailableError,
)

KEY = "ek_double"


@pytest.fixture
def echo(contract_double):
    with Echo(contract_double.url, api_key=KEY, workspace="default") as client:
        yield client


def test_every_request_carries_key_and_workspace(echo, contract_double):
    echo.documents.list()
    _, _, headers, _ = contract_double.requests[-1]
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["x-workspace-id"] == "default"
    assert headers["user-agent"].startswith("ragecho-sdk/")


def test_an_upload_takes_paths_and_bytes_and_keeps_their_order(echo, contract_double, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("alpha")
    first, second = echo.upload(path, ("b.txt", b"beta"), tags=["hr", "2026"], access="internal", metadata={"n": 1})
    assert (first.filename, second.filename) == ("a.txt", "b.txt")
    assert first.status == "queued"
    assert first.job_id
    stored = contract_double.documents[first.id]
    assert stored["tags"] == ["hr", "2026"]
    assert stored["access"] == "internal"


def test_the_same_content_is_reported_as_a_duplicate(echo):
    (first,) = echo.upload(("a.txt", b"same"))
    (again,) = echo.upload(("b.txt", b"same"))
    assert again.duplicate_of == first.id


def test_waiting_returns_ready_and_failed_documents_in_the_order_asked(echo, contract_double):
    contract_double.reads_before_ready = 2
    uploaded = echo.upload(("one.txt", b"1"), ("broken.txt", b"2"), ("three.txt", b"3"))
    ids = [document.id for document in uploaded][::-1]
    seen = []
    documents = echo.wait_until_ready(ids, timeout_seconds=30, on_progress=lambda known: seen.append(len(known)))
    assert [document.id for document in documents] == ids
    assert [document.status for document in documents] == ["ready", "failed", "ready"]
    assert str(documents[1].error) == "The file is damaged. Export it again."
    assert documents[1].error.code == "damaged"
    assert seen[-1] == 3


def test_waiting_for_many_documents_asks_about_few_at_a_time(echo, contract_double):
    ids = [contract_double.add_document(f"{number}.txt")["id"] for number in range(60)]
    assert len(echo.wait_until_ready(ids)) == 60
    assert len(contract_double.requests) == 60


def test_waiting_too_long_raises_with_what_is_known(echo, contract_double):
    contract_double.reads_before_ready = 10_000
    (uploaded,) = echo.upload(("a.txt", b"1"))
    with pytest.raises(EchoTimeoutError, match="1 of 1 documents are not ready") as raised:
        echo.wait_until_ready([uploaded.id], timeout_seconds=0.05)
    assert [document.status for document in raised.value.documents] == ["processing"]


def test_an_answer_has_its_citations_and_keeps_fields_of_the_future(echo, contract_double):
    answer = echo.ask("How much leave?", k=4, tags=["hr"])
    assert answer.answer == "Staff have 30 days of leave [1]."
    (citation,) = answer.citations
    assert (citation.n, citation.filename, citation.page, citation.verified) == (1, "handbook.pdf", 4, True)
    assert answer.timings_ms["total"] == 31.0
    assert answer.raw["a_field_of_the_future"] == 1
    assert contract_double.bodies("/api/v1/ask") == [{"question": "How much leave?", "k": 4, "tags": ["hr"]}]


def test_a_question_of_a_conversation_says_what_was_said_before(echo, contract_double):
    said = [{"role": "user", "content": "How much leave?"}, {"role": "assistant", "content": "30 days."}]
    echo.ask("And when sick?", history=said, rewrite=False, fresh=True)
    wanted = {"question": "And when sick?", "history": said, "rewrite": False, "fresh": True}
    assert contract_double.bodies("/api/v1/ask") == [wanted]
    list(echo.ask_stream("And when sick?", history=said, fresh=True))
    assert contract_double.bodies("/api/v1/chat/stream") == [
        {"question": "And when sick?", "history": said, "fresh": True}
    ]


def test_a_stream_yields_its_events_and_ends_with_the_answer(echo):
    events = list(echo.ask_stream("How much leave?"))
    assert [event.event for event in events] == ["status", "token", "token", "citation", "answer", "done"]
    assert "".join(event.token for event in events) == "Staff have 30 days of leave\u2028[1]."


def test_a_search_returns_scored_passages(echo, contract_double):
    found = echo.search("leave", k=3, mode="lexical", rerank=False)
    assert [hit.filename for hit in found] == ["handbook.pdf"]
    assert found.results[0].scores == {"vector": 0.9, "lexical": 3.2}
    assert contract_double.bodies("/api/v1/search") == [{"query": "leave", "k": 3, "mode": "lexical", "rerank": False}]


def test_a_search_takes_choices_and_tells_what_happened(echo, contract_double):
    found = echo.search("laeve", expand="section", max_per_document=1, diversity=0.5, correct=True, broad=False)
    assert contract_double.bodies("/api/v1/search") == [
        {
            "query": "laeve",
            "expand": "section",
            "max_per_document": 1,
            "diversity": 0.5,
            "correct": True,
            "broad": False,
        }
    ]
    assert found.corrected == {"laeve": "leave"}
    assert [(form.text, form.found) for form in found.exact] == [("HR-4012", False)]
    assert found.results[0].duplicates[0].filename == "copy.pdf"
    assert (found.results[0].matched[0].start, found.results[0].matched[0].end) == (104, 110)


def test_iterating_walks_through_all_pages(echo, contract_double):
    for number in range(230):
        contract_double.add_document(f"{number}.txt")
    assert len({document.id for document in echo.documents.iterate()}) == 230
    assert len(contract_double.requests) == 3


def test_documents_are_read_changed_and_deleted(echo, contract_double):
    document_id = contract_double.add_document("a.txt", status="ready", text="über alles")["id"]
    assert echo.documents.text(document_id) == "über alles"
    assert echo.documents.content(document_id) == "über alles".encode()
    assert echo.documents.chunks(document_id).items[0].text == "abcd"
    assert echo.documents.update(document_id, title="New").title == "New"
    echo.documents.delete(document_id)
    with pytest.raises(EchoNotFoundError):
        echo.documents.get(document_id)


def test_jobs_are_listed_retried_and_cancelled(echo, contract_double):
    contract_double.jobs["j1"] = {"id": "j1", "status": "dead", "kind": "ingest_document", "error": {"message": "no"}}
    assert [job.id for job in echo.jobs.dead()] == ["j1"]
    assert str(echo.jobs.get("j1").error) == "no"
    assert echo.jobs.retry("j1").status == "queued"
    assert echo.jobs.cancel("j1").status == "cancelled"


def test_an_id_cannot_lead_to_another_route(echo, contract_double):
    with pytest.raises(EchoNotFoundError):
        echo.documents.get("../jobs?x=1#")
    assert "/api/v1/jobs" not in contract_double.paths("GET")


def test_a_refusal_becomes_a_typed_error_with_code_detail_and_request_id(echo, contract_double, refused):
    contract_double.script("POST /api/v1/ask", refused(409, "workspace_archived", "It is archived.", since="2026"))
    with pytest.raises(EchoConflictError) as raised:
        echo.ask("x")
    error = raised.value
    assert (error.status, error.code, error.detail) == (409, "workspace_archived", "It is archived.")
    assert error.request_id == "req-1"
    assert error.problem["since"] == "2026"


def test_a_wrong_key_is_an_authentication_error(contract_double):
    with Echo(contract_double.url, api_key="wrong") as echo, pytest.raises(EchoAuthenticationError):
        echo.documents.list()


def test_a_read_is_tried_again_after_503_and_honours_retry_after(echo, contract_double, refused):
    busy = refused(503, "unavailable", "Busy.", {"Retry-After": "0"})
    contract_double.script("GET /api/v1/documents", busy, busy)
    assert echo.documents.list().total == 0
    assert len(contract_double.requests) == 3


def test_a_read_is_given_up_after_the_last_retry(echo, contract_double, refused):
    contract_double.script("GET /api/v1/documents", *[refused(503, "unavailable", "Busy.", {"Retry-After": "0"})] * 3)
    with pytest.raises(EchoUnavailableError) as raised:
        echo.documents.list()
    assert raised.value.retry_after_seconds == 0
    assert len(contract_double.requests) == 3


def test_a_server_that_asks_for_a_long_pause_is_not_waited_for(echo, contract_double, refused):
    contract_double.script("GET /api/v1/documents", refused(429, "rate_limited", "Later.", {"Retry-After": "3600"}))
    with pytest.raises(EchoAPIError) as raised:
        echo.documents.list()
    assert raised.value.retry_after_seconds == 3600
    assert len(contract_double.requests) == 1


def test_a_write_is_never_tried_again(echo, contract_double, refused):
    contract_double.script("POST /api/v1/ask", refused(503, "unavailable", "Busy."))
    with pytest.raises(EchoUnavailableError):
        echo.ask("x")
    assert len(contract_double.requests) == 1


def test_no_server_is_a_connection_error_that_names_the_address(unused_address):
    with Echo(unused_address, api_key=KEY, max_retries=1) as echo, pytest.raises(EchoConnectionError) as raised:
        echo.health()
    assert unused_address in str(raised.value)


def test_something_else_than_echo_is_named_as_such(echo, contract_double):
    contract_double.script("GET /api/v1/documents", lambda: HTMLResponse("<h1>Router</h1>"))
    with pytest.raises(EchoProtocolError, match="is this the address of an Echo server"):
        echo.documents.list()
    contract_double.script("POST /api/v1/ask", lambda: JSONResponse({"hello": 1}))
    with pytest.raises(EchoProtocolError, match="Answer without 'answer'"):
        echo.ask("x")


@pytest.mark.parametrize("server", ["", "localhost:8000", "ftp://x", "http://"])
def test_an_address_that_is_none_is_refused_at_once(server):
    with pytest.raises(ValueError, match="is not an address like"):
        Echo(server)


def test_the_asynchronous_client_does_the_same(contract_double):
    async def work():
        async with AsyncEcho(contract_double.url, api_key=KEY) as echo:
            uploaded = await echo.upload(("a.txt", b"1"), ("broken.txt", b"2"))
            ids = [document.id for document in uploaded]
            documents = await echo.wait_until_ready(ids, timeout_seconds=30)
            tokens = [event.token async for event in echo.ask_stream("x")]
            names = [document.filename async for document in echo.documents.iterate()]
            answer = await echo.ask("x")
            return [document.status for document in documents], "".join(tokens), names, answer.refused

    statuses, streamed, names, is_refused = asyncio.run(work())
    assert statuses == ["ready", "failed"]
    assert streamed.startswith("Staff have")
    assert names == ["broken.txt", "a.txt"]
    assert not is_refused


def test_both_clients_offer_the_same_methods_with_the_same_parameters(contract_double):
    sync = Echo(contract_double.url)
    twin = AsyncEcho(contract_double.url)
    for ours, theirs in [
        (sync, twin),
        *((getattr(sync, n), getattr(twin, n)) for n in ("documents", "jobs", "workspaces")),
    ]:
        names = {name for name in dir(ours) if not name.startswith("_") and callable(getattr(ours, name))}
        assert names == {name for name in dir(theirs) if not name.startswith("_") and callable(getattr(theirs, name))}
        for name in names:
            mine, other = (inspect.signature(getattr(one, name)).parameters for one in (ours, theirs))
            assert {n: (p.kind, p.default) for n, p in mine.items()} == {
                n: (p.kind, p.default) for n, p in other.items()
            }
    sync.close()
    asyncio.run(twin.close())
