"""The person's side of the device authorization grant (RFC 8628): look at a code, approve or deny it."""

from ragecho.identity.protocol import store_device as store
from ragecho.identity.protocol.model import BrowserSession, DeviceRequest
from ragecho.kernel.errors import NotFound
from ragecho.platform.database import Session

_ALPHABET = frozenset("BCDFGHJKLMNPQRSTVWXZ")
_LENGTH = 8


def normalize(user_code: str) -> str | None:
    """Return the code as it is stored (`BCDF-GHJK`) from what a person typed, or None where it cannot be one."""
    letters = [letter for letter in user_code[:64].upper() if letter not in " -_."]
    if len(letters) != _LENGTH or not _ALPHABET.issuperset(letters):
        return None
    return f"{''.join(letters[:4])}-{''.join(letters[4:])}"


async def find(db: Session, user_code: str) -> DeviceRequest | None:
    """Return the request that waits under this code, or None. Callers throttle: codes are short."""
    code = normalize(user_code)
    return await store.find_pending(db, code) if code else None


async def approve(db: Session, user_code: str, session: BrowserSession) -> None:
    """Let the device act for the signed-in person. Raises `NotFound` where the code does not wait any more."""
    code = normalize(user_code)
    if not code or not await store.approve(db, code, session=session):
        raise NotFound("This code is unknown, has expired or was used.")


async def deny(db: Session, user_code: str) -> None:
    """Refuse the device. Raises `NotFound` where the code does not wait any more."""
    code = normalize(user_code)
    if not code or not await store.deny(db, code):
        raise NotFound("This code is unknown, has expired or was used.")
