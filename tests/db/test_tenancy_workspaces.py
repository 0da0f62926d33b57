"""Workspaces: who sees them, what an archive refuses, and that a bulk operation is one act with one line for each."""

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import text
from tests.db.conftest import Tenant
from tests.db.library_driver import add_document
from tests.db.people import add_person

from ragecho.audit import trail_store
from ragecho.audit.trail import AuditEvent, AuditFilter
from ragecho.engines.fakes import FakeEmbedder
from ragecho.kernel.authorization import OrganizationRole, Scope, WorkspaceRole
from ragecho.kernel.caller import Caller
from ragecho.kernel.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    SelectionChanged,
    TooLarge,
    WorkspaceArchived,
)
from ragecho.kernel.ids import ApiKeyId, WorkspaceId, uuid7
from ragecho.platform.database import Database
from ragecho.platform.jobs import store as jobs
from ragecho.tenancy import bulk, workspaces
from ragecho.tenancy.model import BulkOutcome, Workspace, WorkspaceFilter, WorkspaceStatus
from ragecho.tenancy.settings import TenancySettings

pytestmark = pytest.mark.anyio

ARCHIVED, ACTIVE = WorkspaceStatus.ARCHIVED, WorkspaceStatus.ACTIVE
LIMITS = TenancySettings(_env_file=None, max_bulk_ids=5, max_bulk_matching=6)


async def create(database: Database, tenant: Tenant, *slugs: str) -> list[Workspace]:
    made = []
    for slug in slugs:
        async with database.transaction(tenant.member()) as session:
            made.append(
                await workspaces.create_workspace(
                    tenant.member(), session, slug=slug, name=slug.title(), description="", space=tenant.space
                )
            )
    return made


async def set_status(database: Database, tenant: Tenant, name: str, status: WorkspaceStatus) -> Workspace:
    async with database.transaction(tenant.member()) as session:
        return await bulk.set_workspace_status(tenant.member(), session, name, status, reason="tidying up")


async def acts(database: Database, tenant: Tenant, **wanted: Any) -> list[AuditEvent]:
    async with database.transaction(tenant.member()) as session:
        found, total = await trail_store.list_page(session, AuditFilter(**wanted), limit=100, offset=0)
    assert total == len(found)
    return found


async def slugs_seen(database: Database, caller: Caller) -> list[str]:
    async with database.transaction(caller) as session:
        found, total = await workspaces.list_workspaces(caller, session, limit=50, offset=0)
    assert total == len(found)
    return [workspace.slug for workspace in found]


async def test_each_sees_the_workspaces_they_may_enter(database: Database, tenant: Tenant) -> None:
    await create(database, tenant, "second")
    person = await add_person(database, tenant, workspace_role="reader")
    admin = tenant.member()
    member = replace(
        admin, user_id=person, organization_role=OrganizationRole.MEMBER, workspace_role=WorkspaceRole.READER
    )
    key = replace(admin, api_key_id=ApiKeyId(uuid7()), organization_role=None)
    reading_key = replace(admin, api_key_id=ApiKeyId(uuid7()), scopes=frozenset({Scope.READ}))
    assert await slugs_seen(database, admin) == ["second", "main"]
    assert await slugs_seen(database, member) == ["main"]
    assert await slugs_seen(database, key) == ["main"]
    assert await slugs_seen(database, reading_key) == ["main"]
    assert await slugs_seen(database, replace(key, organization_role=OrganizationRole.ADMIN)) == ["second", "main"]
    for outsider in (member, key, reading_key):
        async with database.transaction(outsider) as session:
            with pytest.raises(NotFound):
                await workspaces.get_workspace(outsider, session, "second")


async def test_a_page_past_the_end_still_says_how_many_there_are(database: Database, tenant: Tenant) -> None:
    await create(database, tenant, "second", "third")
    async with database.transaction(tenant.member()) as session:
        found, total = await workspaces.list_workspaces(tenant.member(), session, limit=2, offset=10)
    assert (found, total) == ([], 3)


