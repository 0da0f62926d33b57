"""A person's second factors: setting up and removing an authenticator app, and recovery codes."""

from ragecho.identity.accounts import recovery, store, store_factors, throttle, totp
from ragecho.identity.accounts.errors import BadCode
from ragecho.identity.accounts.model import Account, BrowserSession
from ragecho.identity.accounts.service import require_recent
from ragecho.identity.accounts.sign_in import Browser, device_of, second_factors
from ragecho.identity.accounts.tools import AccountTools
from ragecho.identity.accounts.totp import TotpSetup
from ragecho.identity.mail.render import Mail
from ragecho.kernel.errors import Conflict, NotFound
from ragecho.platform.database import Session

ISSUER_NAME = "Echo"


class SecondFactors:
    """Authenticator apps and recovery codes. Every change needs a recent sign-in and is told by mail."""

    def __init__(self, tools: AccountTools) -> None:
        self._tools = tools

    async def begin_totp(self, session: BrowserSession) -> TotpSetup:
        """Return what to set an authenticator app up with; nothing changes until its first code confirms it.

        Raises `ReauthenticationRequired`, or `Conflict` when an authenticator is in use already.
        """
        require_recent(session)
        async with self._tools.database.anonymous() as db:
            account = await _account(db, session)
            made = await totp.begin(db, self._tools.vault, account.id, email=account.email, issuer_name=ISSUER_NAME)
        if made is None:
            raise Conflict("An authenticator app is set up already. Remove it first.")
        return made

    async def pending_totp(self, session: BrowserSession) -> TotpSetup | None:
        """Return the set-up that waits for its first code, for showing it again; None when there is none."""
        require_recent(session)
        async with self._tools.database.anonymous() as db:
            account = await _account(db, session)
            return await totp.pending(db, self._tools.vault, account.id, email=account.email, issuer_name=ISSUER_NAME)

    async def confirm_totp(self, session: BrowserSession, code: str, *, browser: Browser) -> tuple[str, ...]:
        """Take the authenticator into use by its first code; returns recovery codes where the account has none yet.

        Raises `BadCode`, `TooManyAttempts`, or `ReauthenticationRequired`.
        """
        require_recent(session)
        tools, user_id = self._tools, session.user_id
        async with tools.database.anonymous() as db:
            device = await device_of(db, user_id, browser)
            counters = throttle.code_counters(str(user_id), browser.ip, device=device)
            await throttle.begin_attempt(db, counters)
        async with tools.database.anonymous() as db:
            account = await _account(db, session)
            if not await totp.confirm(db, tools.vault, user_id, code):
                raise BadCode("That code is not right. Is the clock of your phone?")
            await throttle.succeeded(db, counters)
            await self._tell(db, account, "totp_added")
            left = (await store.factors_of(db, user_id)).recovery_codes_left
            return () if left else await recovery.replace_codes(db, user_id)

    async def remove_totp(self, session: BrowserSession) -> None:
        """Remove the authenticator app. Raises `NotFound` or `ReauthenticationRequired`."""
        require_recent(session)
        async with self._tools.database.anonymous() as db:
            account = await _account(db, session)
            if not await store_factors.delete_totp(db, account.id):
                raise NotFound("No authenticator app is set up.")
            await store.drop_useless_recovery_codes(db, account.id)
            await self._tell(db, account, "totp_removed")

    async def new_recovery_codes(self, session: BrowserSession) -> tuple[str, ...]:
        """Return ten new codes, shown once; the old ones stop working.

        Raises `ReauthenticationRequired`, or `Conflict` for an account without a second factor.
        """
        require_recent(session)
        async with self._tools.database.anonymous() as db:
            account = await _account(db, session)
            if not await second_factors(db, account.id):
                raise Conflict(
                    "Recovery codes stand in for a second factor. Set up an authenticator app or a passkey first."
                )
            codes = await recovery.replace_codes(db, account.id)
            await self._tell(db, account, "recovery_codes_made")
            return codes

    async def _tell(self, db: Session, account: Account, what: str) -> None:
        link = f"{self._tools.issuer}/account/security"
        await self._tools.outbox.put(
            db, Mail.SIGN_IN_CHANGED, to=account.email, language=account.locale, link=link, what=what, name=None
        )


async def _account(db: Session, session: BrowserSession) -> Account:
    account = await store.find_account(db, session.user_id)
    if account is None:
        raise NotFound("There is no such account.")
    return account
