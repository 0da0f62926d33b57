"""One PostgreSQL: connections, transactions with a caller, migrations."""

from ragecho.platform.database.engine import Database, driver_url
from ragecho.platform.database.migrate import current_revision, upgrade

__all__ = ["Database", "current_revision", "driver_url", "upgrade"]
