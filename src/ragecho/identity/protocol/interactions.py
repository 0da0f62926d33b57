"""An authorization request between `/authorize` and the client, as the login and consent pages see it.

The pages load it with the browser's binding cookie, tell it what the person did, and send the browser to the URL that
comes back; `/authorize/continue` looks at everything again and decides what is next: consent, or the client.
"""

import hashlib
from datetime import UTC, datetime
from urllib.parse import urlencode
from uuid import UUID

from ragecho.identity.protocol import store_interactions as store
from ragecho.identity.protocol.model import BrowserSession, Interaction
from ragecho.kernel.errors import InvalidInput, NotFound
from ragecho.platform.database import Session

CONTINUE_PATH = "/identity/authorize/continue"


def binding_cookie_name(*, is_https: bool) -> str:
    """Return the name of the cookie that binds interactions to a browser."""
    return "__Host-echo_interaction" if is_https else "echo_interaction"


def digest_of(browser_cookie: str) -> bytes:
    """Return what is stored of a browser's binding cookie."""
    return hashlib.sha256(browser_cookie.encode("utf-8", "surrogatepass")).digest()


async def load(db: Session, interaction_id: UUID, browser_cookie: str | None) -> Interaction:
    """Return the interaction that this browser started.

    Raises `NotFound` where it is unknown, over, expired, or was started by another browser.
    """
    if browser_cookie:
        found = await store.find(db, interaction_id, digest_of(browser_cookie))
        if found is not None:
            return found
    raise NotFound(
        "This sign-in link has expired or belongs to another browser. Go back to the application and start again."
    )


def suffices(interaction: Interaction, session: BrowserSession) -> bool:
    """Return whether the session counts as the login that the request asks for.

    With `prompt=login` only a login after the request does; with `max_age` one that is young enough.
    """
    if "login" in interaction.prompt and session.authenticated_at < interaction.created_at:
        return False
    if interaction.max_age is None:
        return True
    if session.authenticated_at >= interaction.created_at:
        return True
    return (datetime.now(UTC) - session.authenticated_at).total_seconds() <= interaction.max_age


async def complete_login(db: Session, interaction: Interaction, session: BrowserSession) -> str:
    """Note who signed in and return the URL to go on at.

    Raises `InvalidInput` where the session is older than the request allows: the person must authenticate again.
    """
    if not suffices(interaction, session):
        raise InvalidInput("The application asks you to sign in again.")
    await store.note_login(db, interaction.id, user_id=session.user_id, session_id=session.id)
    return continue_url(interaction.id)


async def approve(db: Session, interaction: Interaction, session: BrowserSession, scopes: tuple[str, ...]) -> str:
    """Note the person's consent to some or all of the asked scopes and return the URL to go on at.

    Raises `InvalidInput` where the session is not the one that signed in for this request, or a scope was not asked for.
    """
    if interaction.user_id != session.user_id or interaction.session_id != session.id:
        raise InvalidInput("Another person has signed in meanwhile. Go back to the application and start again.")
    foreign = sorted(set(scopes) - set(interaction.scopes))
    if foreign:
        raise InvalidInput("A scope was approved that the application did not ask for.")
    # Without it the request would not be one for signing in at all.
    kept = [scope for scope in interaction.scopes if scope in scopes or scope == "openid"]
    await store.note_approval(db, interaction.id, scopes=kept)
    return continue_url(interaction.id)


async def deny(db: Session, interaction: Interaction) -> str:
    """Note the refusal and return the URL to go on at; the client learns `access_denied`."""
    await store.note_denial(db, interaction.id)
    return continue_url(interaction.id)


def continue_url(interaction_id: UUID) -> str:
    """Return where the browser goes after a page."""
    return f"{CONTINUE_PATH}?{urlencode({'interaction': str(interaction_id)})}"
