"""Port: a credential to the caller it stands for. The identity service plugs in here."""

from typing import Protocol

from ragecho.kernel.caller import Caller


class TokenVerifier(Protocol):
    """Verifies one kind of credential."""

    async def verify(self, token: str, *, workspace: str | None) -> Caller | None:
        """Return the caller in `workspace` (id or slug; the credential's own when None).

        None means "not my kind of token"; `Unauthenticated` means it is mine and does not count;
        `NotFound` means the workspace does not exist for this caller.
        """
        ...
