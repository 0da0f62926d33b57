"""The client commands over real HTTP, against the contract double (see conftest.py)."""

import json
import os

import pytest

from ragecho.cli.main import run

KEY = "ek_double"


@pytest.fixture(autouse=True)
def surroundings(contract_double, monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("RAGECHO_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGECHO_SERVER", contract_double.url)
    monkeypatch.setenv("RAGECHO_API_KEY", KEY)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "docs"
    (place / "deep" / ".hidden").mkdir(parents=True)
    (place / "a.txt").write_text("alpha")
    (place / "deep" / "b.md").write_text("beta")
    (place / ".secret").write_text("no")
    (place / "deep" / ".hidden" / "c.txt").write_text("no")
    (place / "link.txt").symlink_to(place / "a.txt")
    return place


def test_ingest_uploads_a_folder_without_hidden_files_and_links(folder, contract_double, capsys):
    assert run(["ingest", str(folder)]) == 0
    assert [document["filename"] for document in contract_double.documents.values()] == ["a.txt", "b.md"]
    out = capsys.readouterr().out
    assert "✓ ready" in out
    assert "2 pages · 5 chunks" in out
    assert "2 ready" in out


def test_ingest_reports_a_failed_file_with_its_reason_and_exits_1(tmp_path, capsys):
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "broken.txt").write_text("bad")
    assert run(["ingest", "good.txt", "broken.txt"]) == 1
    out = capsys.readouterr().out
    assert "✗ failed    broken.txt  The file is damaged. Export it again." in out
    assert "1 ready, 1 failed" in out


def test_one_refused_file_does_not_spoil_its_batch(tmp_path, contract_double, capsys):
    contract_double.max_file_bytes = 10
    for name, text in {"a.txt": "a", "big.txt": "x" * 11, "c.txt": "c"}.items():
        (tmp_path / name).write_text(text)
    assert run(["ingest", "a.txt", "big.txt", "c.txt", "--json"]) == 1
    reports = json.loads(capsys.readouterr().out)["documents"]
    assert [(report["filename"], report["status"]) for report in reports] == [
        ("a.txt", "ready"),
        ("big.txt", "failed"),
        ("c.txt", "ready"),
    ]
    assert reports[1]["error"] == "A file has at most 10 bytes."


