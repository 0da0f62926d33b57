"""Tenancy: workspace members, groups, invitations, service accounts, archive, audit log.

Revision ID: 0004
"""

from ragecho.platform.database.migrations import sql_file

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    sql_file.run("0004_tenancy")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
