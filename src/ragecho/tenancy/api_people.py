"""Routes of members, groups and invitations."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from ragecho.kernel.authorization import OrganizationRole, Permission
from ragecho.kernel.caller import Caller
from ragecho.kernel.ids import GroupId, UserId
from ragecho.platform.database import Database
from ragecho.platform.http.authentication import Authenticate
from ragecho.platform.http.pages import Page, PageParams
from ragecho.platform.http.permissions import requires, requires_in_service
from ragecho.tenancy import groups, invitations, members
from ragecho.tenancy.model import InvitationStatus
from ragecho.tenancy.schemas import ReasonIn
from ragecho.tenancy.schemas_people import (
    GroupIn,
    GroupMemberOut,
    GroupOut,
    GroupPatch,
    InvitationIn,
    InvitationOut,
    MemberOut,
    MemberPatch,
    NewInvitationOut,
    ResendIn,
    WorkspaceMemberIn,
    WorkspaceMemberOut,
)
from ragecho.tenancy.settings import TenancySettings

TextInName = Annotated[str | None, Query(max_length=200, description="Text in name or address.")]


def build_members_router(database: Database, authenticate: Authenticate) -> APIRouter:
    """Return the routes of people, in the organisation and in workspaces."""
    router = APIRouter()
    Seeing = Annotated[Caller, requires(authenticate, Permission.ORGANIZATION_READ)]
    Administering = Annotated[Caller, requires(authenticate, Permission.ORGANIZATION_ADMINISTER)]
    SeeingThere = Annotated[Caller, requires_in_service(authenticate, Permission.MEMBERS_READ)]
    AdministeringThere = Annotated[Caller, requires_in_service(authenticate, Permission.MEMBERS_ADMINISTER)]

    @router.get("/users")
    async def list_members(
        caller: Seeing,
        paging: PageParams,
        q: TextInName = None,
        role: OrganizationRole | None = None,
        suspended: bool | None = None,
    ) -> Page[MemberOut]:
        """List the organisation's people, newest first."""
        async with database.transaction(caller) as session:
            items, total = await members.list_members(
                caller, session, text=q, role=role, is_suspended=suspended, limit=paging.limit, offset=paging.offset
            )
        return Page.of(map(MemberOut.of, items), total=total, paging=paging)

    @router.get("/users/{user_id}")
    async def get_member(caller: Seeing, user_id: UUID) -> MemberOut:
        """Return one person of the organisation."""
        async with database.transaction(caller) as session:
            return MemberOut.of(await members.get_member(caller, session, UserId(user_id)))

    @router.patch("/users/{user_id}")
    async def change_member(caller: Administering, user_id: UUID, body: MemberPatch) -> MemberOut:
        """Change a member's role. Owners are made and unmade by owners; the last one stays (409 `last_owner`)."""
        async with database.transaction(caller) as session:
            return MemberOut.of(await members.change_role(caller, session, UserId(user_id), body.role))

    @router.post("/users/{user_id}/suspend")
    async def suspend_member(caller: Administering, user_id: UUID, body: ReasonIn | None = None) -> MemberOut:
        """Suspend a membership: nothing of this organisation opens to the person from their next request on."""
        reason = body.reason if body else None
        async with database.transaction(caller) as session:
            return MemberOut.of(
                await members.set_suspended(caller, session, UserId(user_id), is_suspended=True, reason=reason)
            )

    @router.post("/users/{user_id}/reactivate")
    async def reactivate_member(caller: Administering, user_id: UUID, body: ReasonIn | None = None) -> MemberOut:
        """Let a suspended member in again."""
        reason = body.reason if body else None
        async with database.transaction(caller) as session:
            return MemberOut.of(
                await members.set_suspended(caller, session, UserId(user_id), is_suspended=False, reason=reason)
            )

    @router.delete("/users/{user_id}", status_code=204, response_class=Response)
    async def remove_member(caller: Administering, user_id: UUID) -> Response:
        """Remove a person from the organisation, its workspaces and groups; their keys here are revoked."""
        async with database.transaction(caller) as session:
            await members.remove_member(caller, session, UserId(user_id))
        return Response(status_code=204)

    @router.get("/workspaces/{workspace}/members")
    async def list_workspace_members(
        caller: SeeingThere, workspace: str, paging: PageParams, q: TextInName = None
    ) -> Page[WorkspaceMemberOut]:
        """List who may enter a workspace, newest first, the organisation's administrators included."""
        async with database.transaction(caller) as session:
            items, total = await members.list_workspace_members(
                caller, session, workspace, text=q, limit=paging.limit, offset=paging.offset
            )
        return Page.of(map(WorkspaceMemberOut.of, items), total=total, paging=paging)

    @router.put("/workspaces/{workspace}/members/{user_id}")
    async def put_workspace_member(
        caller: AdministeringThere, workspace: str, user_id: UUID, body: WorkspaceMemberIn
    ) -> WorkspaceMemberOut:
        """Give a member of the organisation a role in a workspace."""
        async with database.transaction(caller) as session:
            return WorkspaceMemberOut.of(
                await members.put_workspace_member(caller, session, workspace, UserId(user_id), body.role)
            )

    @router.delete("/workspaces/{workspace}/members/{user_id}", status_code=204, response_class=Response)
    async def remove_workspace_member(caller: AdministeringThere, workspace: str, user_id: UUID) -> Response:
        """Take a person out of a workspace."""
        async with database.transaction(caller) as session:
            await members.remove_workspace_member(caller, session, workspace, UserId(user_id))
        return Response(status_code=204)

    return router


