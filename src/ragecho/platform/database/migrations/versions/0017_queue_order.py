"""The first delivery of a queue is found at once, however much waits in it.

Revision ID: 0017
"""

from ragecho.platform.database.migrations import sql_file

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    sql_file.run("0017_queue_order")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
