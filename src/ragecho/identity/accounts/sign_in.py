"""Signing in: password, then a second factor where the account has one; or a passkey, which is both."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ragecho.identity.accounts import recovery, store, store_sessions, store_tickets, throttle, totp
from ragecho.identity.accounts.digests import digest_of, new_secret
from ragecho.identity.accounts.errors import AccountSuspended, BadCode, BadCredentials, ExpiredInteraction
from ragecho.identity.accounts.model import (
    AMR_MULTI,
    AMR_OTP,
    AMR_PASSWORD,
    BrowserSession,
    LoggedIn,
    Method,
    NeedsSecondFactor,
)
from ragecho.identity.accounts.sessions import (
    MAX_ADDRESS,
    MAX_USER_AGENT,
    EndReason,
    end_session,
    start_session,
    step_up,
)
from ragecho.identity.accounts.text import looked_up, storable
from ragecho.identity.accounts.tools import AccountTools
from ragecho.identity.mail.render import Mail
from ragecho.kernel.ids import UserId, uuid7
from ragecho.platform.database import Session

TICKET_MINUTES: Final = 10
TICKET_ATTEMPTS: Final = 6
DEVICE_DAYS: Final = 180


@dataclass(frozen=True, slots=True)
class Browser:
    """Where somebody signs in.

    `device_secret` is what the device cookie holds; `session` is who is signed in there now; `language` is what its pages
    are shown in (a tag like `de`), for mails to people of whom nothing else is known.
    """

    ip: str | None = None
    user_agent: str | None = None
    device_secret: str | None = None
    session: BrowserSession | None = None
    language: str | None = None


class SignIn:
    """The ways to get a session."""

    def __init__(self, tools: AccountTools) -> None:
        self._tools = tools

    async def login(self, email: str, password: str, *, browser: Browser) -> LoggedIn | NeedsSecondFactor:
        """Sign in with a password.

        The browser's own session, when it is the same person's, is renewed instead of a new one being started; another
        person's is ended. Raises `BadCredentials` (whoever exists), `AccountSuspended` (only after a right password),
        `TooManyAttempts`, or `Unavailable` when too many passwords are being checked.
        """
        tools, address = self._tools, looked_up(email)
        async with tools.database.anonymous() as db:
            known = await store.find_password(db, address)
            user_id = UserId(known["user_id"]) if known else None
            device = await device_of(db, user_id, browser)
            counters = throttle.sign_in_counters(address, browser.ip, device=device)
            await throttle.begin_attempt(db, counters)
        stored = known["hash"] if known else None
        is_right, rehashed = await tools.passwords.verify(stored, password)
        if not is_right or user_id is None or stored is None:
            raise BadCredentials("E-mail address and password do not match.")
        async with tools.database.anonymous() as db:
            await throttle.succeeded(db, counters)
            await self._refuse_suspended(db, user_id)
            if await store.password_of(db, user_id) != stored:
                raise BadCredentials("E-mail address and password do not match.")
            if rehashed is not None:
                await store.replace_hash(db, user_id, old=stored, new=rehashed)
            methods = await second_factors(db, user_id)
            if methods:
                return await self._ticket(db, user_id, methods)
            return await self._enter(db, user_id, (AMR_PASSWORD,), browser)

    async def finish_with_code(self, ticket: str, code: str, *, browser: Browser) -> LoggedIn:
        """Finish a sign-in with an authenticator's code or a recovery code.

        Raises `BadCode`, `ExpiredInteraction` (start again with the password), or `TooManyAttempts`.
        """
        tools, digest = self._tools, digest_of(ticket)
        async with tools.database.anonymous() as db:
            found = await store_tickets.try_ticket(db, digest, max_attempts=TICKET_ATTEMPTS)
            if found is None:
                raise ExpiredInteraction("This sign-in took too long. Start again.")
            user_id = UserId(found["user_id"])
            device = await device_of(db, user_id, browser)
            counters = throttle.code_counters(str(user_id), browser.ip, device=device)
            await throttle.begin_attempt(db, counters)
        async with tools.database.anonymous() as db:
            await self._refuse_suspended(db, user_id)
            if recovery.canonical(code) is not None:
                is_right = await recovery.check(db, user_id, code)
            else:
                is_right = await totp.check(db, tools.vault, user_id, code)
            if not is_right:
                raise BadCode("That code is not right, or has been used already.")
            if not await store_tickets.use_ticket(db, digest):
                raise ExpiredInteraction("This sign-in took too long. Start again.")
            await throttle.succeeded(db, counters)
            return await self._enter(db, user_id, (*found["amr"], AMR_OTP, AMR_MULTI), browser)

    async def enter(self, db: Session, user_id: UserId, amr: Sequence[str], *, browser: Browser) -> LoggedIn:
        """Sign in a person who has just shown who they are by `amr` (another provider, a link that set a password).

        Raises `AccountSuspended`. Asks for no second factor: see `second_factors`.
        """
        await self._refuse_suspended(db, user_id)
        return await self._enter(db, user_id, amr, browser)

    async def enter_or_ask(
        self, db: Session, user_id: UserId, amr: Sequence[str], *, browser: Browser
    ) -> LoggedIn | NeedsSecondFactor:
        """Like `enter`, but asks for a second factor where the account has one."""
        await self._refuse_suspended(db, user_id)
        methods = await second_factors(db, user_id)
        if methods:
            return await self._ticket(db, user_id, methods, amr=amr)
        return await self._enter(db, user_id, amr, browser)

    async def step_up(self, db: Session, session: BrowserSession) -> NeedsSecondFactor | None:
        """Ask a signed-in person for their second factor; None where they have none. Raises as `enter`."""
        await self._refuse_suspended(db, session.user_id)
        methods = await second_factors(db, session.user_id)
        return await self._ticket(db, session.user_id, methods, amr=session.amr) if methods else None

    async def _refuse_suspended(self, db: Session, user_id: UserId) -> None:
        account = await store.lock_account(db, user_id)
        if account is None:
            raise BadCredentials("E-mail address and password do not match.")
        if account.is_disabled:
            raise AccountSuspended("This account is suspended. Ask an administrator of your organisation.")

    async def _ticket(
        self,
        db: Session,
        user_id: UserId,
        methods: tuple[Method, ...],
        *,
        amr: Sequence[str] = (AMR_PASSWORD,),
    ) -> NeedsSecondFactor:
        ticket = new_secret()
        expires_at = await store_tickets.insert_ticket(
            db,
            user_id,
            digest=digest_of(ticket),
            amr=amr,
            minutes=TICKET_MINUTES,
        )
        return NeedsSecondFactor(ticket, methods, expires_at)

    async def _enter(self, db: Session, user_id: UserId, amr: Sequence[str], browser: Browser) -> LoggedIn:
        device_secret = await self._remember(db, user_id, browser)
        present = browser.session
        if present is not None and present.user_id == user_id:
            renewed, secret = await step_up(db, present.id, amr=amr)
            return LoggedIn(renewed, secret, device_secret)
        if present is not None:
            await end_session(db, present.id, present.user_id, reason=EndReason.REPLACED)
        started, secret = await start_session(
            db, user_id, amr=amr, user_agent=browser.user_agent, ip=browser.ip, settings=self._tools.settings
        )
        return LoggedIn(started, secret, device_secret)

    async def _remember(self, db: Session, user_id: UserId, browser: Browser) -> str:
        """Return the device cookie's secret: the same for a browser that is known, a new one otherwise.

        Of a new one the person hears by mail, unless it is the first.
        """
        if browser.device_secret:
            known = await store_sessions.find_device(db, user_id, digest_of(browser.device_secret))
            if known is not None:
                await store_sessions.touch_device(db, known, days=DEVICE_DAYS)
                return browser.device_secret
        secret = new_secret()
        is_first = await store_sessions.insert_device(db, uuid7(), user_id, digest=digest_of(secret), days=DEVICE_DAYS)
        account = None if is_first else await store.find_account(db, user_id)
        if account is not None:
            await self._tools.outbox.put(
                db,
                Mail.NEW_DEVICE,
                to=account.email,
                language=account.locale or browser.language,
                link=f"{self._tools.issuer}/account/devices",
                user_agent=storable(browser.user_agent, MAX_USER_AGENT) or "an unknown program",
                ip=storable(browser.ip, MAX_ADDRESS) or "unknown",
            )
        return secret


async def second_factors(db: Session, user_id: UserId) -> tuple[Method, ...]:
    """Return what a sign-in by password has to be finished with; nothing where the account has no second factor."""
    factors = await store.factors_of(db, user_id)
    methods = []
    if factors.passkeys:
        methods.append(Method.PASSKEY)
    if factors.has_totp:
        methods.append(Method.TOTP)
    if methods and factors.recovery_codes_left:
        methods.append(Method.RECOVERY)
    return tuple(methods)


async def second_factor_state(db: Session, user_id: UserId) -> tuple[bool, bool]:
    """Return whether a person has a second factor, and whether an organisation that they are in requires one."""
    return bool(await second_factors(db, user_id)), await store.requires_second_factor(db, user_id)


async def device_of(db: Session, user_id: UserId | None, browser: Browser) -> str | None:
    """Return what the throttle calls this browser, if the person has signed in there before."""
    if user_id is None or not browser.device_secret:
        return None
    found = await store_sessions.find_device(db, user_id, digest_of(browser.device_secret))
    return str(found) if found else None