def build_groups_router(database: Database, authenticate: Authenticate) -> APIRouter:
    """Return the routes of groups."""
    router = APIRouter(prefix="/groups")
    Seeing = Annotated[Caller, requires(authenticate, Permission.ORGANIZATION_READ)]
    Administering = Annotated[Caller, requires(authenticate, Permission.ORGANIZATION_ADMINISTER)]

    @router.get("")
    async def list_groups(
        caller: Seeing,
        paging: PageParams,
        q: Annotated[str | None, Query(max_length=200, description="Text in name or description.")] = None,
    ) -> Page[GroupOut]:
        """List the organisation's groups, newest first."""
        async with database.transaction(caller) as session:
            items, total = await groups.list_groups(caller, session, text=q, limit=paging.limit, offset=paging.offset)
        return Page.of(map(GroupOut.of, items), total=total, paging=paging)

    @router.post("", status_code=201)
    async def create_group(caller: Administering, body: GroupIn) -> GroupOut:
        """Create a group."""
        async with database.transaction(caller) as session:
            return GroupOut.of(await groups.create_group(caller, session, name=body.name, description=body.description))

    @router.get("/{group_id}")
    async def get_group(caller: Seeing, group_id: UUID) -> GroupOut:
        """Return one group."""
        async with database.transaction(caller) as session:
            return GroupOut.of(await groups.get_group(caller, session, GroupId(group_id)))

    @router.patch("/{group_id}")
    async def change_group(caller: Administering, group_id: UUID, body: GroupPatch) -> GroupOut:
        """Rename or describe a group."""
        async with database.transaction(caller) as session:
            changed = await groups.change_group(
                caller, session, GroupId(group_id), name=body.name, description=body.description
            )
        return GroupOut.of(changed)

    @router.delete("/{group_id}", status_code=204, response_class=Response)
    async def delete_group(caller: Administering, group_id: UUID) -> Response:
        """Delete a group; what was granted to it is granted to nobody by that."""
        async with database.transaction(caller) as session:
            await groups.delete_group(caller, session, GroupId(group_id))
        return Response(status_code=204)

    @router.get("/{group_id}/members")
    async def list_group_members(caller: Seeing, group_id: UUID, paging: PageParams) -> Page[GroupMemberOut]:
        """List a group's people, newest first."""
        async with database.transaction(caller) as session:
            items, total = await groups.list_group_members(
                caller, session, GroupId(group_id), limit=paging.limit, offset=paging.offset
            )
        return Page.of(map(GroupMemberOut.of, items), total=total, paging=paging)

    @router.put("/{group_id}/members/{user_id}", status_code=204, response_class=Response)
    async def add_group_member(caller: Administering, group_id: UUID, user_id: UUID) -> Response:
        """Put a member of the organisation into a group."""
        async with database.transaction(caller) as session:
            await groups.add_group_member(caller, session, GroupId(group_id), UserId(user_id))
        return Response(status_code=204)

    @router.delete("/{group_id}/members/{user_id}", status_code=204, response_class=Response)
    async def remove_group_member(caller: Administering, group_id: UUID, user_id: UUID) -> Response:
        """Take a person out of a group."""
        async with database.transaction(caller) as session:
            await groups.remove_group_member(caller, session, GroupId(group_id), UserId(user_id))
        return Response(status_code=204)

    return router


