"""Steps are limited over all workers; no tenant and no step holds all places of a queue.

Revision ID: 0013
"""

from ragecho.platform.database.migrations import sql_file

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    sql_file.run("0013_steps")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
