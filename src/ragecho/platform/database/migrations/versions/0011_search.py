"""Search at scale: readers are indexed and counted, and every change that a search could show moves the version.

Revision ID: 0011
"""

from ragecho.platform.database.migrations import sql_file

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    sql_file.run("0011_search")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
