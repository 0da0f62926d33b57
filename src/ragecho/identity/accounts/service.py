"""What a person does with their own account, and what ends it.

No answer here tells a stranger who exists: where an address is asked for, the answer is the same and the mail differs.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from ragecho.identity.accounts import links, store, store_sessions, throttle
from ragecho.identity.accounts.errors import BadCredentials, LinkNotValid, ReauthenticationRequired
from ragecho.identity.accounts.links import Link
from ragecho.identity.accounts.model import (
    AMR_PASSWORD,
    Account,
    BrowserSession,
    Factors,
    LoggedIn,
    NeedsSecondFactor,
)
from ragecho.identity.accounts.registration import may_mail
from ragecho.identity.accounts.sessions import EndReason, end_other_sessions, step_up
from ragecho.identity.accounts.sign_in import Browser, SignIn, device_of
from ragecho.identity.accounts.text import checked_email, checked_locale, checked_name, checked_zoneinfo, looked_up
from ragecho.identity.accounts.tools import AccountTools
from ragecho.identity.mail.render import Mail
from ragecho.kernel.errors import Conflict, NotFound
from ragecho.kernel.ids import UserId
from ragecho.platform.database import Session

RECENT: Final = timedelta(minutes=15)


def require_recent(session: BrowserSession, *, now: datetime | None = None) -> None:
    """Raise `ReauthenticationRequired` unless the person has shown who they are in the last quarter of an hour."""
    if (now or datetime.now(UTC)) - session.authenticated_at > RECENT:
        raise ReauthenticationRequired("Sign in again to change this.")


class Accounts:
    """A person's own account."""

    def __init__(self, tools: AccountTools, sign_in: SignIn) -> None:
        self._tools = tools
        self._sign_in = sign_in

    # What the account is

    async def get(self, user_id: UserId) -> Account:
        """Return the account. Raises `NotFound`."""
        async with self._tools.database.anonymous() as db:
            return await _account(db, user_id)

    async def factors(self, user_id: UserId) -> Factors:
        """Return what the person can sign in with."""
        async with self._tools.database.anonymous() as db:
            return await store.factors_of(db, user_id)

    async def update_profile(
        self, user_id: UserId, *, name: str | None, locale: str | None, zoneinfo: str | None
    ) -> Account:
        """Change name, locale (BCP 47) and time zone (IANA); None empties. Raises `InvalidInput` or `NotFound`."""
        changes = {"name": checked_name(name), "locale": checked_locale(locale), "zoneinfo": checked_zoneinfo(zoneinfo)}
        async with self._tools.database.anonymous() as db:
            await _account(db, user_id)
            await store.update_profile(db, user_id, changes)
            return await _account(db, user_id)

    # The password

    async def request_password_reset(self, email: str, *, browser: Browser) -> None:
        """Mail a link to choose a new password, or word that there is no account. The answer is the same.

        Raises `TooManyAttempts` (by address of the asker), or `InvalidInput` for what is no e-mail address.
        """
        tools, address = self._tools, checked_email(looked_up(email))
        async with tools.database.anonymous() as db:
            await throttle.begin_attempt(db, throttle.asking_counters("reset", browser.ip))
        async with tools.database.anonymous() as db:
            if not await may_mail(db, "reset", address):
                return
            account = await store.find_by_email(db, address)
            is_known = account is not None and not account.is_disabled
            minutes = tools.settings.link_minutes if is_known else 0
            # Made for nobody, too (it never works), so that both answers take as long.
            secret = await links.make(
                db,
                Link.RESET_PASSWORD,
                minutes=minutes,
                email=account.email if account else address,
                user_id=account.id if account else None,
            )
            if account is None or not is_known:
                await tools.outbox.put(db, Mail.RESET_UNKNOWN, to=address, language=browser.language)
                return
            url = links.url_of(tools.issuer, Link.RESET_PASSWORD, secret)
            await tools.outbox.put(
                db,
                Mail.RESET_PASSWORD,
                to=account.email,
                language=account.locale or browser.language,
                link=url,
                minutes=minutes,
            )

    async def reset_address(self, token: str) -> str | None:
        """Return whose password a link resets, for showing the form; None when it does not work."""
        async with self._tools.database.anonymous() as db:
            row = await links.find(db, Link.RESET_PASSWORD, token)
        return row["email"] if row else None

    async def reset_password(self, token: str, password: str, *, browser: Browser) -> LoggedIn | NeedsSecondFactor:
        """Set a new password by a mailed link, end all sessions, and sign in (a second factor is still asked for).

        Raises `LinkNotValid` or `PasswordRefused`; the link stays good after a refused password.
        """
        address = await self.reset_address(token)
        if address is None:
            raise LinkNotValid("This link has been used or has expired. Ask for a new one.")
        self._tools.policy.check(password, email=address)
        hashed = await self._tools.passwords.hash(password)
        async with self._tools.database.anonymous() as db:
            row = await links.use(db, Link.RESET_PASSWORD, token)
            user_id = UserId(row["user_id"])
            # The link came by mail, so the address is confirmed.
            await store.verify_email(db, user_id, row["email"])
            await self._replace_password(db, user_id, hashed, keep=None)
            fresh = Browser(ip=browser.ip, user_agent=browser.user_agent)
            return await self._sign_in.enter_or_ask(db, user_id, (AMR_PASSWORD,), browser=fresh)

    async def change_password(
        self, session: BrowserSession, *, current: str | None, new: str, browser: Browser
    ) -> tuple[BrowserSession, str]:
        """Change the password, end all other sessions; returns this one with a new secret for its cookie.

        An account without a password gets one after a recent sign-in. Raises `BadCredentials` for a wrong current
        password, `PasswordRefused`, `TooManyAttempts`, or `ReauthenticationRequired`.
        """
        tools, user_id = self._tools, session.user_id
        async with tools.database.anonymous() as db:
            account = await _account(db, user_id)
            stored = await store.password_of(db, user_id)
            counters = throttle.sign_in_counters(
                account.email, browser.ip, device=await device_of(db, user_id, browser)
            )
            if stored is not None:
                await throttle.begin_attempt(db, counters)
        if stored is None:
            require_recent(session)
        elif not (await tools.passwords.verify(stored, current or ""))[0]:
            raise BadCredentials("The current password is not right.")
        tools.policy.check(new, email=account.email)
        hashed = await tools.passwords.hash(new)
        async with tools.database.anonymous() as db:
            await store.lock_account(db, user_id)
            if await store.password_of(db, user_id) != stored:
                raise Conflict("The password has been changed meanwhile.")
            if stored is not None:
                await throttle.succeeded(db, counters)
            renewed = await step_up(db, session.id, amr=session.amr)
            await self._replace_password(db, user_id, hashed, keep=session)
            return renewed

    async def _replace_password(
        self, db: Session, user_id: UserId, hashed: str, *, keep: BrowserSession | None
    ) -> None:
        tools = self._tools
        await store.save_password(db, user_id, hashed)
        await end_other_sessions(db, user_id, keep=keep.id if keep else None, reason=EndReason.PASSWORD_CHANGED)
        if keep is None:
            await store_sessions.delete_devices(db, user_id)
        await links.end(db, user_id, Link.RESET_PASSWORD, Link.CHANGE_EMAIL)
        account = await _account(db, user_id)
        await tools.outbox.put(
            db, Mail.PASSWORD_CHANGED, to=account.email, language=account.locale, link=f"{tools.issuer}/forgot-password"
        )

    # The address

    async def request_email_verification(self, user_id: UserId) -> None:
        """Mail a link that confirms the account's address; does nothing where it is confirmed. Raises `NotFound`."""
        tools = self._tools
        async with tools.database.anonymous() as db:
            account = await _account(db, user_id)
            if account.email_verified_at is not None or not await may_mail(db, "verify", account.email):
                return
            minutes = tools.settings.link_minutes
            secret = await links.make(db, Link.VERIFY_EMAIL, minutes=minutes, email=account.email, user_id=user_id)
            url = links.url_of(tools.issuer, Link.VERIFY_EMAIL, secret)
            await tools.outbox.put(
                db, Mail.VERIFY_EMAIL, to=account.email, language=account.locale, link=url, minutes=minutes
            )

    async def verify_email(self, token: str) -> UserId:
        """Confirm an address by its mailed link; returns whose. Raises `LinkNotValid`."""
        async with self._tools.database.anonymous() as db:
            row = await links.use(db, Link.VERIFY_EMAIL, token)
            user_id = UserId(row["user_id"])
            if not await store.verify_email(db, user_id, row["email"]):
                raise LinkNotValid("This link is for an address that the account does not have any more.")
            return user_id

    async def request_email_change(self, session: BrowserSession, new_email: str) -> None:
        """Mail a link to the new address and word of it to the old one. The address changes when the link is used.

        The answer is the same when somebody else has the address. Raises `ReauthenticationRequired` or `InvalidInput`.
        """
        require_recent(session)
        tools, address = self._tools, checked_email(new_email)
        async with tools.database.anonymous() as db:
            account = await _account(db, session.user_id)
            if account.email == address or not await may_mail(db, "change", account.email):
                return
            if not await may_mail(db, "change", address):
                return
            other = await store.find_by_email(db, address)
            if other is not None and other.id != account.id:
                await tools.outbox.put(db, Mail.EMAIL_TAKEN, to=address, language=account.locale)
            else:
                minutes = tools.settings.link_minutes
                secret = await links.make(db, Link.CHANGE_EMAIL, minutes=minutes, email=address, user_id=account.id)
                url = links.url_of(tools.issuer, Link.CHANGE_EMAIL, secret)
                await tools.outbox.put(
                    db, Mail.CHANGE_EMAIL, to=address, language=account.locale, link=url, minutes=minutes
                )
            await tools.outbox.put(
                db, Mail.EMAIL_CHANGED, to=account.email, language=account.locale, new_email=address, is_done=None
            )

    async def confirm_email_change(self, token: str) -> UserId:
        """Change the address by the link mailed to the new one; returns whose. Raises `LinkNotValid`."""
        tools = self._tools
        async with tools.database.anonymous() as db:
            row = await links.use(db, Link.CHANGE_EMAIL, token)
            user_id = UserId(row["user_id"])
            before = await store.lock_account(db, user_id)
            if before is None or before.is_disabled or not await store.update_email(db, user_id, row["email"]):
                raise LinkNotValid("This link does not work any more. Ask for a new one.")
            # What was mailed to the old address must not open the account any more.
            await links.end(db, user_id, Link.RESET_PASSWORD, Link.VERIFY_EMAIL)
            await tools.outbox.put(
                db, Mail.EMAIL_CHANGED, to=before.email, language=before.locale, new_email=row["email"], is_done=1
            )
            return user_id

    # The end

    async def suspend(self, user_id: UserId) -> None:
        """Suspend the person everywhere, at once: sessions end; keys and refresh tokens are refused. Raises `NotFound`."""
        await self._set_disabled(user_id, is_disabled=True)

    async def reactivate(self, user_id: UserId) -> None:
        """Let the person in again. Sessions stay ended; keys work again. Raises `NotFound`."""
        await self._set_disabled(user_id, is_disabled=False)

    async def _set_disabled(self, user_id: UserId, *, is_disabled: bool) -> None:
        async with self._tools.database.anonymous() as db:
            if not await store.set_disabled(db, user_id, is_disabled=is_disabled):
                raise NotFound("There is no such account.")

    async def delete(self, session: BrowserSession) -> None:
        """Delete one's own account: what it signed in with, its memberships and its name go; ids in audit logs stay.

        Raises `ReauthenticationRequired`, or `Conflict` for the only owner of an organisation.
        """
        require_recent(session)
        tools, user_id = self._tools, session.user_id
        async with tools.database.anonymous() as db:
            account = await store.lock_account(db, user_id)
            if account is None:
                raise NotFound("There is no such account.")
            alone = await store.owned_alone(db, user_id)
            if alone:
                raise Conflict(
                    f"You are the only owner of {alone[0]}. Name another owner first, or delete the organisation.",
                    organizations=alone,
                )
            await end_other_sessions(db, user_id, reason=EndReason.ACCOUNT_DELETED)
            await store.anonymize(db, user_id)
            await tools.outbox.put(db, Mail.ACCOUNT_DELETED, to=account.email, language=account.locale)


async def _account(db: Session, user_id: UserId) -> Account:
    account = await store.find_account(db, user_id)
    if account is None:
        raise NotFound("There is no such account.")
    return account
