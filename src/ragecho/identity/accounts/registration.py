"""How accounts come to be: by registration or invitation, and always by somebody who reads the address's mail.

The address comes first and the password after the link in the mail. Were it the other way round, anybody could choose a
password for somebody else's address and wait until its owner clicks 'confirm'.
"""

from uuid import UUID

from ragecho.identity.accounts import links, store, store_links, throttle
from ragecho.identity.accounts.digests import digest_of
from ragecho.identity.accounts.errors import (
    AccountExists,
    EmailNotVerified,
    LinkNotValid,
    OtherAddress,
    RegistrationClosed,
    TooManyAttempts,
)
from ragecho.identity.accounts.links import Link
from ragecho.identity.accounts.model import AMR_PASSWORD, BrowserSession, Invitation, LoggedIn
from ragecho.identity.accounts.settings import Registration
from ragecho.identity.accounts.sign_in import Browser, SignIn
from ragecho.identity.accounts.text import checked_email, checked_name
from ragecho.identity.accounts.tools import AccountTools
from ragecho.identity.mail.render import Mail
from ragecho.kernel.errors import Forbidden
from ragecho.kernel.ids import UserId, uuid7
from ragecho.platform.database import Session


class Registrations:
    """Registration and invitations."""

    def __init__(self, tools: AccountTools, sign_in: SignIn) -> None:
        self._tools = tools
        self._sign_in = sign_in

    async def start(self, email: str, *, browser: Browser, invitation: str | None = None) -> None:
        """Mail a link to make an account, or, to an address that has one, word of that. The answer is the same.

        `invitation` is the secret of an invitation to this address, which lets in where only invited people register.
        Raises `RegistrationClosed`, `TooManyAttempts`, or `InvalidInput` for what is no address.
        """
        tools, address = self._tools, checked_email(email)
        async with tools.database.anonymous() as db:
            await throttle.begin_attempt(db, throttle.asking_counters("registration", browser.ip))
            await self._refuse_uninvited(db, address, invitation)
        async with tools.database.anonymous() as db:
            if not await may_mail(db, "registration", address):
                return
            is_known = await store.find_by_email(db, address) is not None
            minutes = 0 if is_known else tools.settings.link_minutes
            # Made for an address that has an account, too (it never works), so that both answers take as long.
            secret = await links.make(db, Link.REGISTRATION, minutes=minutes, email=address)
            if is_known:
                await tools.outbox.put(
                    db, Mail.ALREADY_REGISTERED, to=address, language=browser.language, link=f"{tools.issuer}/login"
                )
                return
            url = links.url_of(tools.issuer, Link.REGISTRATION, secret, invitation=invitation)
            await tools.outbox.put(
                db, Mail.REGISTRATION, to=address, language=browser.language, link=url, minutes=minutes
            )

    async def address_of(self, token: str) -> str | None:
        """Return the address that a registration's link confirms, for showing the form; None when it does not work."""
        async with self._tools.database.anonymous() as db:
            row = await links.find(db, Link.REGISTRATION, token)
        return row["email"] if row else None

    async def finish(
        self, token: str, *, password: str, name: str | None, browser: Browser, invitation: str | None = None
    ) -> LoggedIn:
        """Make the account of a registration's link, accept the invitation it came from, and sign in.

        Raises `LinkNotValid`, `PasswordRefused`, `InvalidInput` for the name, or `AccountExists`.
        """
        address = await self.address_of(token)
        if address is None:
            raise LinkNotValid("This link has been used or has expired. Ask for a new one.")
        shown, hashed = checked_name(name), await self._checked_hash(password, address)
        async with self._tools.database.anonymous() as db:
            await links.use(db, Link.REGISTRATION, token)
            user_id = await self._create(db, address, name=shown, hashed=hashed)
            if invitation:
                await _accept(db, invitation, user_id)
            return await self._sign_in.enter(db, user_id, (AMR_PASSWORD,), browser=browser)

    async def invitation(self, token: str) -> Invitation | None:
        """Return the invitation behind a link, for showing its page; None when it does not hold any more."""
        async with self._tools.database.anonymous() as db:
            # In this order: accepting ends both at once, so a link that has just ended cannot pass for one never mailed.
            is_mailed = await links.find(db, Link.INVITATION_MAIL, token) is not None
            row = await store_links.find_invitation(db, digest_of(token))
            if row is None:
                return None
            account = await store.find_by_email(db, row["email"]) if is_mailed else None
        return Invitation(
            organization_name=row["organization_name"],
            email=row["email"],
            role=row["role"],
            expires_at=row["expires_at"],
            is_mailed=is_mailed,
            has_account=account is not None if is_mailed else None,
        )

    async def accept(self, token: str, session: BrowserSession) -> UUID:
        """Accept an invitation as the person who is signed in; returns the organisation.

        Raises `LinkNotValid`, `OtherAddress`, `EmailNotVerified` (only for links that were not mailed), or `Forbidden`
        for who is suspended in that organisation.
        """
        async with self._tools.database.anonymous() as db:
            mailed = await links.find(db, Link.INVITATION_MAIL, token)
            if mailed is not None:
                # Does nothing unless it is the account's own address.
                await store.verify_email(db, session.user_id, mailed["email"])
            return await _accept(db, token, session.user_id)

    async def join(self, token: str, *, password: str, name: str | None, browser: Browser) -> LoggedIn:
        """Make an account by a mailed invitation, accept it, and sign in.

        Raises `LinkNotValid`, `PasswordRefused`, `InvalidInput`, `AccountExists` (sign in, then `accept`),
        `RegistrationClosed`, or `EmailNotVerified` for a link that was not mailed: `start` with it, which sends one.
        """
        invitation = await self.invitation(token)
        if invitation is None:
            raise LinkNotValid("This invitation has been accepted, withdrawn, or has expired. Ask for a new one.")
        if not invitation.is_mailed:
            raise EmailNotVerified("Confirm your e-mail address first: we send you a link.")
        if invitation.has_account:
            raise AccountExists("You have an account already. Sign in to accept the invitation.")
        shown, hashed = checked_name(name), await self._checked_hash(password, invitation.email)
        async with self._tools.database.anonymous() as db:
            await links.use(db, Link.INVITATION_MAIL, token)
            user_id = await self._create(db, checked_email(invitation.email), name=shown, hashed=hashed)
            await _accept(db, token, user_id)
            return await self._sign_in.enter(db, user_id, (AMR_PASSWORD,), browser=browser)

    async def _refuse_uninvited(self, db: Session, address: str, invitation: str | None) -> None:
        allowed = self._tools.settings.registration
        if allowed is Registration.OPEN:
            return
        if allowed is Registration.INVITED and invitation:
            row = await store_links.find_invitation(db, digest_of(invitation))
            if row is not None and row["email"].casefold() == address.casefold():
                return
        raise RegistrationClosed("Accounts are made by invitation here. Ask an administrator of your organisation.")

    async def _checked_hash(self, password: str, email: str) -> str:
        self._tools.policy.check(password, email=email)
        return await self._tools.passwords.hash(password)

    async def _create(self, db: Session, email: str, *, name: str | None, hashed: str) -> UserId:
        if self._tools.settings.registration is Registration.CLOSED:
            raise RegistrationClosed("No accounts are made here. Ask an administrator of this server.")
        user_id = UserId(uuid7())
        if not await store.insert_account(db, user_id, email=email, name=name, is_verified=True):
            raise AccountExists("There is an account with this address already. Sign in.")
        await store.save_password(db, user_id, hashed)
        return user_id


async def may_mail(db: Session, purpose: str, email: str) -> bool:
    """Return whether another mail of this kind may go to the address now; nobody is flooded, and nobody is told."""
    try:
        await throttle.begin_attempt(db, throttle.mail_counters(purpose, email))
    except TooManyAttempts:
        return False
    return True


async def _accept(db: Session, token: str, user_id: UserId) -> UUID:
    done = await store_links.accept_invitation(db, digest_of(token), user_id)
    organization_id: UUID | None = done["organization_id"]
    if done["outcome"] == "accepted" and organization_id is not None:
        return organization_id
    if done["outcome"] == "other_address":
        raise OtherAddress("This invitation is for another e-mail address. Sign in with that one.")
    if done["outcome"] == "unverified":
        raise EmailNotVerified("Confirm your e-mail address first, then accept the invitation.")
    if done["outcome"] == "suspended":
        raise Forbidden("You are suspended in this organisation. Ask one of its administrators.")
    raise LinkNotValid("This invitation has been accepted, withdrawn, or has expired. Ask for a new one.")
