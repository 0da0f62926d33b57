"""The graph of neighbours is for workspaces that are searched by it: small ones are scanned and need not pay for it.

Revision ID: 0016
"""

from ragecho.platform.database.migrations import sql_file

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Mark what is in the graph, and make the graphs of that alone."""
    sql_file.run("0016_graphs")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
