"""The identity service: clients, grants, codes, tokens, signing keys, and the role that alone reads them.

Revision ID: 0002
"""

from ragecho.platform.database.migrations import sql_file

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    sql_file.run("0002_identity")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
