"""The web gateway: its sessions and pending sign-ins.

Revision ID: 0006
"""

from ragecho.platform.database.migrations import sql_file

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    sql_file.run("0006_gateway")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