def test_ingest_tells_a_duplicate_and_the_document_that_holds_it(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("same")
    (tmp_path / "b.txt").write_text("same")
    assert run(["ingest", "a.txt"]) == 0
    assert run(["ingest", "b.txt"]) == 0
    assert "= duplicate b.txt  2 pages · 5 chunks · same content as doc-1" in capsys.readouterr().out


def test_ingest_without_waiting_reports_queued_files(folder, contract_double, capsys):
    assert run(["ingest", str(folder), "--no-wait", "--tag", "hr", "--access", "internal", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["summary"] == {"queued": 2}
    assert all(report["job_id"] for report in answer["documents"])
    stored = contract_double.documents["doc-1"]
    assert (stored["tags"], stored["access"]) == (["hr"], "internal")


def test_ingest_uploads_many_files_in_batches(tmp_path, contract_double):
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(str(number))
    assert run(["ingest", str(tmp_path), "--no-wait"]) == 0
    assert len(contract_double.documents) == 40
    assert len(contract_double.paths("POST")) == 3


def test_a_path_that_is_no_file_to_read_fails_alone(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("a")
    os.mkfifo(tmp_path / "pipe.txt")
    assert run(["ingest", "a.txt", "pipe.txt"]) == 1
    assert "pipe.txt  is no regular file" in capsys.readouterr().out


def test_ingest_that_is_not_ready_in_time_exits_1_and_says_so(tmp_path, contract_double, capsys):
    contract_double.reads_before_ready = 10_000
    (tmp_path / "a.txt").write_text("a")
    assert run(["ingest", "a.txt", "--timeout", "1"]) == 1
    assert "not ready after 1 seconds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["ingest", "nowhere"], 2, "ragecho: nowhere does not exist."),
        (["ingest", "."], 1, "ragecho: no files to upload in .."),
        (["ingest"], 2, "ragecho: Missing argument 'PATH'. See 'ragecho ingest --help'."),
        (["ingest", "x", "--access", "all"], 2, "ragecho: Invalid value for '--access'"),
        (["documents", "show", "nope"], 1, "ragecho: There is no such document. (not_found)"),
        (["ask", "x", "--api-key", "wrong"], 1, "ragecho: the server does not accept the API key: make one with"),
        (["ask", "x", "--server", "nonsense"], 2, "ragecho: RAGECHO_SERVER or --server: 'nonsense' is not an address"),
        (["aks", "x"], 2, "ragecho: No such command 'aks'. Did you mean 'ask'? See 'ragecho --help'."),
        (["ask", "--wrong", "x"], 2, "ragecho: No such option: --wrong"),
    ],
)
def test_failures_are_one_line_with_the_right_exit_code(arguments, code, line, capsys):
    assert run(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(line)
    assert captured.err.count("\n") == 1


def test_without_a_key_the_line_says_how_to_make_one(monkeypatch, capsys):
    monkeypatch.delenv("RAGECHO_API_KEY")
    assert run(["ask", "x"]) == 1
    assert "ragecho admin api-key create --workspace default --scopes read,write" in capsys.readouterr().err


def test_without_a_server_the_line_names_it_and_the_way_to_start_one(unused_address, capsys):
    assert run(["ask", "x", "--server", unused_address]) == 1
    err = capsys.readouterr().err
    assert unused_address in err
    assert "ragecho serve" in err


def test_server_and_key_are_read_from_a_dotenv_file(contract_double, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("RAGECHO_API_KEY")
    (tmp_path / ".env").write_text(f"RAGECHO_API_KEY={KEY}\n")
    assert run(["ask", "x"]) == 0


def test_ask_shows_the_answer_and_each_citation_with_its_exact_words(capsys):
    assert run(["ask", "How much leave?"]) == 0
    assert capsys.readouterr().out == (
        "Staff have 30 days of leave [1].\n"
        "\nSources\n"
        "  [1] handbook.pdf, page 4\n"
        "      “Every employee has 30 days of leave.”\n"
        "\nextractive · 31 ms · confidence 0.91\n"
    )


def test_ask_can_be_told_to_answer_anew_and_to_search_the_words_as_they_are(contract_double, capsys):
    assert run(["ask", "How much leave?", "--fresh", "--no-rewrite"]) == 0
    assert contract_double.bodies("/api/v1/ask") == [{"question": "How much leave?", "rewrite": False, "fresh": True}]


def test_a_quote_that_was_not_verified_is_marked(contract_double, capsys):
    contract_double.answer["citations"] = [{**contract_double.answer["citations"][0], "verified": False}]
    assert run(["ask", "x"]) == 0
    assert "[1] handbook.pdf, page 4  not verified" in capsys.readouterr().out


def test_a_sentence_without_support_is_named(contract_double, capsys):
    contract_double.answer.update(unsupported=["Leave is paid twice."], warnings=["The generator was not available."])
    assert run(["ask", "x"]) == 0
    out = capsys.readouterr().out
    assert "Not supported by the documents: Leave is paid twice.\n" in out
    assert "Note: The generator was not available.\n" in out


def test_a_refusal_says_so_and_exits_0(contract_double, capsys):
    contract_double.answer.update(
        answer="Nothing found about this.", citations=[], refused=True, refusal_reason="no_evidence"
    )
    assert run(["ask", "x"]) == 0
    assert capsys.readouterr().out.startswith(
        "No answer from these documents (no_evidence).\nNothing found about this."
    )


def test_ask_as_json_is_what_the_server_sent(contract_double, capsys):
    assert run(["ask", "x", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == contract_double.answer


def test_a_streamed_answer_is_printed_once_with_its_citations(capsys):
    assert run(["ask", "x", "--stream"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Staff have 30 days of leave")
    assert out.count("30 days of leave") == 2  # the words, and the quote
    assert "[1] handbook.pdf, page 4" in out


def test_a_stream_as_json_is_one_event_a_line(capsys):
    assert run(["ask", "x", "--stream", "--json"]) == 0
    events = [json.loads(line)["event"] for line in capsys.readouterr().out.split("\n") if line]
    assert events == ["status", "token", "token", "citation", "answer", "done"]


@pytest.mark.parametrize(
    ("events", "line"),
    [
        ([("error", {"detail": "No generator answers.", "code": "generation_failed"})], "No generator answers."),
        ([("token", {"text": "Sta"})], "the answer broke off; ask again."),
    ],
)
def test_a_stream_that_fails_exits_1_and_says_why(events, line, contract_double, capsys):
    contract_double.events = events
    assert run(["ask", "x", "--stream"]) == 1
    assert capsys.readouterr().err == f"ragecho: {line}\n"


def test_what_stands_in_a_document_cannot_steer_the_terminal(contract_double, capsys):
    contract_double.answer["answer"] = "\x1b[2Jgone\x07 \x9b31m\u202eabc"
    assert run(["ask", "x"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("�[2Jgone� �31m�abc\n")


def test_search_shows_passages_with_their_scores(contract_double, capsys):
    assert run(["search", "leave", "--k", "3", "--mode", "hybrid"]) == 0
    out = capsys.readouterr().out
    assert "1. handbook.pdf, page 4  0.870 (vector 0.900 lexical 3.200)" in out
    assert contract_double.bodies("/api/v1/search") == [{"query": "leave", "k": 3, "mode": "hybrid"}]
    assert run(["search", "leave", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["chunk_id"] == "chunk-1"


def test_search_says_what_happened_to_the_question(contract_double, capsys):
    options = ["--expand", "section", "--per-document", "2", "--diversity", "0.3", "--as-written"]
    assert run(["search", "laeve HR-4012", *options]) == 0
    shown = capsys.readouterr()
    assert "Nothing holds 'laeve': searched for 'leave'" in shown.err
    assert "'HR-4012' stands nowhere exactly." in shown.err
    assert "also in copy.pdf" in shown.out
    [body] = contract_double.bodies("/api/v1/search")
    assert body | {"query": "", "k": 0} == {
        "query": "",
        "k": 0,
        "expand": "section",
        "max_per_document": 2,
        "diversity": 0.3,
        "correct": False,
        "broad": False,
    }


def test_documents_are_listed_shown_and_removed(contract_double, capsys):
    error = {"code": "damaged", "message": "Damaged."}
    contract_double.add_document("a.txt", status="ready", tags=["hr", "2026"])
    contract_double.add_document("b.txt", status="failed", error=error, text="\x1b the text\n")
    assert run(["documents", "ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ID", "STATUS", "FILE", "PAGES", "CHUNKS", "ACCESS", "TAGS", "CREATED"]
    assert lines[1].split()[:4] == ["doc-2", "✗", "failed", "b.txt"]
    assert "hr, 2026" in lines[2]
    assert run(["documents", "show", "doc-2"]) == 0
    assert "error    Damaged." in capsys.readouterr().out
    assert run(["documents", "text", "doc-2"]) == 0
    assert capsys.readouterr().out == "\x1b the text\n"  # to a pipe, to the letter
    assert run(["documents", "ls", "--status", "ready", "--json"]) == 0
    assert [item["id"] for item in json.loads(capsys.readouterr().out)["items"]] == ["doc-1"]
    assert run(["documents", "rm", "doc-1", "doc-2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": ["doc-1", "doc-2"]}
    assert contract_double.documents == {}


def test_an_empty_list_says_what_to_do_on_stderr_and_stays_empty_json(capsys):
    assert run(["documents", "ls"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "ragecho ingest PATH" in captured.err
    assert run(["documents", "ls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == []


def test_a_list_that_goes_on_says_so(contract_double, capsys):
    for number in range(3):
        contract_double.add_document(f"{number}.txt")
    assert run(["documents", "ls", "--limit", "2"]) == 0
    assert "2 of 3 shown" in capsys.readouterr().err


def test_jobs_are_listed_shown_retried_and_cancelled(contract_double, capsys):
    contract_double.jobs["j1"] = {
        "id": "j1", "status": "dead", "kind": "ingest_document", "attempts": 5, "progress": 0.5,
        "error": {"message": "Gave up."},
    }  # fmt: skip
    assert run(["jobs", "ls", "--status", "dead"]) == 0
    assert "✗ dead" in capsys.readouterr().out
    assert run(["jobs", "show", "j1"]) == 0
    shown = capsys.readouterr().out
    assert "Gave up." in shown
    assert "50%" in shown
    assert run(["jobs", "retry", "j1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "queued"
    assert run(["jobs", "cancel", "j1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "cancelled"


def test_workspaces_are_created_and_listed(capsys):
    assert run(["workspaces", "create", "legal", "--name", "Legal", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["slug"] == "legal"
    assert run(["workspaces", "ls"]) == 0
    assert "Legal" in capsys.readouterr().out


def test_the_workspace_option_reaches_the_server(contract_double):
    assert run(["ask", "x", "-w", "legal"]) == 0
    assert contract_double.requests[-1][2]["x-workspace-id"] == "legal"
