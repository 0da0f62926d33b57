"""BM25 whose words saturate sooner, as passages want it.

Revision ID: 0019
"""

from ragecho.platform.database.migrations import sql_file

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the function that makes weights."""
    sql_file.run("0019_saturation")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
