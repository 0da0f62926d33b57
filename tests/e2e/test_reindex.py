"""Workspaces change their embedding model over HTTP, the client and the command line, with real models, whoever dies meanwhile."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from tests.contract.test_models_added import tokenizer_file, weights_file
from tests.e2e.conftest import Server, eventually, serving, settled, upload

from ragecho.engines.models.catalogue import MULTILINGUAL_E5_SMALL, ModelSpec, Pooling, Role, default_models
from ragecho.engines.models.local import add_model
from ragecho.engines.models.store import default_model_dir, missing_files, model_folder
from ragecho_sdk import Echo, EchoAPIError

EVERYTHING = "read,write,admin"
REINDEX = "/api/v1/admin/index/reindex"
TEXTS = {
    "pump.txt": b"The pump of the water works is cleaned in May.",
    "filter.txt": b"The filter is changed every spring.",
    "invoice.txt": b"An invoice is paid within thirty days.",
}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed models, and a little one with six dimensions that may be cut to four."""
    folder = tmp_path_factory.mktemp("models")
    for spec in (*default_models(), MULTILINGUAL_E5_SMALL):
        if not missing_files(default_model_dir(), spec):
            place = model_folder(folder, spec)
            place.parent.mkdir(parents=True)
            place.symlink_to(model_folder(default_model_dir(), spec), target_is_directory=True)
    spec = ModelSpec("words", Role.EMBEDDER, "MIT", (), (), 64, pooling=Pooling.MEAN, matryoshka=(4,))
    files = {"model.onnx": weights_file(folder), "tokenizer.json": tokenizer_file(folder)}
    add_model(folder, spec, files, origin="test")
    return folder


@dataclass(frozen=True, slots=True)
class Filled:
    """A workspace of a test's own with the texts in it."""

    place: Server
    workspace: str
    key: str
    client: httpx.Client


@pytest.fixture
def here(place: Server) -> Iterator[Filled]:
    slug = f"w{uuid4().hex[:8]}"
    with Echo(place.url, api_key=place.key(scopes=EVERYTHING)) as echo:
        echo.workspaces.create(slug)
    with filled(place, slug) as (key, client):
        yield Filled(place, slug, key, client)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("place"), RAGECHO_MODEL_DIR=str(model_dir)) as server:
        yield server


@contextmanager
def filled(server: Server, workspace: str = "default") -> Iterator[tuple[str, httpx.Client]]:
    """Upload the texts and yield a key for everything, and a client with it."""
    key = server.key(workspace, scopes=EVERYTHING)
    with server.client(key) as client:
        for one in upload(client, *TEXTS.items()):
            assert settled(client, one["id"])["status"] == "ready"
        yield key, client


def found(client: httpx.Client, query: str, mode: str = "hybrid") -> list[str]:
    answer = client.post("/api/v1/search", json={"query": query, "mode": mode, "k": 10})
    assert answer.status_code == 200, answer.text
    return [hit["filename"] for hit in answer.json()["results"]]


def test_a_workspace_gets_another_model_and_another_length_by_command_and_client(here: Filled, model_dir: Path) -> None:
    place, key, client = here.place, here.key, here.client
    environment = {"RAGECHO_API_KEY": key, "RAGECHO_MODEL_DIR": str(model_dir)}
    before = json.loads(place.ragecho("reindex", "--json", env=environment))
    assert (before["status"], before["from_model"]) == ("none", "bge-small-en-v1.5")

    done = json.loads(place.ragecho("reindex", "--model", "words", "--dimensions", "4", "--json", env=environment))
    assert (done["status"], done["to_model"], done["to_dimensions"]) == ("done", "words", 4)
    assert (done["documents_done"], done["documents_total"], done["space"]["model"]) == (3, 3, "words")
    # Four numbers of a toy model rank by chance; that all are found shows that questions and documents share a space.
    assert sorted(found(client, "pump", "vector")) == sorted(TEXTS)
    assert found(client, "invoice", "lexical") == ["invoice.txt"]

    (late,) = upload(client, ("late.txt", b"water filter pump"))
    assert settled(client, late["id"])["status"] == "ready"
    assert "late.txt" in found(client, "filter pump", "vector")
    with Echo(place.url, api_key=key) as echo:
        back = echo.index.reindex()
        assert back.from_model == "words"
        assert echo.index.wait_until_reindexed(timeout_seconds=120).status == "done"
        assert echo.workspaces.get(here.workspace).embedding_model == "bge-small-en-v1.5"
        assert echo.documents.chunks(str(late["id"])).total == 1
    assert sorted(found(client, "water", "vector")) == sorted([*TEXTS, "late.txt"])
    health = json.loads(place.ragecho("index", "check", "--json", env=environment))
    assert all(one["healthy"] for one in health)
    audited = client.get("/api/v1/workspaces/audit-logs").json()["items"]
    assert {"index.reindex_started", "index.reindexed"} <= {one["action"] for one in audited}


