"""The first owner of an organisation: by a command on the machine, or by a one-time link that the first start prints."""

from uuid import UUID

from ragecho.identity.accounts import store, store_links
from ragecho.identity.accounts.digests import digest_of, new_secret
from ragecho.identity.accounts.errors import LinkNotValid
from ragecho.identity.accounts.model import AMR_PASSWORD, LoggedIn
from ragecho.identity.accounts.sign_in import Browser, SignIn
from ragecho.identity.accounts.text import checked_email, checked_name
from ragecho.identity.accounts.tools import AccountTools
from ragecho.kernel.errors import Conflict
from ragecho.kernel.ids import UserId, uuid7
from ragecho.platform.database import Session

KIND = "first_administrator"
LINK_MINUTES = 24 * 60


async def make_setup_link(db: Session, organization_id: UUID, *, issuer: str) -> str | None:
    """Return a URL that makes its reader the organisation's owner, once, within 24 hours; earlier ones stop working.

    None when an owner can sign in already. Print it, do not log it.
    """
    if await store_links.has_owner_with_login(db, organization_id):
        return None
    await store_links.end_organization_links(db, organization_id, kind=KIND)
    secret = new_secret()
    await store_links.insert_link(
        db, digest=digest_of(secret), kind=KIND, minutes=LINK_MINUTES, organization_id=organization_id
    )
    return f"{issuer}/setup?token={secret}"


class FirstAdministrator:
    """Makes the first owner."""

    def __init__(self, tools: AccountTools, sign_in: SignIn) -> None:
        self._tools = tools
        self._sign_in = sign_in

    async def is_valid(self, token: str) -> bool:
        """Return whether the link works; for showing the form."""
        async with self._tools.database.anonymous() as db:
            return await self._organization(db, token) is not None

    async def set_up(self, token: str, *, email: str, password: str, name: str | None, browser: Browser) -> LoggedIn:
        """Create the owner and sign them in. Raises `LinkNotValid`, `InvalidInput`, `PasswordRefused` or `Conflict`.

        Whoever holds the link was on the machine, so the address counts as confirmed.
        """
        address, shown = checked_email(email), checked_name(name)
        self._tools.policy.check(password, email=address)
        if not await self.is_valid(token):
            raise LinkNotValid("This link has been used or has expired. Start Echo again for a new one.")
        hashed = await self._tools.passwords.hash(password)
        async with self._tools.database.anonymous() as db:
            organization_id = await self._organization(db, token, is_used=True)
            if organization_id is None:
                raise LinkNotValid("This link has been used or has expired. Start Echo again for a new one.")
            user_id = await create_owner(db, organization_id, email=address, name=shown, hashed=hashed)
            return await self._sign_in.enter(db, user_id, (AMR_PASSWORD,), browser=browser)

    async def _organization(self, db: Session, token: str, *, is_used: bool = False) -> UUID | None:
        digest = digest_of(token)
        if is_used:
            row = await store_links.use_link(db, digest, kind=KIND)
        else:
            row = await store_links.find_link(db, digest, kind=KIND)
        if row is None:
            return None
        organization_id: UUID = row["organization_id"]
        await store_links.lock_organization(db, organization_id)
        return None if await store_links.has_owner_with_login(db, organization_id) else organization_id


async def create_owner(
    db: Session, organization_id: UUID, *, email: str, name: str | None, hashed: str | None
) -> UserId:
    """Create an account that owns the organisation; `hashed` is its password's. Raises `Conflict`.

    Only for who is on the machine: the address counts as confirmed.
    """
    user_id = UserId(uuid7())
    if not await store.insert_account(db, user_id, email=email, name=name, is_verified=True):
        raise Conflict("An account with that e-mail address exists already.")
    if hashed is not None:
        await store.save_password(db, user_id, hashed)
    await store.insert_owner(db, organization_id, user_id)
    return user_id
