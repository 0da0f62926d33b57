"""One PostgreSQL: connections, transactions with a caller, migrations.

`Session` and `Row` are the driver layer's types under our name: features annotate with them, and only stores import SQL.
"""

from sqlalchemy import RowMapping as Row
from sqlalchemy.ext.asyncio import AsyncConnection as Session

from ragecho.platform.database.engine import APP_ROLE, IDENTITY_ROLE, Database, Query, array_literal, driver_url
from ragecho.platform.database.migrate import allow_login, current_revision, upgrade

__all__ = [
    "APP_ROLE",
    "IDENTITY_ROLE",
    "Database",
    "Query",
    "Row",
    "Session",
    "allow_login",
    "array_literal",
    "current_revision",
    "driver_url",
    "upgrade",
]
