"""Accounts: passwords, second factors, passkeys, sessions, mail, throttling.

Revision ID: 0003
"""

from ragecho.platform.database.migrations import sql_file

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    sql_file.run("0003_accounts")


def downgrade() -> None:
    """Refuse: going back would drop what people made. Restore a backup instead."""
    raise NotImplementedError("restore a backup instead")
