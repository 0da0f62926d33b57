"""Passwords: argon2id in worker threads, a few at a time, and what makes a password good enough (NIST SP 800-63B)."""

import base64
import re
import secrets
import unicodedata
from collections.abc import Callable

import anyio
import anyio.to_thread
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from ragecho.identity.accounts.common_passwords import is_common
from ragecho.identity.accounts.errors import PasswordRefused
from ragecho.kernel.errors import Unavailable

MAX_LENGTH = 1024
# Waiting longer than some seconds helps nobody; who comes when this many wait already is told to come back.
MAX_WAITING = 100
_PRODUCT = "ragecho"
_SHORT_PRODUCT = "echo"
_MIN_NAME = 4
_MIN_DISTINCT = 5


def normalized(password: str) -> str:
    """Return what is hashed: the same password typed on another keyboard is the same (NFKC)."""
    return unicodedata.normalize("NFKC", password)


class PasswordPolicy:
    """What a new password must be like."""

    def __init__(self, *, min_length: int = 12) -> None:
        self.min_length = min_length

    def check(self, password: str, *, email: str) -> None:
        """Raise `PasswordRefused` with a reason; return when the password is good enough."""
        text = normalized(password)
        if len(text) > MAX_LENGTH:
            raise PasswordRefused(f"A password has at most {MAX_LENGTH} characters.", reason="too_long")
        if not _is_encodable(text):
            raise PasswordRefused("This password holds characters that are not text.", reason="not_text")
        if len(text) < self.min_length:
            raise PasswordRefused(f"A password has at least {self.min_length} characters.", reason="too_short")
        folded = text.casefold()
        if self._tells_who(folded, email.casefold()):
            raise PasswordRefused(
                "A password must not contain your e-mail address or the name of this service.", reason="personal"
            )
        if len(set(folded)) < _MIN_DISTINCT or is_common(folded):
            raise PasswordRefused(
                "This password is among the first that an attacker tries. Choose another, e.g. four random words.",
                reason="common",
            )

    def _tells_who(self, folded: str, email: str) -> bool:
        local = unicodedata.normalize("NFKC", email.partition("@")[0])
        names = {local, re.sub(r"\+.*", "", local), _PRODUCT}
        if any(len(name) >= _MIN_NAME and name in folded for name in names):
            return True
        # 'echo' is a word that good passphrases may hold; it just must not be what makes them long enough.
        return _SHORT_PRODUCT in folded and len(folded.replace(_SHORT_PRODUCT, "")) < self.min_length


class Passwords:
    """Hashes and verifies. At most `concurrency` at once, 64 MiB each, so that a storm of sign-ins does not eat memory."""

    def __init__(self, *, concurrency: int = 2, hasher: PasswordHasher | None = None) -> None:
        # The library's default is the second choice of RFC 9106: 64 MiB, three passes, four lanes.
        self._hasher = hasher or PasswordHasher(type=Type.ID)
        self._concurrency = concurrency
        self._limiter: anyio.CapacityLimiter | None = None
        self._nobody = _unmatchable(self._hasher)

    @property
    def waiting(self) -> int:
        """Return how many wait for their turn."""
        return self._limiter.statistics().tasks_waiting if self._limiter else 0

    async def hash(self, password: str) -> str:
        """Return the argon2id hash of a password that the policy has passed."""
        return await self._run(self._hasher.hash, normalized(password))

    async def verify(self, stored: str | None, password: str) -> tuple[bool, str | None]:
        """Return whether the password is right, and a new hash to store where the parameters have changed since.

        For an account that is unknown or has no password (`stored` None) it takes as long and returns False.
        """
        text = normalized(password) if len(password) <= MAX_LENGTH else ""
        if not _is_encodable(text):
            text = ""
        is_right = await self._run(self._matches, stored or self._nobody, text)
        if not is_right or stored is None:
            return False, None
        if self._hasher.check_needs_rehash(stored):
            return True, await self._run(self._hasher.hash, text)
        return True, None

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run[**P, T](self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._concurrency)
        if self.waiting >= MAX_WAITING:
            raise Unavailable("Too many people sign in at this moment; try again.", retry_after_seconds=2)
        return await anyio.to_thread.run_sync(lambda: work(*args, **kwargs), limiter=self._limiter)


def _unmatchable(hasher: PasswordHasher) -> str:
    """Return a hash of today's cost that no password has, without computing one."""

    def part(size: int) -> str:
        return base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=")

    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${cost}${part(hasher.salt_len)}${part(hasher.hash_len)}"


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
