"""API key secrets: made with 256 bits of entropy, so a plain SHA-256 of them can be stored (ASVS 5, 11.4)."""

import hashlib
import re
import secrets

PREFIX = "echo"
_FORM = re.compile(r"echo_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{43}")
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"


def new_secret() -> str:
    """Return `echo_<8 characters to recognise it by>_<43 characters of secret>`."""
    handle = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    return f"{PREFIX}_{handle}_{secrets.token_urlsafe(32)}"


def new_invitation() -> str:
    """Return the secret of a link to an invitation."""
    return secrets.token_urlsafe(32)


def is_secret(token: str) -> bool:
    """Return whether the token has the form of an API key."""
    return _FORM.fullmatch(token) is not None


def handle_of(secret: str) -> str:
    """Return the part that may be shown in lists and logs."""
    return "_".join(secret.split("_", 2)[:2])


def digest(secret: str) -> bytes:
    """Return what is stored and looked up."""
    return hashlib.sha256(secret.encode()).digest()
