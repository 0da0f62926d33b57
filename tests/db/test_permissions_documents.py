"""Who may read a document: its level, its owner, people and groups by name; the chunks follow in the same transaction."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import create_engine, text
from tests.db.conftest import Tenant
from tests.db.library_driver import add_document
from tests.db.people import add_domain, add_group, add_key, add_person, run, run_as_identity

from ragecho.engines.fakes import FakeEmbedder
from ragecho.kernel.authorization import Scope
from ragecho.kernel.caller import Access, Caller
from ragecho.kernel.errors import Forbidden, InvalidInput, NotFound
from ragecho.kernel.ids import DocumentId, GroupId, UserId, uuid7
from ragecho.library import service
from ragecho.library.administration import opened
from ragecho.library.model import Document, DocumentFilter, NamedReaders
from ragecho.library.search import PassageSearch, SearchMode
from ragecho.library.service import DocumentChange
from ragecho.library.store_documents import list_documents
from ragecho.platform.database import IDENTITY_ROLE, Database, driver_url
from ragecho.tenancy.callers import Callers

pytestmark = pytest.mark.anyio

WORDS = "the heron keeper earns nineteen coins"
TABLES = ("documents", "chunks", "chunk_vectors", "chunk_terms")


class World:
    """One tenant with an owner and helpers to act as its people."""

    def __init__(self, database: Database, tenant: Tenant, embedder: FakeEmbedder) -> None:
        self.database, self.tenant, self.embedder = database, tenant, embedder
        self.search = PassageSearch(database, embedder)

    async def caller(self, user_id: UserId) -> Caller:
        return await Callers(self.database).of_subject(
            user_id=user_id,
            client_id="web",
            grant_id=None,
            workspace=str(self.tenant.workspace_id),
            scopes=frozenset(Scope),
        )

    async def person(self, role: str = "reader", **options: str) -> UserId:
        return await add_person(self.database, self.tenant, workspace_role=role, **options)  # type: ignore[arg-type]  # options of add_person

    async def document(self, owner: UserId, access: Access = Access.PRIVATE) -> DocumentId:
        made = await add_document(
            self.database, self.tenant, self.embedder, WORDS, access=access, owner_id=owner, filename="pay.txt"
        )
        await run(self.database, self.tenant, "select 1")
        as_worker = self.tenant.worker()
        async with self.database.transaction(as_worker) as session:
            await session.execute(
                text("update documents set owner_id = :owner where id = :id"), {"owner": owner, "id": made}
            )
        return made

    async def change(self, user_id: UserId, document: DocumentId, change: DocumentChange) -> Document:
        caller = await self.caller(user_id)
        async with self.database.transaction(caller) as session:
            return await service.change_document(caller, session, document, change)

    async def share(
        self,
        user_id: UserId,
        document: DocumentId,
        *,
        users: tuple[UserId, ...] = (),
        groups: tuple[GroupId, ...] = (),
        access: Access | None = None,
    ) -> Document:
        return await self.change(user_id, document, DocumentChange(named=NamedReaders(users, groups), access=access))

    async def sees(self, user_id: UserId, document: DocumentId) -> bool:
        """Return whether the person may read it; by list, look-up and every kind of search, which must agree."""
        caller = await self.caller(user_id)
        async with self.database.transaction(caller) as session:
            listed, total = await list_documents(session, caller, DocumentFilter(), limit=50, offset=0)
            try:
                await service.get_document(caller, session, document)
                answers = [True]
            except NotFound:
                answers = [False]
        answers.append(document in [one.id for one in listed])
        assert total == len(listed)
        for mode in SearchMode:
            found = await self.search.search(caller, query="heron keeper coins", k=10, mode=mode)
            answers.append(document in [passage.document_id for passage in found.passages])
        assert len(set(answers)) == 1, answers
        return answers[0]

    async def labels(self, document: DocumentId) -> set[tuple[str, ...]]:
        """Return the different lists of readers that the document and its pieces carry."""
        found: set[tuple[str, ...]] = set()
        worker = self.tenant.worker()
        async with self.database.transaction(worker) as session:
            for table in TABLES:
                key = "id" if table == "documents" else "document_id"
                rows = await session.execute(text(f"select readers from {table} where {key} = :id"), {"id": document})
                found |= {tuple(sorted(readers)) for readers in rows.scalars()}
        return found


@pytest.fixture
async def world(database: Database, tenant: Tenant, embedder: FakeEmbedder) -> World:
    await add_person(database, tenant, role="owner", workspace_role=None)
    return World(database, tenant, embedder)


async def test_a_private_document_is_read_by_the_people_and_groups_that_were_named(world: World) -> None:
    owner, friend, colleague, stranger = [await world.person("editor") for _ in range(4)]
    group = await add_group(world.database, world.tenant, colleague)
    document = await world.document(owner)
    assert [await world.sees(one, document) for one in (owner, friend, colleague, stranger)] == [
        True,
        False,
        False,
        False,
    ]

    shared = await world.share(owner, document, users=(friend,), groups=(group,))
    assert shared.named_readers == NamedReaders((friend,), (group,))
    assert [await world.sees(one, document) for one in (owner, friend, colleague, stranger)] == [
        True,
        True,
        True,
        False,
    ]
    assert await world.labels(document) == {tuple(sorted((f"user:{owner}", f"user:{friend}", f"group:{group}")))}

    await world.share(owner, document, users=(friend,))
    assert [await world.sees(one, document) for one in (owner, friend, colleague, stranger)] == [
        True,
        True,
        False,
        False,
    ]
    await world.share(owner, document)
    assert [await world.sees(one, document) for one in (owner, friend, colleague, stranger)] == [
        True,
        False,
        False,
        False,
    ]


async def test_joining_or_leaving_a_group_takes_effect_at_once_and_relabels_nothing(world: World) -> None:
    owner, colleague = await world.person("editor"), await world.person()
    group = await add_group(world.database, world.tenant)
    document = await world.document(owner)
    await world.share(owner, document, groups=(group,))
    before = await world.labels(document)
    assert not await world.sees(colleague, document)
    join = "insert into group_members (organization_id, group_id, user_id) values (:organization, :group, :user)"
    await run(world.database, world.tenant, join, group=group, user=colleague)
    assert await world.sees(colleague, document)
    await run(world.database, world.tenant, "delete from group_members where user_id = :user", user=colleague)
    assert not await world.sees(colleague, document)
    assert await world.labels(document) == before


async def test_levels_follow_the_verified_domain_at_once(world: World) -> None:
    owner = await world.person("editor", email=f"{uuid7()}@echo.example")
    inside = await world.person(email=f"{uuid7()}@echo.example")
    outside = await world.person(email=f"{uuid7()}@guest.example")
    internal = await world.document(owner, Access.INTERNAL)
    external = await world.document(owner, Access.EXTERNAL)
    assert await world.sees(outside, internal)  # no domain is listed: every member is internal
    await add_domain(world.database, world.tenant, "echo.example")
    for person, document, expected in (
        (inside, internal, True),
        (inside, external, True),
        (outside, internal, False),
        (outside, external, True),
    ):
        assert await world.sees(person, document) is expected
    await world.share(owner, internal, users=(outside,))  # by name, whatever the level
    assert await world.sees(outside, internal)
    await run_as_identity(
        world.database, world.tenant, "update users set email_verified_at = null where id = :id", id=inside
    )
    assert not await world.sees(inside, internal)


async def test_readers_of_another_organisation_do_not_exist(world: World, other_tenant: Tenant) -> None:
    owner = await world.person("editor")
    document = await world.document(owner)
    foreigner = await add_person(world.database, other_tenant)
    foreign_group = await add_group(world.database, other_tenant, foreigner)
    before = await world.labels(document)
    for users, groups in (((foreigner,), ()), ((), (foreign_group,)), ((UserId(uuid7()),), ())):
        with pytest.raises(NotFound):
            await world.share(owner, document, users=users, groups=groups)
    assert await world.labels(document) == before


async def test_a_change_that_fails_leaves_every_label_as_it_was(world: World) -> None:
    owner, friend = await world.person("editor"), await world.person()
    document = await world.document(owner)
    before = await world.labels(document)
    caller = await world.caller(owner)
    with pytest.raises(ZeroDivisionError):
        async with world.database.transaction(caller) as session:
            await service.change_document(
                caller, session, document, DocumentChange(named=NamedReaders((friend,)), access=Access.INTERNAL)
            )
            raise ZeroDivisionError
    assert await world.labels(document) == before
    assert not await world.sees(friend, document)


async def test_who_may_read_a_private_document_is_for_its_owner_to_say(world: World) -> None:
    owner, friend = await world.person("editor"), await world.person("editor")
    document = await world.document(owner)
    await world.share(owner, document, users=(friend,))
    with pytest.raises(Forbidden):
        await world.share(friend, document, users=(friend,), access=Access.WORKSPACE)
    assert (await world.change(friend, document, DocumentChange(title="Pay"))).title == "Pay"
    with pytest.raises(NotFound):
        await world.share(await world.person("editor"), document)


async def test_nobody_hides_a_document_from_themselves_but_its_owner_keeps_it(world: World) -> None:
    owner, editor = await world.person("editor"), await world.person("editor")
    document = await world.document(owner, Access.WORKSPACE)
    with pytest.raises(InvalidInput):
        await world.change(editor, document, DocumentChange(access=Access.PRIVATE))
    assert (await world.change(owner, document, DocumentChange(access=Access.PRIVATE))).access is Access.PRIVATE


Ending = Callable[[World, UserId, GroupId], Awaitable[None]]


async def leave_group(world: World, user_id: UserId, group: GroupId) -> None:
    await run(world.database, world.tenant, "delete from group_members where user_id = :user", user=user_id)


async def be_suspended(world: World, user_id: UserId, group: GroupId) -> None:
    await run(
        world.database,
        world.tenant,
        "update organization_members set suspended_at = now() where user_id = :user",
        user=user_id,
    )


async def leave_workspace(world: World, user_id: UserId, group: GroupId) -> None:
    await run(world.database, world.tenant, "delete from workspace_members where user_id = :user", user=user_id)


async def be_disabled(world: World, user_id: UserId, group: GroupId) -> None:
    await run_as_identity(
        world.database, world.tenant, "update users set is_disabled = true where id = :user", user=user_id
    )


async def lose_group(world: World, user_id: UserId, group: GroupId) -> None:
    await run(world.database, world.tenant, "delete from groups where id = :group", group=group)


@pytest.mark.parametrize("end", [leave_group, be_suspended, leave_workspace, be_disabled, lose_group])
async def test_the_check_before_the_prompt_asks_who_the_caller_is_now(world: World, end: Ending) -> None:
    """The caller object is made when a request begins; an answer may stream for a minute after that."""
    owner, colleague = await world.person("editor"), await world.person()
    group = await add_group(world.database, world.tenant, colleague)
    document = await world.document(owner)
    await world.share(owner, document, groups=(group,))
    caller = await world.caller(colleague)
    found = (await world.search.search(caller, query="heron keeper", k=5)).passages
    assert await world.search.readable(caller, found) == {passage.chunk_id for passage in found} != set()
    await end(world, colleague, group)
    assert await world.search.readable(caller, found) == set()


async def test_the_check_before_the_prompt_knows_a_revoked_key(world: World) -> None:
    owner = await world.person("editor")
    await world.document(owner)
    key_id, digest = await add_key(world.database, world.tenant, user_id=owner)
    caller = await Callers(world.database).of_key(digest, None)
    found = (await world.search.search(caller, query="heron keeper", k=5)).passages
    assert await world.search.readable(caller, found) == {passage.chunk_id for passage in found} != set()
    await run(world.database, world.tenant, "update api_keys set revoked_at = now() where id = :id", id=key_id)
    assert await world.search.readable(caller, found) == set()


async def test_a_deleted_group_or_member_leaves_no_name_behind(world: World, other_tenant: Tenant) -> None:
    owner, friend, colleague = [await world.person("editor") for _ in range(3)]
    group = await add_group(world.database, world.tenant, colleague)
    document, own = await world.document(owner), await world.document(friend)
    await world.share(owner, document, users=(friend,), groups=(group,))
    await world.share(friend, own, users=(owner,))
    await run(world.database, world.tenant, "delete from groups where id = :id", id=group)
    assert await world.labels(document) == {tuple(sorted((f"user:{owner}", f"user:{friend}")))}
    await run(world.database, world.tenant, "delete from organization_members where user_id = :id", id=friend)
    assert await world.labels(document) == {(f"user:{owner}",)}
    assert await world.labels(own) == {tuple(sorted((f"user:{owner}", f"user:{friend}")))}  # an owner stays one
    async with world.database.transaction(world.tenant.worker()) as session:
        left = await session.execute(text("select principal from document_grants"))
        assert list(left.scalars()) == [f"user:{owner}"]


async def test_an_account_that_the_identity_service_removes_leaves_no_name_behind(world: World, owner_url: str) -> None:
    owner, friend = await world.person("editor"), await world.person()
    document = await world.document(owner)
    await world.share(owner, document, users=(friend,))
    identity = Database(owner_url, role=IDENTITY_ROLE, pool_size=1)
    try:
        async with identity.anonymous() as session:
            await session.execute(text("delete from organization_members where user_id = :id"), {"id": friend})
    finally:
        await identity.close()
    assert await world.labels(document) == {(f"user:{owner}",)}


def is_waiting_for_a_lock(owner_url: str, query: str) -> bool:
    engine = create_engine(driver_url(owner_url))
    with engine.connect() as connection:
        found = connection.execute(
            text(
                "select exists (select from pg_stat_activity"
                " where wait_event_type = 'Lock' and starts_with(query, :query) and datname = current_database())"
            ),
            {"query": query},
        ).scalar_one()
    engine.dispose()
    return bool(found)


async def test_a_group_that_is_deleted_while_it_is_being_named_leaves_no_name_behind(
    world: World, owner_url: str
) -> None:
    owner = await world.person("editor")
    group = await add_group(world.database, world.tenant, owner)
    document = await world.document(owner)
    caller = await world.caller(owner)
    async with world.database.transaction(caller) as session:
        await service.change_document(caller, session, document, DocumentChange(named=NamedReaders((), (group,))))
        deleting = asyncio.create_task(run(world.database, world.tenant, "delete from groups where id = :id", id=group))
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(is_waiting_for_a_lock, owner_url, "delete from groups"):
                assert not deleting.done()
    assert await deleting == 1
    assert await world.labels(document) == {(f"user:{owner}",)}


async def test_a_group_can_be_deleted_where_the_workspace_is_archived(world: World) -> None:
    owner = await world.person("editor")
    group = await add_group(world.database, world.tenant, owner)
    document = await world.document(owner)
    await world.share(owner, document, groups=(group,))
    archive = "update workspaces set status = 'archived', archived_at = now() where id = :workspace"
    await run(world.database, world.tenant, archive)
    await run(world.database, world.tenant, "delete from groups where id = :id", id=group)
    assert await world.labels(document) == {(f"user:{owner}",)}


async def test_an_administrator_sees_private_documents_only_where_they_ask_for_it_and_the_log_says_so(
    world: World,
) -> None:
    owner, administrator, editor = (
        await world.person("editor"),
        await world.person("admin"),
        await world.person("editor"),
    )
    document = await world.document(owner)
    assert not await world.sees(administrator, document)
    caller = await world.caller(administrator)
    async with opened(world.database, caller, act="read", document_id=document, as_administrator=True) as (
        who,
        session,
    ):
        assert (await service.get_document(who, session, document)).id == document
    async with opened(world.database, caller, act="changed", document_id=document, as_administrator=True) as (
        who,
        session,
    ):
        await service.change_document(who, session, document, DocumentChange(named=NamedReaders((editor,))))
    with pytest.raises(NotFound):
        async with opened(world.database, caller, act="read", document_id=document, as_administrator=False) as (
            who,
            session,
        ):
            await service.get_document(who, session, document)
    with pytest.raises(Forbidden):
        async with opened(world.database, await world.caller(editor), act="listed", as_administrator=True):
            pass
    assert await world.sees(editor, document)
    async with world.database.transaction(caller) as session:
        events = await session.execute(
            text(
                "select action, actor_user_id, target_kind, target_id, workspace_id from audit_events"
                " where action like 'document.%' order by id"
            )
        )
        assert [tuple(row) for row in events] == [
            (action, administrator, "document", str(document), world.tenant.workspace_id)
            for action in ("document.read_as_administrator", "document.changed_as_administrator")
        ]


async def test_an_administrators_access_that_fails_is_not_logged_as_one_that_happened(world: World) -> None:
    caller = await world.caller(await world.person("admin"))
    with pytest.raises(NotFound):
        async with opened(world.database, caller, act="read", as_administrator=True) as (who, session):
            await service.get_document(who, session, DocumentId(uuid7()))
    async with world.database.transaction(caller) as session:
        events = await session.execute(text("select count(*) from audit_events where action like 'document.%'"))
        assert events.scalar_one() == 0


async def test_grants_and_domains_are_the_tenants_own(world: World, other_tenant: Tenant, owner_url: str) -> None:
    owner, friend, stranger = await world.person("editor"), await world.person(), await world.person()
    document = await world.document(owner)
    await world.share(owner, document, users=(friend,))
    await add_domain(world.database, world.tenant, "echo.example")
    for caller, grants, domains in (
        (await world.caller(owner), 1, 1),
        (await world.caller(stranger), 0, 1),  # who may read what they may not is none of their business
        (other_tenant.member(), 0, 0),
        (other_tenant.member().in_workspace(world.tenant.workspace_id), 0, 0),
    ):
        async with world.database.transaction(caller) as session:
            assert (await session.execute(text("select count(*) from document_grants"))).scalar_one() == grants
            assert (await session.execute(text("select count(*) from organization_domains"))).scalar_one() == domains
    async with world.database.anonymous() as session:
        for table in ("document_grants", "organization_domains"):
            assert (await session.execute(text(f"select count(*) from {table}"))).scalar_one() == 0
    engine = create_engine(driver_url(owner_url))
    with engine.connect() as connection:
        forced = connection.execute(
            text(
                "select bool_and(relrowsecurity and relforcerowsecurity) from pg_class"
                " where relname in ('document_grants', 'organization_domains')"
            )
        )
        assert forced.scalar_one() is True
    engine.dispose()
