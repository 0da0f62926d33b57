"""Permissions: grants on documents, levels by e-mail domain, who a token stands for.

Revision ID: 0005
"""

from ragecho.platform.database.migrations import sql_file

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    sql_file.run("0005_permissions")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
