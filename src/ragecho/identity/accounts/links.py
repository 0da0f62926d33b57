"""Links in mails: a secret in the URL, its digest in the database, one use."""

from enum import StrEnum
from urllib.parse import urlencode

from ragecho.identity.accounts import store_links as store
from ragecho.identity.accounts.digests import digest_of, new_secret
from ragecho.identity.accounts.errors import LinkNotValid
from ragecho.kernel.ids import UserId
from ragecho.platform.database import Row, Session


class Link(StrEnum):
    """What a link is for."""

    REGISTRATION = "registration"
    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - a kind of link
    CHANGE_EMAIL = "change_email"
    INVITATION_MAIL = "invitation_mail"


# Below the issuer.
PATHS = {
    Link.REGISTRATION: "sign-up/confirm",
    Link.VERIFY_EMAIL: "verify-email",
    Link.RESET_PASSWORD: "reset-password",
    Link.CHANGE_EMAIL: "change-email",
    Link.INVITATION_MAIL: "invitation",
}


def url_of(issuer: str, link: Link, secret: str, **more: str | None) -> str:
    """Return the URL that a mail holds."""
    query = {"token": secret, **{name: value for name, value in more.items() if value}}
    return f"{issuer}/{PATHS[link]}?{urlencode(query)}"


async def make(db: Session, link: Link, *, minutes: int, email: str, user_id: UserId | None = None) -> str:
    """Return the secret of a new link; earlier ones of the same kind and person (or address) stop working."""
    await store.end_links(db, kinds=[link], user_id=user_id, email=None if user_id else email)
    secret = new_secret()
    await store.insert_link(db, digest=digest_of(secret), kind=link, minutes=minutes, user_id=user_id, email=email)
    return secret


async def find(db: Session, link: Link, secret: str) -> Row | None:
    """Return `user_id` and `email` of a link that still works, without using it."""
    return await store.find_link(db, digest_of(secret), kind=link)


async def use(db: Session, link: Link, secret: str) -> Row:
    """Use a link and return `user_id` and `email`. Raises `LinkNotValid`; of several requests at once, one gets it."""
    row = await store.use_link(db, digest_of(secret), kind=link)
    if row is None:
        raise LinkNotValid("This link has been used or has expired. Ask for a new one.")
    return row


async def end(db: Session, user_id: UserId, *kinds: Link) -> None:
    """End a person's unused links of these kinds."""
    await store.end_links(db, kinds=[str(kind) for kind in kinds], user_id=user_id, email=None)
