"""Pages of a signed-in person: who it is, whether they have just shown it, and what every account page shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ragecho.identity.accounts.model import Account, BrowserSession
from ragecho.identity.pages.kit import Answered, Kit
from ragecho.identity.pages.language import Language
from ragecho.identity.pages.ways import Way

RECENT = timedelta(minutes=15)
NOTICES = frozenset(
    {
        "account.saved",
        "security.password_changed",
        "security.passkey_added",
        "security.passkey_removed",
        "security.passkey_renamed",
        "security.totp_added",
        "security.totp_removed",
        "devices.signed_out",
        "devices.others_signed_out",
        "apps.revoked",
    }
)


@dataclass(frozen=True, slots=True)
class Me:
    """The signed-in person of a request."""

    account: Account
    session: BrowserSession
    language: Language

    @property
    def binding(self) -> str:
        """Return what this person's forms are bound to."""
        return str(self.session.id)


async def me(kit: Kit, request: Request, *, page: str) -> Me:
    """Return who is signed in, or stop on the way to the login page; `page` follows the sign-in."""
    async with kit.transaction() as db:
        visitor = await kit.visitor(db, request)
        if visitor.session is None:
            raise Answered(kit.go(kit.address(f"login?{Way(page=page).suffix}")))
        account = await kit.person(db, visitor.session)
    return Me(account, visitor.session, kit.pages.language(request))


async def submitted(
    kit: Kit, request: Request, *, page: str, is_sensitive: bool = False
) -> tuple[Me, Mapping[str, str]]:
    """Return who sent a form and what it holds, or stop: not signed in, not our form, or not recently authenticated."""
    form = await kit.form(request)
    person = await me(kit, request, page=page)
    kit.check_form(request, form, session=person.binding, back=kit.address(page))
    if is_sensitive:
        must_be_recent(kit, request, person, page=page)
    return person, form


def must_be_recent(kit: Kit, request: Request, person: Me, *, page: str) -> None:
    """Stop with a page that asks for a new sign-in unless the last one was a moment ago."""
    if datetime.now(UTC) - person.session.authenticated_at <= RECENT:
        return
    raise Answered(
        kit.pages.page(
            request,
            "reauthenticate.html",
            status=403,
            language=person.language,
            session=person.binding,
            name=person.account.name,
            email=person.account.email,
            suffix=f"{Way(page=page).suffix}&again=1",
        )
    )


def account_page(
    kit: Kit, request: Request, person: Me, template: str, section: str, *, status: int = 200, **context: Any
) -> Response:
    """Return a page of the account; the notice that a redirect carries is one of a fixed list."""
    said = request.query_params.get("notice", "")
    values: dict[str, Any] = {"notice": person.language.text(said) if said in NOTICES else None, **context}
    return kit.pages.page(
        request,
        template,
        status=status,
        language=person.language,
        session=person.binding,
        is_wide=True,
        section=section,
        name=values.pop("name", person.account.name or ""),
        email=person.account.email,
        is_verified=person.account.email_verified_at is not None,
        **values,
    )


def done(kit: Kit, page: str, notice: str) -> Response:
    """Return to a page of the account, which says what was done."""
    assert notice in NOTICES
    return kit.go(kit.address(f"{page}?notice={notice}"))
