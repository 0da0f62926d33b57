"""Uploads that resume and repeat safely, jobs with batches and priorities, retention, maintenance.

Revision ID: 0009
"""

from ragecho.platform.database.migrations import sql_file

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    sql_file.run("0009_uploads")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
