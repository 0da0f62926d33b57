"""The password of a locked file stays, sealed, with the version that it opened.

Revision ID: 0018
"""

from ragecho.platform.database.migrations import sql_file

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    sql_file.run("0018_passwords")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
