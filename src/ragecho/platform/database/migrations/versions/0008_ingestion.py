"""Ingestion at scale: embeddings are kept by content, jobs know their size and their turn.

Revision ID: 0008
"""

from ragecho.platform.database.migrations import sql_file

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    sql_file.run("0008_ingestion")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
