"""The command line against the real server: files in, cited answers out."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ragecho_sdk import AsyncEcho, Echo, EchoNotFoundError

HANDBOOK = """# Staff handbook

## Leave

Every employee of Northwind has 27 days of paid leave in a calendar year. Leave that is not taken expires in March.

## Travel

Train journeys of more than four hours may be booked in first class. Flights within the country are not reimbursed.
"""
QUOTE = "Every employee of Northwind has 27 days of paid leave in a calendar year."
QUESTION = "How many days of paid leave does an employee of Northwind have?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("docs")
    (place / "handbook.md").write_text(HANDBOOK)
    (place / "sub").mkdir()
    (place / "sub" / "canteen.txt").write_text("The canteen is open from eleven to two. On Fridays there is fish.\n")
    (place / "sub" / ".draft.txt").write_text("hidden")
    return place


@pytest.fixture(scope="module")
def workspace_key(server):
    made = json.loads(server.ragecho("admin", "workspace", "create", "cli-tests", "--json"))
    assert made["slug"] == "cli-tests"
    return server.key("cli-tests")


@pytest.fixture(scope="module")
def cli(server, workspace_key):
    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAGECHO_")}
        done = subprocess.run(
            [sys.executable, "-m", "ragecho", *arguments],
            env=environment | {"RAGECHO_SERVER": server.url, "RAGECHO_API_KEY": workspace_key},
            capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def ingested(cli, folder):
    reports = json.loads(cli("ingest", str(folder), "--tag", "staff", "--wait", "--json").stdout)
    assert reports["summary"] == {"ready": 2}
    return {report["filename"]: report for report in reports["documents"]}


def test_a_folder_is_ingested_without_its_hidden_files(ingested):
    assert set(ingested) == {"handbook.md", "canteen.txt"}
    assert all(report["chunks"] >= 1 for report in ingested.values())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("documents", "ls", "--status", "lost"), "ragecho: status: Input should be 'queued', 'processing', 'ready' or 'failed'"),
        (("documents", "ls", "--limit", "201"), "ragecho: Invalid value for '--limit'"),
        (("documents", "show", "17"), "ragecho: document_id: Input should be a valid UUID"),
        (("search", ""), "ragecho: query: String should have at least 1 character"),
        (("sources", "add", "url", "https://example.com/", "--set", "depth"), "ragecho: --set takes NAME=VALUE"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_right_is_bad_use_in_one_line(cli, arguments, line):
    said = cli(*arguments, code=2).stderr
    assert said.startswith(line)
    assert said.count("\n") == 1


def test_the_same_files_again_are_duplicates(cli, folder, ingested):
    lines = cli("ingest", str(folder)).stdout.splitlines()
    assert sum(line.startswith("= duplicate") for line in lines) == 2


def test_a_file_that_cannot_be_read_is_reported_with_a_reason_and_exit_code_1(cli, tmp_path):
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    (tmp_path / "good.txt").write_text("The printer stands on the second floor.")
    done = cli("ingest", str(tmp_path), "--json", code=1)
    broken, good = json.loads(done.stdout)["documents"]
    assert (broken["status"], good["status"]) == ("failed", "ready")
    assert len(broken["error"]) > 10
    failed = json.loads(cli("documents", "ls", "--status", "failed", "--json").stdout)
    assert [item["filename"] for item in failed["items"]] == ["broken.pdf"]
    cli("documents", "rm", broken["id"], good["id"])


def test_an_answer_cites_the_exact_words_of_the_file(cli, ingested):
    answer = json.loads(cli("ask", QUESTION, "--json").stdout)
    assert not answer["refused"]
    citation = next(one for one in answer["citations"] if "27 days" in one["quote"])
    assert citation["filename"] == "handbook.md"
    assert citation["verified"]
    text = cli("documents", "text", ingested["handbook.md"]["id"]).stdout
    assert text[citation["start"] : citation["end"]] == citation["quote"]


def test_the_answer_for_people_shows_file_and_quote(cli, ingested):
    out = cli("ask", QUESTION).stdout
    assert "27 days" in out
    assert "Sources\n" in out
    assert "handbook.md" in out
    assert QUOTE in out


def test_a_streamed_answer_ends_with_the_same_citations(cli, ingested):
    lines = cli("ask", QUESTION, "--stream", "--json").stdout.split("\n")
    events = [json.loads(line) for line in lines if line]
    answer = next(event["data"] for event in events if event["event"] == "answer")
    assert any("27 days" in citation["quote"] for citation in answer["citations"])
    assert "27 days" in cli("ask", QUESTION, "--stream").stdout


def test_a_question_without_evidence_is_refused_with_exit_code_0(cli, ingested):
    answer = json.loads(cli("ask", "What is the boiling point of tungsten hexafluoride?", "--json").stdout)
    assert answer["refused"]
    out = cli("ask", "What is the boiling point of tungsten hexafluoride?").stdout
    assert out.startswith("No answer from these documents")


@pytest.mark.parametrize("mode", ["hybrid", "vector", "lexical"])
def test_search_finds_the_passage_in_every_mode(mode, cli, ingested):
    found = json.loads(cli("search", "paid leave", "--mode", mode, "--k", "1", "--json").stdout)
    assert found["results"][0]["filename"] == "handbook.md"


def test_a_tag_limits_the_search(cli, ingested):
    assert json.loads(cli("search", "paid leave", "--tag", "no-such-tag", "--json").stdout)["results"] == []


def test_jobs_are_listed_and_shown(cli, ingested):
    job_id = ingested["handbook.md"]["job_id"]
    assert json.loads(cli("jobs", "show", job_id, "--json").stdout)["status"] == "succeeded"
    assert job_id in cli("jobs", "ls").stdout
    done = cli("jobs", "retry", job_id, code=1)
    assert done.stderr.startswith("ragecho: ")
    assert done.stderr.count("\n") == 1


def test_a_removed_document_is_gone_from_the_next_search(cli, tmp_path):
    (tmp_path / "gone.txt").write_text("The password of the old safe was rhubarb.")
    report = json.loads(cli("ingest", str(tmp_path / "gone.txt"), "--json").stdout)["documents"][0]
    assert "rhubarb" in cli("search", "password of the old safe", "--json").stdout
    cli("documents", "rm", report["id"])
    assert "rhubarb" not in cli("search", "password of the old safe", "--json").stdout
    assert cli("documents", "show", report["id"], code=1).stderr.startswith("ragecho: ")


def test_a_revoked_key_is_refused_from_the_next_request_on(server, workspace_key):
    made = json.loads(server.ragecho("admin", "api-key", "create", "--workspace", "cli-tests", "--json"))
    environment = {"RAGECHO_API_KEY": made["key"]}
    assert server.ragecho("documents", "ls", "--json", env=environment)
    listed = json.loads(server.ragecho("admin", "api-key", "ls", "--workspace", "cli-tests", "--json"))
    assert made["id"] in {item["id"] for item in listed["items"]}
    assert made["key"] not in json.dumps(listed)
    server.ragecho("admin", "api-key", "revoke", made["id"])
    assert server.ragecho("documents", "ls", "--json", env=environment, check=False) == ""


def test_the_sdk_does_all_of_it_too(server, workspace_key):
    with Echo(server.url, api_key=workspace_key) as echo:
        (uploaded,) = echo.upload(("parking.txt", b"Visitors park behind building nine."), tags=["sdk"])
        (document,) = echo.wait_until_ready([uploaded.id], timeout_seconds=120)
        assert document.is_ready
        assert document.tags == ("sdk",)
        assert echo.documents.content(document.id) == b"Visitors park behind building nine."
        assert echo.documents.chunks(document.id).items[0].text.startswith("Visitors park")
        assert echo.documents.update(document.id, title="Parking").title == "Parking"
        assert echo.search("Where do visitors park?", tags=["sdk"]).results[0].document_id == document.id
        echo.documents.delete(document.id)
        with pytest.raises(EchoNotFoundError):
            echo.documents.get(document.id)


def test_the_asynchronous_sdk_asks_the_real_server(server, workspace_key, ingested):
    import asyncio

    async def work():
        async with AsyncEcho(server.url, api_key=workspace_key) as echo:
            answer, found = await asyncio.gather(echo.ask(QUESTION), echo.search("paid leave", k=1))
            events = [event.event async for event in echo.ask_stream(QUESTION)]
            return answer, found, events

    answer, found, events = asyncio.run(work())
    assert any("27 days" in citation.quote for citation in answer.citations)
    assert found.results[0].filename == "handbook.md"
    assert "answer" in events


def quickstart(folder: Path, temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAGECHO_")}
    if "RAGECHO_MODEL_DIR" in os.environ:
        environment["RAGECHO_MODEL_DIR"] = os.environ["RAGECHO_MODEL_DIR"]
    return subprocess.Popen(
        [sys.executable, "-m", "ragecho", "quickstart", QUESTION, str(folder), *arguments],
        env=environment | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture
def temporary():
    # Short, since a socket's path in it has little more than a hundred characters.
    with tempfile.TemporaryDirectory(prefix="eq-", dir="/tmp") as place:
        yield Path(place)


def processes_in(temporary: Path) -> list[int]:
    import psutil

    return [
        process.pid for process in psutil.process_iter(["cmdline"])
        if any(str(temporary) in part for part in process.info["cmdline"] or ())
    ]  # fmt: skip


def test_quickstart_answers_with_citations_and_leaves_nothing_behind(folder, temporary):
    process = quickstart(folder, temporary)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "27 days" in out
    assert "handbook.md" in out
    assert list(temporary.iterdir()) == []
    assert processes_in(temporary) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_quickstart_leaves_nothing_behind(number, folder, temporary, eventually_true):
    process = quickstart(folder, temporary)
    eventually_true(lambda: len(processes_in(temporary)) > 1)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert list(temporary.iterdir()) == []
    assert processes_in(temporary) == []


@pytest.fixture
def eventually_true():
    """Wait for a condition with a deadline."""
    import threading
    import time

    def wait(condition) -> None:
        deadline, pause = time.monotonic() + 60, threading.Event()
        while not condition():
            assert time.monotonic() < deadline, "did not come true within 60 seconds"
            pause.wait(0.05)

    return wait
