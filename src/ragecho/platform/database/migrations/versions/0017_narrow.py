"""The search among few reads by one index, not by that and by all entries of the workspace.

Revision ID: 0017
"""

from ragecho.platform.database.migrations import sql_file

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the two functions that look for candidates."""
    sql_file.run("0017_narrow")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