def build_invitations_router(
    database: Database, authenticate: Authenticate, limits: TenancySettings, *, accept_page: str
) -> APIRouter:
    """Return the routes of invitations."""
    router = APIRouter(prefix="/invitations")
    Administering = Annotated[Caller, requires(authenticate, Permission.ORGANIZATION_ADMINISTER)]

    @router.get("")
    async def list_invitations(
        caller: Administering,
        paging: PageParams,
        status: InvitationStatus | None = None,
        q: Annotated[str | None, Query(max_length=200, description="Text in the address.")] = None,
    ) -> Page[InvitationOut]:
        """List the organisation's invitations, newest first."""
        async with database.transaction(caller) as session:
            items, total = await invitations.list_invitations(
                caller, session, status=status, text=q, limit=paging.limit, offset=paging.offset
            )
        return Page.of(map(InvitationOut.of, items), total=total, paging=paging)

    @router.post("", status_code=201)
    async def create_invitation(caller: Administering, body: InvitationIn) -> NewInvitationOut:
        """Invite an address. `accept_url` is shown this once; who owns the address accepts it there."""
        async with database.transaction(caller) as session:
            made = await invitations.create_invitation(
                caller,
                session,
                email=body.email,
                role=body.role,
                workspaces={one.workspace: one.role for one in body.workspaces},
                days=body.expires_in_days or limits.invitation_days,
                is_mailed=body.send_mail,
            )
        return NewInvitationOut.made(made, accept_page=accept_page)

    @router.get("/{invitation_id}")
    async def get_invitation(caller: Administering, invitation_id: UUID) -> InvitationOut:
        """Return one invitation."""
        async with database.transaction(caller) as session:
            return InvitationOut.of(await invitations.get_invitation(caller, session, invitation_id))

    @router.post("/{invitation_id}/resend")
    async def resend_invitation(
        caller: Administering, invitation_id: UUID, body: ResendIn | None = None
    ) -> NewInvitationOut:
        """Make a new link for an invitation and let it hold anew; earlier links end."""
        wanted = body or ResendIn()
        async with database.transaction(caller) as session:
            made = await invitations.resend_invitation(
                caller,
                session,
                invitation_id,
                days=wanted.expires_in_days or limits.invitation_days,
                is_mailed=wanted.send_mail,
            )
        return NewInvitationOut.made(made, accept_page=accept_page)

    @router.delete("/{invitation_id}", status_code=204, response_class=Response)
    async def revoke_invitation(caller: Administering, invitation_id: UUID) -> Response:
        """Revoke an invitation that is not taken up; its links lead nowhere from now on."""
        async with database.transaction(caller) as session:
            await invitations.revoke_invitation(caller, session, invitation_id)
        return Response(status_code=204)

    return router
