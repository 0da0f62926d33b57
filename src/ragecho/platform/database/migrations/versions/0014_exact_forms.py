"""Exact forms: chunks that hold all terms of an identifier or a quoted phrase, for the caller.

Revision ID: 0014
"""

from ragecho.platform.database.migrations import sql_file

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    sql_file.run("0014_exact_forms")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
