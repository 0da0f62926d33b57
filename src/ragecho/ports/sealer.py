"""Port: small secrets that the database keeps for a while, such as the password of a file."""

from typing import Protocol


class SealBrokenError(Exception):
    """What was sealed cannot be opened here: another master secret, or it was changed. Carries no content."""


class Sealer(Protocol):
    """Encrypts for a purpose; only the same installation, and only for the same purpose, can read it again."""

    def seal(self, plaintext: str, *, purpose: str) -> str:
        """Return the encrypted form, as text to store."""
        ...

    def open(self, sealed: str, *, purpose: str) -> str:
        """Return what was sealed. Raises `SealBrokenError`."""
        ...
