"""Secrets of the identity service: made with 256 bits of entropy, so a plain SHA-256 of them can be stored."""

import hashlib
import secrets


def new_secret() -> str:
    """Return 256 random bits, URL-safe (43 characters)."""
    return secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes:
    """Return what is stored and looked up. Whatever a client sends has a digest, also what cannot be encoded."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
