"""SQL of steps that are limited over all workers; see `0013_steps.sql`."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


async def ask(session: AsyncConnection, step: str, *, expire_seconds: float) -> int:
    """Return a new ticket of the step, and remove those of dead workers.

    Who asks is let in one after the other: a lower ticket must never become visible after a higher one.
    """
    await session.execute(
        text("select pg_advisory_xact_lock(hashtextextended('ragecho_step:' || cast(:step as text), 8))"),
        {"step": step},
    )
    await session.execute(
        text("delete from step_leases where step = :step and expires_at < now() - interval '1 minute'"), {"step": step}
    )
    made = await session.execute(
        text(
            "insert into step_leases (step, expires_at) values (:step, now() + make_interval(secs => :seconds))"
            " returning ticket"
        ),
        {"step": step, "seconds": expire_seconds},
    )
    return int(made.scalar_one())


async def place(session: AsyncConnection, step: str, ticket: int) -> int | None:
    """Return the ticket's place among those that count, from 1; None when it does not count any more."""
    found = await session.execute(
        text(
            "select count(*) as place, max(ticket) as last from step_leases"
            " where step = :step and ticket <= :ticket and expires_at > now()"
        ),
        {"step": step, "ticket": ticket},
    )
    row = found.one()
    return int(row.place) if row.last == ticket else None


async def renew(session: AsyncConnection, ticket: int, *, expire_seconds: float) -> None:
    """Let the ticket count for some time more."""
    await session.execute(
        text("update step_leases set expires_at = now() + make_interval(secs => :seconds) where ticket = :ticket"),
        {"ticket": ticket, "seconds": expire_seconds},
    )


async def leave(session: AsyncConnection, ticket: int) -> None:
    """Give the place back."""
    await session.execute(text("delete from step_leases where ticket = :ticket"), {"ticket": ticket})
