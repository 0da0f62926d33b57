"""Documents from elsewhere: sources, what is in them, and how their runs went.

Revision ID: 0010
"""

from ragecho.platform.database.migrations import sql_file

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    sql_file.run("0010_sources")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
