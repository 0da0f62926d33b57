"""Sharing, levels, administrators and withdrawal as people meet them: over HTTP, through the real application."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import pytest
from sqlalchemy import text
from tests.db.app_driver import key_of, running
from tests.db.conftest import Tenant
from tests.db.library_driver import add_document
from tests.db.people import add_group, add_person, run
from tests.db.token_driver import Issuer

from ragecho.ask.flow import AskFlow
from ragecho.ask.model import Answered, AskRequest, Cited, Token
from ragecho.audit.store import AnswerRecords
from ragecho.engines.fakes import FakeEmbedder
from ragecho.kernel.authorization import Scope
from ragecho.kernel.caller import Access
from ragecho.kernel.ids import DocumentId, UserId, uuid7
from ragecho.library.search import PassageSearch
from ragecho.platform.database import Database
from ragecho.ports.generator import Delta, Message
from ragecho.tenancy import secrets
from ragecho.tenancy.callers import Callers

pytestmark = pytest.mark.anyio

WORDS = "The heron keeper earns nineteen coins. The weir opens at noon."


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a key, and their way of asking."""

    id: UserId
    client: httpx.AsyncClient
    key: str

    async def ask(self, method: str, address: str, **options: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        return await self.client.request(method, f"/api/v1{address}", headers=headers, **options)  # type: ignore[arg-type]  # httpx's own options

    async def sees(self, document: object) -> bool:
        one = (await self.ask("GET", f"/documents/{document}")).status_code
        listed = (await self.ask("GET", "/documents")).json()
        assert (str(document) in [item["id"] for item in listed["items"]]) is (one == 200)
        assert listed["total"] == len(listed["items"])
        return one == 200


@dataclass(frozen=True, slots=True)
class Office:
    """A tenant with people of each kind."""

    tenant: Tenant
    database: Database
    owner: Person
    administrator: Person
    editor: Person
    reader: Person

    async def private_document(self) -> DocumentId:
        """Upload a document that the editor keeps private."""
        made = await self.editor.ask(
            "POST", "/documents", files={"files": (f"{uuid7()}.txt", uuid7().bytes)}, data={"access": "private"}
        )
        assert made.status_code == 202, made.text
        return DocumentId(made.json()["documents"][0]["id"])


@pytest.fixture
async def client(owner_url: str, tmp_path: Path, embedder: FakeEmbedder) -> AsyncIterator[httpx.AsyncClient]:
    async with running(owner_url, tmp_path, embedder) as (_, made):
        yield made


@pytest.fixture
async def office(client: httpx.AsyncClient, database: Database, tenant: Tenant) -> Office:
    async def person(role: str, workspace_role: str | None) -> Person:
        user_id = await add_person(database, tenant, role=role, workspace_role=workspace_role)
        return Person(user_id, client, await key_of(database, tenant, user_id))

    return Office(
        tenant,
        database,
        await person("owner", None),
        await person("member", "admin"),
        await person("member", "editor"),
        await person("member", "reader"),
    )


async def test_an_upload_may_name_its_readers(office: Office) -> None:
    group = await add_group(office.database, office.tenant, office.reader.id)
    for readers in ({"users": [str(office.reader.id)]}, {"groups": [str(group)], "users": []}):
        made = await office.editor.ask(
            "POST",
            "/documents",
            files={"files": ("pay.txt", uuid7().bytes)},
            data={"access": "private", "readers": orjson.dumps(readers).decode()},
        )
        document = made.json()["documents"][0]["id"]
        assert await office.reader.sees(document)
        assert not await office.administrator.sees(document)
    for wrong in ("[]", "{", '{"users": ["x"]}', '{"people": []}'):
        refused = await office.editor.ask(
            "POST", "/documents", files={"files": ("a.txt", uuid7().bytes)}, data={"readers": wrong}
        )
        assert refused.status_code == 422
    stranger = orjson.dumps({"users": [str(uuid7())]}).decode()
    refused = await office.editor.ask(
        "POST", "/documents", files={"files": ("a.txt", uuid7().bytes)}, data={"readers": stranger}
    )
    assert refused.status_code == 404


async def test_readers_are_shown_to_those_who_may_write(office: Office) -> None:
    document = await office.private_document()
    readers = {"users": [str(office.reader.id)], "groups": []}
    changed = await office.editor.ask("PATCH", f"/documents/{document}", json={"readers": readers})
    assert changed.json()["readers"] == readers
    assert changed.json()["owner_id"] == str(office.editor.id)
    seen = await office.reader.ask("GET", f"/documents/{document}")
    assert (seen.status_code, seen.json()["readers"]) == (200, None)
    title = await office.editor.ask("PATCH", f"/documents/{document}", json={"title": "Pay"})
    assert title.json()["readers"] == readers  # what a change leaves out stays


async def test_a_program_keeps_what_it_uploads_privately(office: Office, client: httpx.AsyncClient) -> None:
    program = Person(UserId(uuid7()), client, await key_of(office.database, office.tenant, None, cap=None))
    made = await program.ask(
        "POST", "/documents", files={"files": ("own.txt", uuid7().bytes)}, data={"access": "private"}
    )
    document = made.json()["documents"][0]["id"]
    assert await program.sees(document)
    assert not await office.editor.sees(document)
    shared = await program.ask(
        "PATCH", f"/documents/{document}", json={"readers": {"users": [str(office.editor.id)], "groups": []}}
    )
    assert shared.status_code == 200
    assert await program.sees(document)
    assert await office.editor.sees(document)


async def test_administrators_ask_for_what_others_keep_private_and_the_log_says_so(office: Office) -> None:
    document = await office.private_document()
    address = f"/documents/{document}"
    as_administrator = {"as_administrator": "true"}
    for person in (office.administrator, office.owner):
        assert not await person.sees(document)
        assert (await person.ask("GET", address, params=as_administrator)).status_code == 200
        listed = (await person.ask("GET", "/documents", params=as_administrator)).json()
        assert str(document) in [item["id"] for item in listed["items"]]
        assert (await person.ask("GET", f"{address}/content", params=as_administrator)).status_code == 200
        assert (await person.ask("GET", f"{address}/chunks", params=as_administrator)).status_code == 200
    for person in (office.editor, office.reader):
        for path in ("/documents", address):
            refused = await person.ask("GET", path, params=as_administrator)
            assert (refused.status_code, refused.json()["permission"]) == (403, "documents:administer")
    found = await office.administrator.ask("POST", "/search", json={"query": "x"}, params=as_administrator)
    assert found.json()["results"] == []
    renamed = await office.administrator.ask("PATCH", address, json={"title": "Theirs"}, params=as_administrator)
    assert renamed.json()["title"] == "Theirs"
    assert (await office.administrator.ask("DELETE", address, params=as_administrator)).status_code == 204
    assert not await office.editor.sees(document)
    log = await office.administrator.ask("GET", "/workspaces/audit-logs", params={"target_kind": "document"})
    acts = [(item["action"], item["actor_user_id"]) for item in reversed(log.json()["items"])]
    each = (
        "document.read_as_administrator",
        "document.listed_as_administrator",
        "document.downloaded_as_administrator",
        "document.read_as_administrator",
    )
    assert acts == [
        *((action, str(office.administrator.id)) for action in each),
        *((action, str(office.owner.id)) for action in each),
        ("document.changed_as_administrator", str(office.administrator.id)),
        ("document.deleted_as_administrator", str(office.administrator.id)),
    ]
    assert {item["target_id"] for item in log.json()["items"]} == {str(document), None}


async def test_an_organisations_domains_are_listed_added_and_removed_and_the_log_says_so(office: Office) -> None:
    address = f"/organizations/{office.tenant.organization_id}/domains"
    assert (await office.editor.ask("GET", address)).json()["items"] == []
    made = await office.owner.ask("POST", address, json={"domain": " Echo.Example. "})
    assert (made.status_code, made.json()["domain"]) == (201, "echo.example")
    assert (await office.owner.ask("POST", address, json={"domain": "echo.example"})).status_code == 409
    for wrong in (
        "echo",
        "echo..example",
        "-a.example",
        "a_b.example",
        "ütf.example",
        "x" * 64 + ".example",
        "a@b.example",
    ):
        assert (await office.owner.ask("POST", address, json={"domain": wrong})).status_code == 422, wrong
    assert (await office.editor.ask("POST", address, json={"domain": "more.example"})).status_code == 403
    elsewhere = f"/organizations/{uuid7()}/domains"
    for method, path in (("GET", elsewhere), ("POST", elsewhere), ("DELETE", f"{elsewhere}/echo.example")):
        assert (await office.owner.ask(method, path, json={"domain": "a.example"})).status_code == 404
    assert (await office.owner.ask("DELETE", f"{address}/ECHO.example")).status_code == 204
    assert (await office.owner.ask("DELETE", f"{address}/echo.example")).status_code == 404
    log = await office.owner.ask("GET", "/admin/audit-logs", params={"action": "domain"})
    assert [item["action"] for item in log.json()["items"]] == ["domain.removed", "domain.added"]


async def test_every_trace_of_a_document_goes_with_the_right_to_read_it(office: Office, embedder: FakeEmbedder) -> None:
    """Search, text, chunks, picture, bytes, its job, and the words of an answer that was given before."""
    document = await add_document(office.database, office.tenant, embedder, WORDS, access=Access.WORKSPACE)
    answered = (await office.reader.ask("POST", "/ask", json={"question": "What does the heron keeper earn?"})).json()
    assert answered["citations"], answered
    uploaded = await office.editor.ask("POST", "/documents", files={"files": ("job.txt", uuid7().bytes)})
    job = uploaded.json()["documents"][0]
    assert (await office.reader.ask("GET", f"/jobs/{job['job_id']}")).status_code == 200

    owned = "update documents set owner_id = :owner where id = any (cast(:ids as uuid[]))"
    await run(office.database, office.tenant, owned, owner=office.editor.id, ids=[str(document), job["id"]])
    for one in (document, job["id"]):
        hidden = await office.editor.ask("PATCH", f"/documents/{one}", json={"access": "private"})
        assert hidden.status_code == 200, hidden.text

    assert not await office.reader.sees(document)
    for path in ("", "/text", "/content", "/chunks", "/pages/1.png"):
        assert (await office.reader.ask("GET", f"/documents/{document}{path}")).status_code == 404
    found = await office.reader.ask("POST", "/search", json={"query": "heron keeper nineteen coins"})
    assert found.json()["results"] == []
    assert (await office.reader.ask("GET", f"/jobs/{job['job_id']}")).status_code == 404
    assert (await office.reader.ask("GET", "/jobs")).json()["total"] == 0
    record = (await office.reader.ask("GET", f"/answers/{answered['id']}")).json()
    assert (record["refused"], record["refusal_reason"]) == (True, "source_withdrawn")
    assert "nineteen" not in orjson.dumps({**record, "question": ""}).decode()
    assert (await office.editor.ask("GET", f"/answers/{answered['id']}")).status_code == 404  # it is the asker's alone


class HeldGenerator:
    """Says two sentences, and between them waits until the test lets it go on."""

    name = "test:held"

    def __init__(self) -> None:
        self.has_begun, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def stream(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float = 0.0
    ) -> AsyncIterator[Delta]:
        yield Delta("The heron keeper earns nineteen coins [1]. The weir")
        self.has_begun.set()
        await self.may_go_on.wait()
        yield Delta(" opens at noon [1].")


@pytest.mark.parametrize(
    "end",
    [
        "update organization_members set suspended_at = now() where user_id = :user",
        "delete from workspace_members where user_id = :user",
        "update api_keys set revoked_at = now() where user_id = :user",
        "update documents set readers = '{}' where workspace_id = :workspace and :user is not null",
    ],
)
async def test_nothing_more_is_shown_of_an_answer_once_the_right_to_read_has_ended(
    office: Office, embedder: FakeEmbedder, end: str
) -> None:
    await add_document(office.database, office.tenant, embedder, WORDS)
    generator = HeldGenerator()
    search = PassageSearch(office.database, embedder)
    flow = AskFlow(search, AnswerRecords(office.database), embedder, None, [generator])
    caller = await Callers(office.database).of_key(secrets.digest(office.reader.key), None)
    seen: list[object] = []

    async def listen() -> None:
        seen.extend([event async for event in flow.stream(caller, AskRequest("What does the heron keeper earn?"))])

    listening = asyncio.create_task(listen())
    await asyncio.wait_for(generator.has_begun.wait(), 30)
    async with office.database.transaction(office.tenant.worker()) as session:
        await session.execute(
            text(end.replace(":user", f"'{office.reader.id}'").replace(":workspace", f"'{office.tenant.workspace_id}'"))
        )
    generator.may_go_on.set()
    await asyncio.wait_for(listening, 30)
    told = "".join(event.text for event in seen if isinstance(event, Token))
    assert "nineteen" in told  # what was shown while it could be read
    assert "noon" not in told
    assert not [event for event in seen if isinstance(event, Cited) and "noon" in event.citation.quote]
    (last,) = [event.answer for event in seen if isinstance(event, Answered)]
    assert (last.is_refused, last.refusal_reason, last.citations) == (True, "source_withdrawn", ())


async def test_a_key_made_for_reading_asks_and_searches_but_changes_nothing(office: Office) -> None:
    document = await office.private_document()
    narrow = Person(
        office.editor.id,
        office.editor.client,
        await key_of(office.database, office.tenant, office.editor.id, scopes=[Scope.READ]),
    )
    assert await narrow.sees(document)
    assert (await narrow.ask("PATCH", f"/documents/{document}", json={"title": "x"})).status_code == 403
    assert (await narrow.ask("GET", f"/documents/{document}")).json()["readers"] is None


async def test_programs_read_their_own_answers_and_nobody_elses(
    office: Office, client: httpx.AsyncClient, embedder: FakeEmbedder, owner_url: str
) -> None:
    await add_document(office.database, office.tenant, embedder, WORDS)
    issuer = Issuer(owner_url)
    account = uuid7()
    await run(
        office.database,
        office.tenant,
        "insert into service_accounts (organization_id, id, workspace_id, name, workspace_role)"
        " values (:organization, :id, :workspace, 'robot', 'reader')",
        id=account,
    )
    robot_key = await key_of(office.database, office.tenant, None, scopes=[Scope.READ], cap=None)
    await run(
        office.database,
        office.tenant,
        "update api_keys set service_account_id = :account where secret_sha256 = :digest",
        account=account,
        digest=secrets.digest(robot_key),
    )
    nobodys = await key_of(office.database, office.tenant, None, scopes=[Scope.READ], cap=None)
    credentials = [robot_key, nobodys, *(issuer.token("read", issuer.client(office.tenant)) for _ in range(2))]
    programs = [Person(UserId(uuid7()), client, credential) for credential in credentials]
    for program in programs:
        asked = await program.ask("POST", "/ask", json={"question": "What does the heron keeper earn?"})
        assert asked.status_code == 200, asked.text
        for other in (*programs, office.reader):
            found = await other.ask("GET", f"/answers/{asked.json()['id']}")
            assert found.status_code == (200 if other is program else 404)


async def test_reindexing_everything_leaves_out_nothing_that_others_keep_private(office: Office) -> None:
    document = await office.private_document()
    queued = await office.administrator.ask("POST", "/documents/reindex")
    assert (queued.status_code, queued.json()["queued"]) == (202, 1)
    assert not await office.administrator.sees(document)
