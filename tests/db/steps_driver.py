"""A worker process that goes through a limited step some times: `python -m tests.db.steps_driver URL STEP MOST TIMES HOLD`.

Prints a line when it enters and one when it leaves. With HOLD `forever` it never leaves.
"""

import asyncio
import sys

from ragecho.platform.database import Database
from ragecho.platform.jobs import steps
from ragecho.platform.jobs.steps import StepLimits


async def main(url: str, step: str, most: int, times: int, *, is_endless: bool) -> None:
    """Go through the step."""
    steps.LOOK_SECONDS, steps.RENEW_SECONDS, steps.EXPIRE_SECONDS = 0.02, 0.2, 2.0
    database = Database(url, pool_size=2)
    limits = StepLimits(database, {step: most})

    async def once() -> None:
        async with limits.holding(step):
            print("in", flush=True)
            await (asyncio.Event().wait() if is_endless else asyncio.sleep(0.01))
            print("out", flush=True)

    await asyncio.gather(*(once() for _ in range(times)))
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), is_endless=sys.argv[5] == "forever"))
