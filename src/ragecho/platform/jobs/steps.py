"""Limits of steps over all workers: how many are parsing, embedding or writing at once, wherever they run.

Rows with a ticket and an expiry rather than advisory locks: a lock of a session would hold a connection for as long as the step
takes, and does not work behind a proxy that pools transactions.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from ragecho.kernel.errors import Unavailable
from ragecho.platform.database import Database
from ragecho.platform.jobs import store_steps as store
from ragecho.platform.telemetry import get_logger
from ragecho.platform.telemetry.metrics import observe_step_wait

log = get_logger(__name__)

LOOK_SECONDS = 0.2
RENEW_SECONDS = 3.0
# A worker that did not renew its leases for so long is dead.
EXPIRE_SECONDS = 15.0


class StepLimits:
    """Lets work into steps, in the order in which it asks. A step without a limit, or with 0, lets all in and asks nobody."""

    def __init__(self, database: Database | None = None, limits: Mapping[str, int] | None = None) -> None:
        self._database = database
        self._limits = {step: most for step, most in (limits or {}).items() if most}

    @asynccontextmanager
    async def holding(self, step: str) -> AsyncIterator[None]:
        """Wait for a place in the step and hold it while the block runs. To be entered without a database session in hand.

        Raises `Unavailable` when the place was lost while waiting, and what the database raises. A holder that could not renew its place for `EXPIRE_SECONDS` goes on, and another may
        begin beside it.
        """
        most = self._limits.get(step, 0)
        if not most or self._database is None:
            yield
            return
        ticket = await self._ask(self._database, step)
        renewing = asyncio.create_task(self._renew(self._database, ticket))
        try:
            await self._wait(self._database, step, ticket, most)
            yield
        finally:
            renewing.cancel()
            await asyncio.shield(self._leave(self._database, ticket))

    async def _ask(self, database: Database, step: str) -> int:
        async with database.anonymous() as session:
            return await store.ask(session, step, expire_seconds=EXPIRE_SECONDS)

    async def _wait(self, database: Database, step: str, ticket: int, most: int) -> None:
        started = asyncio.get_running_loop().time()
        while True:
            async with database.anonymous() as session:
                place = await store.place(session, step, ticket)
            if place is None:
                # It lay still for too long, as after a pause of the whole machine.
                raise Unavailable("The wait for a step was interrupted.")
            if place <= most:
                observe_step_wait(step, asyncio.get_running_loop().time() - started)
                return
            await asyncio.sleep(LOOK_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, no secret

    async def _renew(self, database: Database, ticket: int) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                async with database.anonymous() as session:
                    await store.renew(session, ticket, expire_seconds=EXPIRE_SECONDS)
            except Exception:
                log.warning("steps.not_renewed", exc_info=True)

    async def _leave(self, database: Database, ticket: int) -> None:
        # Where the database is away, the ticket expires by itself.
        with suppress(Exception):
            async with database.anonymous() as session:
                await store.leave(session, ticket)
