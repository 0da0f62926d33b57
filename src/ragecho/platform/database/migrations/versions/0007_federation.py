"""Federation: upstream providers, linked accounts, SCIM.

Revision ID: 0007
"""

from ragecho.platform.database.migrations import sql_file

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    sql_file.run("0007_federation")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
