"""Slowing down who guesses, without locking out whom they guess at.

Attempts are counted before the answer is known, in the database, so that neither many requests at once nor several
processes get more of them. What is counted:

* account and address: a few free attempts, then a delay that doubles;
* address: the same over all accounts, with more free attempts (offices share one);
* a browser that has signed in to this account before is counted for itself alone, so an attack from elsewhere, or from
  behind the same address, does not slow its owner down;
* account: never delays anybody by itself. While one is under attack from many addresses, each new address has one
  attempt and then waits a minute, two, four. Its owner's password, typed right from anywhere, still passes.
"""

import hashlib
import ipaddress
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ragecho.identity.accounts import store_throttle as store
from ragecho.identity.accounts.errors import TooManyAttempts
from ragecho.identity.accounts.model import Count
from ragecho.platform.database import Session

FORGET_AFTER = timedelta(hours=24)
LONGEST_SECONDS = 900.0
UNDER_ATTACK = 50
FIRST_DELAY_UNDER_ATTACK_SECONDS = 60.0
IPV6_PREFIX = 64
NEVER_BLOCKED = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Counter:
    """Something that attempts are counted for.

    `free` of them cost nothing, then the delay doubles from `first_seconds`. One is forgiven each `forgives_seconds`, so that
    what many people mistype in a day never adds up. `is_watch` counters never delay; they tell that an account is under
    attack. `is_shared` ones are not cleared by one person's success.
    """

    key: bytes
    free: int
    forgives_seconds: float
    first_seconds: float = 1.0
    is_watch: bool = False
    is_shared: bool = False


def delay_seconds(failures: float, *, free: int, first_seconds: float = 1.0) -> float:
    """Return how long the next attempt has to wait after this many failures; one half forgiven counts as a whole."""
    over = math.ceil(failures) - free
    return min(first_seconds * 2.0 ** min(over, 20), LONGEST_SECONDS) if over >= 0 else 0.0


def remaining(count: Count | None, now: datetime, *, forgives_seconds: float) -> float:
    """Return how many failures still count at `now`."""
    if count is None:
        return 0.0
    elapsed = max((now - count.last_at).total_seconds(), 0.0)
    return max(count.failures - elapsed / forgives_seconds, 0.0)


def after_attempt(count: Count | None, now: datetime, counter: Counter, *, is_attacked: bool = False) -> Count:
    """Return the count with one more attempt at `now`."""
    failures = remaining(count, now, forgives_seconds=counter.forgives_seconds) + 1
    delay = (
        delay_seconds(failures, free=1, first_seconds=FIRST_DELAY_UNDER_ATTACK_SECONDS)
        if is_attacked
        else delay_seconds(failures, free=counter.free, first_seconds=counter.first_seconds)
    )
    # Not blocked at all rather than until now: another request may have looked at the clock a moment earlier.
    return Count(failures, now, now + timedelta(seconds=delay) if delay else NEVER_BLOCKED)


def network_of(ip: str | None) -> str:
    """Return what counts as one address: an IPv4 address, or the /64 that one IPv6 subscriber has."""
    try:
        address = ipaddress.ip_address(ip or "")
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address.packed, IPV6_PREFIX), strict=False))
    return str(address)


def key_of(*parts: str) -> bytes:
    """Return the digest that a counter is stored under; it tells neither account nor address."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).digest()


def sign_in_counters(email: str, ip: str | None, *, device: str | None) -> tuple[Counter, ...]:
    """Return what an attempt to sign in counts for. `device` names a browser known for this account."""
    account, address = email.strip().casefold(), network_of(ip)
    if device is not None:
        return (Counter(key_of("device", account, device), free=10, forgives_seconds=3600),)
    return (
        Counter(key_of("account", account), free=UNDER_ATTACK, forgives_seconds=600, is_watch=True, is_shared=True),
        Counter(key_of("account+address", account, address), free=5, forgives_seconds=3600),
        Counter(key_of("address", address), free=30, forgives_seconds=60, is_shared=True),
    )


def code_counters(user_id: str, ip: str | None, *, device: str | None) -> tuple[Counter, ...]:
    """Return what an attempt at a second factor counts for.

    Who gets here knows the password, and codes have six digits: so the account itself is slowed down, too, except for
    browsers that it knows.
    """
    if device is not None:
        return (Counter(key_of("code+device", user_id, device), free=10, forgives_seconds=3600),)
    return (
        Counter(key_of("code", user_id), free=20, forgives_seconds=3600, is_shared=True),
        Counter(key_of("code+address", user_id, network_of(ip)), free=5, forgives_seconds=3600),
    )


def mail_counters(purpose: str, email: str) -> tuple[Counter, ...]:
    """Return what a mail to this address counts for: nobody is to be flooded with them."""
    return (
        Counter(key_of("mail", purpose, email.strip().casefold()), free=3, forgives_seconds=1800, first_seconds=60),
    )


def asking_counters(purpose: str, ip: str | None) -> tuple[Counter, ...]:
    """Return what a request from this address that sends mails or makes accounts counts for."""
    return (Counter(key_of("asking", purpose, network_of(ip)), free=20, forgives_seconds=120),)


def visit_counters(purpose: str, ip: str | None) -> tuple[Counter, ...]:
    """Return what a sign-in that is started from this address counts for: each is a row, and offices share an address."""
    return (Counter(key_of("visit", purpose, network_of(ip)), free=600, forgives_seconds=0.5, is_shared=True),)


async def begin_attempt(db: Session, counters: Sequence[Counter], *, now: datetime | None = None) -> None:
    """Count an attempt, or raise `TooManyAttempts` without counting it. Commit before doing what is being guarded."""
    counts = await store.lock_counts(db, [counter.key for counter in counters], at=now or datetime.now(UTC))
    # Only now: the lock may have been waited for.
    at = now or datetime.now(UTC)
    wait = max(
        ((counts[counter.key].blocked_until - at).total_seconds() for counter in counters if not counter.is_watch),
        default=0.0,
    )
    if wait > 0:
        raise TooManyAttempts(
            "Too many attempts. Wait a moment and try again.", retry_after_seconds=max(1, math.ceil(wait))
        )
    is_attacked = any(
        counter.is_watch
        and math.ceil(remaining(counts[counter.key], at, forgives_seconds=counter.forgives_seconds)) >= counter.free
        for counter in counters
    )
    await store.save_counts(
        db,
        {
            counter.key: after_attempt(
                counts[counter.key],
                at,
                counter,
                is_attacked=is_attacked and not counter.is_shared,
            )
            for counter in counters
        },
    )


async def succeeded(db: Session, counters: Sequence[Counter]) -> None:
    """Take the attempt back: it was no guess. What others share is not cleared by it, only less by this attempt."""
    await store.take_back(
        db,
        shared=[counter.key for counter in counters if counter.is_shared],
        own=[counter.key for counter in counters if not counter.is_shared],
    )


async def forget_old(db: Session, *, now: datetime | None = None) -> int:
    """Delete counters that nothing was counted for in a day; return how many."""
    return await store.delete_before(db, (now or datetime.now(UTC)) - FORGET_AFTER)