def test_what_cannot_be_reindexed_into_is_refused_with_the_fix(here: Filled) -> None:
    place, key, client = here.place, here.key, here.client
    unknown = client.post(REINDEX, json={"model": "nothing-of-the-kind"})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "invalid_input")
    assert client.post(REINDEX, json={"model": "words", "dimensions": 5}).status_code == 422
    missing = client.post(REINDEX, json={"model": "all-MiniLM-L6-v2"})
    assert (missing.status_code, missing.json()["code"]) == (503, "unavailable")
    assert "ragecho models fetch all-MiniLM-L6-v2" in missing.json()["detail"]
    with Echo(place.url, api_key=key) as echo:
        with pytest.raises(EchoAPIError):
            echo.index.cancel_reindex()
        with pytest.raises(EchoAPIError):
            echo.workspaces.create("other", embedding_model="all-MiniLM-L6-v2")
    assert client.get(REINDEX).json()["status"] == "none"


def test_a_reindexing_goes_on_after_its_worker_was_killed(here: Filled) -> None:
    place, client = here.place, here.client
    many = [(f"n{n}.txt", f"Note {n}: the pump {n} and the filter {n} are cleaned.".encode()) for n in range(300)]
    last = upload(client, *many[:100])[-1], upload(client, *many[100:200])[-1], upload(client, *many[200:])[-1]
    for one in last:
        settled(client, one["id"])
    eventually(
        lambda: all(job["status"] == "succeeded" for job in client.get("/api/v1/jobs?limit=100").json()["items"]),
        what="all uploads",
    )
    assert client.post(REINDEX, json={"model": "words"}).status_code == 202
    eventually(lambda: client.get(REINDEX).json()["documents_done"] or _is_over(client), what="first documents")
    os.kill(place.child("worker").pid, signal.SIGKILL)
    (during,) = upload(client, ("during.txt", b"A document that came while nobody was there: pump."))
    assert len(found(client, "pump")) == 10
    eventually(lambda: _is_over(client), what="the re-indexing")
    state = client.get(REINDEX).json()
    assert (state["status"], state["space"]["model"]) == ("done", "words")
    assert settled(client, during["id"])["status"] == "ready"
    assert state["documents_total"] >= 303
    assert all(one["healthy"] for one in json.loads(place.ragecho("index", "check", "--json")))


def _is_over(client: httpx.Client) -> bool:
    return client.get(REINDEX).json()["status"] in ("done", "failed", "cancelled")


def test_another_configured_model_is_for_new_workspaces_only(tmp_path: Path, model_dir: Path) -> None:
    with serving(tmp_path, RAGECHO_MODEL_DIR=str(model_dir)) as server, filled(server):
        pass
    with serving(tmp_path, RAGECHO_MODEL_DIR=str(model_dir), RAGECHO_EMBEDDER="words") as server:
        assert any("index.other_space" in line and "ragecho reindex --all" in line for line in server.log)
        with server.client(server.key(scopes=EVERYTHING)) as client:
            assert found(client, "When is the pump cleaned?", "vector")[0] == "pump.txt"
            (late,) = upload(client, ("late.txt", b"The harbour master keeps the keys."))
            assert settled(client, late["id"])["status"] == "ready"
            assert found(client, "Who keeps the keys?", "vector")[0] == "late.txt"
            made = client.post("/api/v1/workspaces", json={"slug": "fresh"}).json()
            assert (made["embedding_model"], made["embedding_dimensions"]) == ("words", 6)
            chosen = {"slug": "chosen", "embedding_model": "bge-small-en-v1.5"}
            assert client.post("/api/v1/workspaces", json=chosen).json()["embedding_dimensions"] == 384
            environment = {"RAGECHO_MODEL_DIR": str(model_dir), "RAGECHO_EMBEDDER": "words"}
            outcomes = json.loads(server.ragecho("reindex", "--all", "--json", env=environment))["items"]
            assert {one["status"] for one in outcomes} <= {"done", "none"}
            workspaces = client.get("/api/v1/workspaces").json()["items"]
            assert {one["embedding_model"] for one in workspaces} == {"words"}


@pytest.mark.skipif(
    bool(missing_files(default_model_dir(), MULTILINGUAL_E5_SMALL)), reason="the multilingual model is not set up here"
)
def test_a_multilingual_model_finds_across_languages_after_the_switch(here: Filled, model_dir: Path) -> None:
    place, key, client = here.place, here.key, here.client
    environment = {"RAGECHO_API_KEY": key, "RAGECHO_MODEL_DIR": str(model_dir)}
    done = json.loads(place.ragecho("reindex", "--model", "multilingual-e5-small", "--json", env=environment))
    assert done["status"] == "done"
    assert found(client, "Wann wird die Wasserpumpe gereinigt?", "vector")[0] == "pump.txt"
