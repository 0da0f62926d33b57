"""Embedding spaces that switch: a graph for every number of dimensions, and the filling of a workspace's next space.

Revision ID: 0012
"""

from ragecho.platform.database.migrations import sql_file

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    sql_file.run("0012_spaces")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
