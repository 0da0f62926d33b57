"""The spine: roles, tables, row-level security and search functions, and the job queue's own schema.

Revision ID: 0001
"""

from ragecho.platform.database.migrations import sql_file

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# 0001_procrastinate.sql is the schema of procrastinate 3.10 (MIT), kept here because the installed package's may be
# newer than the migrations that follow this one.
FILES = ("0001_procrastinate", "0001_roles", "0001_tables", "0001_weights", "0001_policies", "0001_search")


def upgrade() -> None:
    """Create everything."""
    for name in FILES:
        sql_file.run(name)


def downgrade() -> None:
    """Refuse: going back would drop every document. Restore a backup instead."""
    raise NotImplementedError("there is nothing before the first migration; restore a backup instead")
