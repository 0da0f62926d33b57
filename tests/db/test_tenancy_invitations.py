"""Invitations: a link works once, for who owns the address, and nothing that is stored opens anything."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import RowMapping, text
from sqlalchemy.exc import ProgrammingError
from tests.db.conftest import Tenant
from tests.db.people import add_person, run

from ragecho.audit import trail_store
from ragecho.audit.trail import AuditFilter
from ragecho.kernel.authorization import OrganizationRole, WorkspaceRole
from ragecho.kernel.errors import Conflict, Forbidden, NotFound
from ragecho.kernel.ids import UserId, uuid7
from ragecho.platform.database import IDENTITY_ROLE, Database
from ragecho.tenancy import invitations, members, secrets
from ragecho.tenancy.model import InvitationStatus, NewInvitation

pytestmark = pytest.mark.anyio

EMAIL = "new@north.example"


@pytest.fixture
async def identity(owner_url: str, database: Database) -> AsyncIterator[Database]:
    """The identity service's own pool: links are followed there, without a caller."""
    pool = Database(owner_url, role=IDENTITY_ROLE, pool_size=8)
    yield pool
    await pool.close()


async def invite(database: Database, tenant: Tenant, email: str = EMAIL, **wanted: Any) -> NewInvitation:
    caller = tenant.member()
    options: dict[str, Any] = {
        "role": OrganizationRole.MEMBER,
        "workspaces": {"main": WorkspaceRole.EDITOR},
        "days": 7,
        "is_mailed": False,
    }
    async with database.transaction(caller) as session:
        return await invitations.create_invitation(caller, session, email=email, **(options | wanted))


async def add_account(identity: Database, email: str, *, is_verified: bool = True) -> UserId:
    user_id = UserId(uuid7())
    async with identity.anonymous() as session:
        await session.execute(
            text(
                "insert into users (id, email, email_verified_at)"
                " values (:id, :email, case when :verified then now() end)"
            ),
            {"id": user_id, "email": email, "verified": is_verified},
        )
    return user_id


async def find(identity: Database, secret: str) -> RowMapping | None:
    async with identity.anonymous() as session:
        found = await session.execute(
            text("select * from ragecho_find_invitation(:digest)"), {"digest": secrets.digest(secret)}
        )
        return found.mappings().first()


async def accept(identity: Database, secret: str, user_id: UserId) -> str:
    async with identity.anonymous() as session:
        found = await session.execute(
            text("select outcome from ragecho_accept_invitation(:digest, :user_id)"),
            {"digest": secrets.digest(secret), "user_id": user_id},
        )
        return str(found.scalar_one())


async def forget(identity: Database, user_id: UserId) -> None:
    async with identity.anonymous() as session:
        await session.execute(
            text("update users set email = id::text || '@gone.example' where id = :id"), {"id": user_id}
        )


async def test_an_accepted_invitation_gives_its_roles_once(
    database: Database, tenant: Tenant, identity: Database
) -> None:
    made = await invite(database, tenant)
    found = await find(identity, made.secret)
    assert found is not None
    assert (found["organization_name"], found["email"], found["role"]) == ("Tenant", EMAIL, "member")
    person = await add_account(identity, EMAIL.upper())
    outcomes = await asyncio.gather(*(accept(identity, made.secret, person) for _ in range(8)))
    assert sorted(outcomes) == ["accepted"] + ["unknown"] * 7
    assert await find(identity, made.secret) is None
    caller = tenant.member()
    async with database.transaction(caller) as session:
        assert (await members.get_member(caller, session, person)).role is OrganizationRole.MEMBER
        (there,) = (await members.list_workspace_members(caller, session, "main", limit=9, offset=0))[0]
        assert (there.user_id, there.role) == (person, WorkspaceRole.EDITOR)
        shown = await invitations.get_invitation(caller, session, made.invitation.id)
        assert shown.status is InvitationStatus.ACCEPTED
        acts, _ = await trail_store.list_page(session, AuditFilter(action="invitation"), limit=9, offset=0)
        assert [(act.action, act.actor_user_id) for act in acts] == [
            ("invitation.accepted", person),
            ("invitation.created", None),
        ]
    await forget(identity, person)


async def test_it_opens_for_the_confirmed_owner_of_the_address_only(
    database: Database, tenant: Tenant, identity: Database
) -> None:
    made = await invite(database, tenant)
    other = await add_account(identity, "other@north.example")
    unsure = await add_account(identity, EMAIL, is_verified=False)
    assert await accept(identity, made.secret, other) == "other_address"
    assert await accept(identity, made.secret, UserId(uuid7())) == "other_address"
    assert await accept(identity, made.secret, unsure) == "unverified"
    assert await accept(identity, secrets.new_invitation(), unsure) == "unknown"
    async with identity.anonymous() as session:
        await session.execute(text("update users set email_verified_at = now() where id = :id"), {"id": unsure})
    assert await accept(identity, made.secret, unsure) == "accepted"
    await forget(identity, other)
    await forget(identity, unsure)