async def test_a_slug_is_unique_in_its_organisation_only(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    await create(database, tenant, "same")
    await create(database, other_tenant, "same")
    with pytest.raises(Conflict):
        await create(database, tenant, "same")
    for reserved in ("bulk", "audit-logs", "Bad Slug", "-x"):
        with pytest.raises(InvalidInput):
            await create(database, tenant, reserved)


async def test_renaming_is_written_down_with_what_was_and_what_is(database: Database, tenant: Tenant) -> None:
    caller = tenant.member()
    async with database.transaction(caller) as session:
        changed = await workspaces.change_workspace(caller, session, "main", new_name="Main office", new_slug="office")
    assert (changed.slug, changed.name) == ("office", "Main office")
    (act,) = await acts(database, tenant, action="workspace.changed")
    assert act.details == {
        "before": {"slug": "main", "name": "Main"},
        "after": {"slug": "office", "name": "Main office"},
    }
    reader = replace(caller, workspace_role=WorkspaceRole.EDITOR, organization_role=OrganizationRole.MEMBER)
    async with database.transaction(reader) as session:
        with pytest.raises(Forbidden):
            await workspaces.change_workspace(reader, session, "office", new_name="Mine")


async def test_an_archived_workspace_reads_and_refuses_every_write_in_the_database(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    document = await add_document(database, tenant, embedder, "the heron stands in the river")
    await set_status(database, tenant, "main", ARCHIVED)
    async with database.transaction(tenant.worker()) as session:
        assert (await session.execute(text("select count(*) from chunks"))).scalar_one() == 1
    for table in (
        "documents",
        "document_versions",
        "chunks",
        "chunk_vectors",
        "chunk_terms",
        "jobs",
        "document_grants",
    ):
        for statement in (f"delete from {table}", f"update {table} set workspace_id = workspace_id"):
            if table == "document_grants" and statement.startswith("update"):
                continue  # nobody may update a grant
            with pytest.raises(WorkspaceArchived):
                async with database.transaction(tenant.worker()) as session:
                    await session.execute(text(statement))
    with pytest.raises(WorkspaceArchived):
        await add_document(database, tenant, embedder, "another one")
    with pytest.raises(WorkspaceArchived):
        async with database.transaction(tenant.worker()) as session:
            await jobs.enqueue(session, tenant.worker(), kind="ingest_document", document_id=document)
    caller = tenant.member()
    with pytest.raises(WorkspaceArchived):
        async with database.transaction(caller) as session:
            await workspaces.change_workspace(caller, session, "main", new_name="Other")

    await set_status(database, tenant, "main", ACTIVE)
    await add_document(database, tenant, embedder, "another one")


async def test_archiving_waits_for_writers_and_refuses_those_that_come_later(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    await add_document(database, tenant, embedder, "the heron stands in the river")
    async with database.transaction(tenant.worker()) as writing:
        await writing.execute(text("update documents set title = 'first'"))
        archiving = asyncio.create_task(set_status(database, tenant, "main", ARCHIVED))
        await somebody_waits(database)
        assert not archiving.done()
        # What has begun may go on; it is finished before the archive is.
        await writing.execute(text("update documents set title = 'second'"))
    assert (await archiving).status == ARCHIVED
    with pytest.raises(WorkspaceArchived):
        async with database.transaction(tenant.worker()) as session:
            await session.execute(text("update documents set title = 'third'"))


async def test_open_jobs_are_parked_by_the_archive_and_handed_out_again_after_it(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    document = await add_document(database, tenant, embedder, "the heron stands in the river")
    worker = tenant.worker()
    async with database.transaction(worker) as session:
        running = await jobs.enqueue(session, worker, kind="ingest_document", document_id=document)
        waiting = await jobs.enqueue(session, worker, kind="ingest_document", document_id=document)
    async with database.transaction(worker) as session:
        assert await jobs.claim(session, worker, running) is not None

    await set_status(database, tenant, "main", ARCHIVED)
    async with database.transaction(worker) as session:
        for job_id in (running, waiting):
            job = await jobs.get(session, worker, job_id)
            assert job is not None
            assert (job.status, job.attempts) == ("queued", 0)
        assert await deliveries(session, tenant.workspace_id) == 0
    with pytest.raises(WorkspaceArchived):
        async with database.transaction(worker) as session:
            await jobs.claim(session, worker, waiting)

    await set_status(database, tenant, "main", ACTIVE)
    async with database.transaction(worker) as session:
        assert await deliveries(session, tenant.workspace_id) == 2
        assert await jobs.claim(session, worker, waiting) is not None


async def test_a_job_that_its_worker_holds_is_parked_when_the_worker_has_let_go(
    database: Database, tenant: Tenant, embedder: FakeEmbedder
) -> None:
    document = await add_document(database, tenant, embedder, "the heron stands in the river")
    worker = tenant.worker()
    async with database.transaction(worker) as session:
        job_id = await jobs.enqueue(session, worker, kind="ingest_document", document_id=document)
    async with database.transaction(worker) as session:
        assert await jobs.claim(session, worker, job_id) is not None
    async with database.transaction(worker) as holding:
        # Nothing is written yet, as at the beginning of an attempt.
        assert await jobs.lock_open(holding, worker, [job_id]) == {job_id}
        archiving = asyncio.create_task(set_status(database, tenant, "main", ARCHIVED))
        await somebody_waits(database)
        assert not archiving.done()
        await jobs.report(holding, worker, {job_id: ("parsing", 0.1)})
    assert (await archiving).status == ARCHIVED
    async with database.transaction(worker) as session:
        job = await jobs.get(session, worker, job_id)
        assert job is not None
        assert (job.status, job.stage, job.attempts) == ("queued", None, 0)


async def somebody_waits(database: Database) -> None:
    async with database.anonymous() as watching, asyncio.timeout(30):
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        while not (await watching.execute(text(waiting))).scalar_one():
            pass


async def deliveries(session: Any, workspace_id: WorkspaceId) -> int:
    found = await session.execute(
        text("select count(*) from procrastinate_jobs where args ->> 'workspace_id' = :id and status = 'todo'"),
        {"id": str(workspace_id)},
    )
    return int(found.scalar_one())


async def test_archiving_twice_is_one_act(database: Database, tenant: Tenant) -> None:
    first = await set_status(database, tenant, "main", ARCHIVED)
    second = await set_status(database, tenant, "main", ARCHIVED)
    assert first == second
    (act,) = await acts(database, tenant, action="workspace.archived")
    assert act.reason == "tidying up"
    assert act.details["after"] == {"status": "archived"}


async def test_a_bulk_operation_says_what_became_of_each(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    one, two = await create(database, tenant, "one", "two")
    await set_status(database, tenant, "two", ARCHIVED)
    caller = tenant.member()
    ids = [one.id, two.id, other_tenant.workspace_id, one.id]
    async with database.transaction(caller) as session:
        results = await bulk.set_status_of_ids(caller, session, ids, ARCHIVED, reason="closing", limits=LIMITS)
    assert [(result.id, result.outcome) for result in results] == [
        (one.id, BulkOutcome.DONE),
        (two.id, BulkOutcome.UNCHANGED),
        (other_tenant.workspace_id, BulkOutcome.NOT_FOUND),
    ]
    (act,) = await acts(database, tenant, action="workspace.archived", workspace_id=one.id)
    assert (act.reason, act.details["before"], act.details["after"]) == (
        "closing",
        {"status": "active"},
        {"status": "archived"},
    )
    async with database.transaction(other_tenant.member()) as session:
        theirs = await workspaces.get_workspace(other_tenant.member(), session, "main")
    assert theirs.status == ACTIVE


async def test_a_bulk_operation_has_a_limit_and_needs_something_to_do(database: Database, tenant: Tenant) -> None:
    caller = tenant.member()
    async with database.transaction(caller) as session:
        with pytest.raises(TooLarge, match="At most 5"):
            await bulk.set_status_of_ids(
                caller, session, [WorkspaceId(uuid7()) for _ in range(6)], ARCHIVED, reason=None, limits=LIMITS
            )
        with pytest.raises(InvalidInput):
            await bulk.set_status_of_ids(caller, session, [], ARCHIVED, reason=None, limits=LIMITS)


async def matching(
    database: Database, tenant: Tenant, wanted: WorkspaceFilter, *, expected: int, confirm: bool = True
) -> list[BulkOutcome]:
    caller = tenant.member()
    async with database.transaction(caller) as session:
        results = await bulk.set_status_of_matching(
            caller, session, bulk.Selection(wanted, expected, confirm), ARCHIVED, reason="project over", limits=LIMITS
        )
    return [result.outcome for result in results]


async def test_what_a_filter_selects_is_changed_over_all_pages_after_a_preview(
    database: Database, tenant: Tenant
) -> None:
    await create(database, tenant, "project-1", "project-2", "project-3", "office")
    wanted = WorkspaceFilter(text="PROJECT-")
    async with database.transaction(tenant.member()) as session:
        seen = await bulk.preview(tenant.member(), session, wanted, sample_limit=2)
    assert (seen.total, seen.by_status, [w.slug for w in seen.sample]) == (3, {"active": 3}, ["project-3", "project-2"])

    with pytest.raises(InvalidInput):
        await matching(database, tenant, wanted, expected=3, confirm=False)
    with pytest.raises(SelectionChanged) as changed:
        await matching(database, tenant, wanted, expected=2)
    assert changed.value.facts["total"] == 3
    assert await matching(database, tenant, wanted, expected=3) == [BulkOutcome.DONE] * 3
    assert await matching(database, tenant, wanted, expected=3) == [BulkOutcome.UNCHANGED] * 3
    assert len(await acts(database, tenant, action="workspace.archived")) == 3
    async with database.transaction(tenant.member()) as session:
        again = await bulk.preview(
            tenant.member(), session, WorkspaceFilter(status=ACTIVE, text="project"), sample_limit=10
        )
    assert (again.total, again.sample) == (0, ())


async def test_a_selection_over_the_limit_is_refused_whole(database: Database, tenant: Tenant) -> None:
    await create(database, tenant, *(f"w{number}" for number in range(7)))
    with pytest.raises(TooLarge, match="more than 6"):
        await matching(database, tenant, WorkspaceFilter(), expected=8)
    assert await acts(database, tenant, action="workspace.archived") == []


async def test_wildcards_in_a_filter_are_ordinary_characters(database: Database, tenant: Tenant) -> None:
    await create(database, tenant, "a-b")
    async with database.transaction(tenant.member()) as session:
        for wildcard in ("%", "_", "\\"):
            seen = await bulk.preview(tenant.member(), session, WorkspaceFilter(text=wildcard), sample_limit=0)
            assert seen.total == 0


async def test_only_an_archived_workspace_is_deleted_and_nothing_of_it_stays(
    database: Database, tenant: Tenant, other_tenant: Tenant, embedder: FakeEmbedder
) -> None:
    caller = tenant.member()
    (doomed,) = await create(database, tenant, "doomed")
    inside = Tenant(tenant.organization_id, doomed.id, tenant.space)
    await add_document(database, inside, embedder, "the heron stands in the river")
    async with database.transaction(caller) as session:
        with pytest.raises(Conflict):
            await workspaces.delete_workspace(caller, session, "doomed", confirm="doomed")
    await set_status(database, tenant, "doomed", ARCHIVED)
    async with database.transaction(caller) as session:
        with pytest.raises(InvalidInput):
            await workspaces.delete_workspace(caller, session, "doomed", confirm="other")
    async with database.transaction(caller) as session:
        gone, digests = await workspaces.delete_workspace(caller, session, "doomed", confirm="doomed")
    assert gone.id == doomed.id
    assert len(digests) == 1
    async with database.transaction(inside.worker()) as session:
        for table in ("documents", "chunks", "chunk_vectors", "chunk_terms", "jobs"):
            assert (await session.execute(text(f"select count(*) from {table}"))).scalar_one() == 0
    (act,) = await acts(database, tenant, action="workspace.deleted")
    assert act.workspace_id == doomed.id


async def test_two_who_take_the_same_slug_at_once_are_told_not_broken(database: Database, tenant: Tenant) -> None:
    one, two = await create(database, tenant, "one", "two")
    caller = tenant.member()

    async def rename(workspace: Workspace) -> None:
        async with database.transaction(caller) as session:
            await workspaces.change_workspace(caller, session, str(workspace.id), new_slug="wanted")

    outcomes = await asyncio.gather(rename(one), rename(two), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "NoneType"]


async def test_bulk_operations_over_the_same_workspaces_follow_one_another(database: Database, tenant: Tenant) -> None:
    made = [workspace.id for workspace in await create(database, tenant, *(f"w{n}" for n in range(5)))]
    caller = tenant.member()

    async def change(ids: list[WorkspaceId], status: WorkspaceStatus) -> int:
        async with database.transaction(caller) as session:
            results = await bulk.set_status_of_ids(caller, session, ids, status, reason=None, limits=LIMITS)
        return sum(result.outcome is BulkOutcome.DONE for result in results)

    for _ in range(5):
        await asyncio.gather(
            change(made, ARCHIVED), change(made[::-1], ACTIVE), change(made, ACTIVE), change(made[::-1], ARCHIVED)
        )
        async with database.transaction(caller) as session:
            now = [(await workspaces.get_workspace(caller, session, str(one))).status for one in made]
        assert len(set(now)) == 1, "each operation is all or nothing"
    done = await acts(database, tenant, action="workspace", workspace_id=made[0])
    # The log alternates: nothing is archived twice without a restore in between.
    kinds = [act.action for act in done if act.action != "workspace.created"]
    assert all(earlier != later for earlier, later in pairwise(kinds))
