"""One PostgreSQL: connections, and transactions with a caller. Migrations are `migrate`'s, which few processes import.

`Session` and `Row` are the driver layer's types under our name: features annotate with them, and only stores import SQL.
"""

from sqlalchemy import RowMapping as Row
from sqlalchemy.ext.asyncio import AsyncConnection as Session

from ragecho.platform.database.callers import array_literal
from ragecho.platform.database.engine import APP_ROLE, IDENTITY_ROLE, Database, driver_url
from ragecho.platform.database.reading import Query

__all__ = [
    "APP_ROLE",
    "IDENTITY_ROLE",
    "Database",
    "Query",
    "Row",
    "Session",
    "array_literal",
    "driver_url",
]
