"""The first delivery of a queue is found at once, however much waits in it.

Revision ID: 0015
"""

from ragecho.platform.database.migrations import sql_file

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    sql_file.run("0015_queue_order")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
