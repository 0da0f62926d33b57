"""Lists: one answer form and one pair of parameters for all of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Self

from fastapi import Depends, Query
from pydantic import BaseModel

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
# PostgreSQL's bigint; a larger offset would be a 500 in the driver.
MAX_OFFSET = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Paging:
    """Which part of a list is asked for."""

    limit: int = DEFAULT_LIMIT
    offset: int = 0


def page_params(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most items to return.")] = DEFAULT_LIMIT,
    offset: Annotated[int, Query(ge=0, le=MAX_OFFSET, description="Items to skip.")] = 0,
) -> Paging:
    """Read `?limit=&offset=`."""
    return Paging(limit, offset)


PageParams = Annotated[Paging, Depends(page_params)]
"""Use as a route parameter: `async def list_documents(paging: PageParams) -> Page[DocumentOut]`."""


class Page[T](BaseModel):
    """One part of a list; `total` counts the whole list that the caller may see."""

    items: list[T]
    total: int
    limit: int
    offset: int

    @classmethod
    def of(cls, items: Iterable[T], *, total: int, paging: Paging) -> Self:
        """Return the page."""
        return cls(items=list(items), total=total, limit=paging.limit, offset=paging.offset)