async def test_a_revoked_or_expired_link_leads_nowhere(database: Database, tenant: Tenant, identity: Database) -> None:
    caller = tenant.member()
    person = await add_account(identity, EMAIL)
    revoked = await invite(database, tenant)
    async with database.transaction(caller) as session:
        await invitations.revoke_invitation(caller, session, revoked.invitation.id)
        await invitations.revoke_invitation(caller, session, revoked.invitation.id)
    expired = await invite(database, tenant)
    await run(database, tenant, "update invitations set expires_at = now() where id = :id", id=expired.invitation.id)
    for dead in (revoked, expired):
        assert await find(identity, dead.secret) is None
        assert await accept(identity, dead.secret, person) == "unknown"
    # Nobody took the last one up in time, so the address may be invited anew.
    fresh = await invite(database, tenant)
    async with database.transaction(caller) as session:
        for status, expected in (("pending", [fresh]), ("revoked", [expired, revoked]), ("accepted", [])):
            found, total = await invitations.list_invitations(
                caller, session, status=InvitationStatus(status), text=None, limit=9, offset=0
            )
            assert ([one.id for one in found], total) == ([one.invitation.id for one in expected], len(expected))
    await forget(identity, person)


async def test_resending_makes_a_new_link_and_ends_the_old_one(
    database: Database, tenant: Tenant, identity: Database
) -> None:
    made, caller = await invite(database, tenant), tenant.member()
    async with database.transaction(caller) as session:
        again = await invitations.resend_invitation(caller, session, made.invitation.id, days=30, is_mailed=False)
    assert again.invitation.expires_at > made.invitation.expires_at
    assert await find(identity, made.secret) is None
    assert await find(identity, again.secret) is not None


async def test_an_address_has_one_open_invitation_and_members_none(database: Database, tenant: Tenant) -> None:
    await invite(database, tenant)
    with pytest.raises(Conflict):
        await invite(database, tenant, EMAIL.upper())
    await add_person(database, tenant, email=f"{uuid7()}@south.example")
    caller = tenant.member()
    async with database.transaction(caller) as session:
        (member,) = (await members.list_members(caller, session, limit=9, offset=0))[0]
    with pytest.raises(Conflict):
        await invite(database, tenant, member.email)


async def test_an_admin_invites_no_owner_and_nobody_into_what_they_cannot_see(
    database: Database, tenant: Tenant, other_tenant: Tenant
) -> None:
    admin = replace(tenant.member(), organization_role=OrganizationRole.ADMIN)
    async with database.transaction(admin) as session:
        for role, workspace, refusal in (
            (OrganizationRole.OWNER, "main", Forbidden),
            (OrganizationRole.MEMBER, str(other_tenant.workspace_id), NotFound),
        ):
            with pytest.raises(refusal):
                await invitations.create_invitation(
                    admin,
                    session,
                    email=EMAIL,
                    role=role,
                    workspaces={workspace: WorkspaceRole.READER},
                    days=1,
                    is_mailed=False,
                )


async def test_a_member_who_is_invited_again_keeps_the_higher_role(
    database: Database, tenant: Tenant, identity: Database
) -> None:
    made = await invite(database, tenant, workspaces={"main": WorkspaceRole.READER})
    person = await add_account(identity, EMAIL)
    async with identity.anonymous() as session:
        await session.execute(
            text(
                "insert into organization_members (organization_id, user_id, role) values (:organization, :user, 'admin')"
            ),
            {"organization": tenant.organization_id, "user": person},
        )
    assert await accept(identity, made.secret, person) == "accepted"
    caller = tenant.member()
    async with database.transaction(caller) as session:
        assert (await members.get_member(caller, session, person)).role is OrganizationRole.ADMIN
    await forget(identity, person)


async def test_a_mail_makes_its_own_link_and_the_database_holds_none(
    database: Database, tenant: Tenant, identity: Database
) -> None:
    await drain(identity)
    made = await invite(database, tenant, is_mailed=True)
    mailed = secrets.new_invitation()
    claims = [await claim(identity, mailed), await claim(identity, secrets.new_invitation())]
    assert claims[1] is None
    assert claims[0] is not None
    assert (claims[0]["email"], claims[0]["organization_name"]) == (EMAIL, "Tenant")
    assert await find(identity, mailed) is not None
    assert await find(identity, made.secret) is not None
    async with identity.anonymous() as session:
        await session.execute(text("select ragecho_finish_invitation_mail(:id, true)"), {"id": claims[0]["mail_id"]})
    async with database.transaction(tenant.member()) as session:
        stored = await session.execute(
            text(
                "select coalesce((select string_agg(t::text, ' ') from invitation_tokens t), '')"
                " || (select string_agg(m::text, ' ') from invitation_mails m)"
                " || (select string_agg(a::text, ' ') from audit_events a)"
            )
        )
        everything = stored.scalar_one()
    for secret in (made.secret, mailed):
        assert secret not in everything
        assert secret.encode().hex() not in everything


async def drain(identity: Database) -> None:
    while claimed := await claim(identity, secrets.new_invitation()):
        async with identity.anonymous() as session:
            await session.execute(text("select ragecho_finish_invitation_mail(:id, false)"), {"id": claimed["mail_id"]})


async def claim(identity: Database, secret: str) -> RowMapping | None:
    async with identity.anonymous() as session:
        found = await session.execute(
            text("select * from ragecho_claim_invitation_mail(:digest)"), {"digest": secrets.digest(secret)}
        )
        return found.mappings().first()


async def test_the_application_itself_cannot_follow_a_link(database: Database, tenant: Tenant) -> None:
    made = await invite(database, tenant)
    for question in ("ragecho_find_invitation(:digest)", "ragecho_accept_invitation(:digest, null)"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with database.transaction(tenant.member()) as session:
                await session.execute(text(f"select * from {question}"), {"digest": secrets.digest(made.secret)})
