"""SQL of maintenance over all tenants."""

from sqlalchemy import text

ALL_WORKSPACES = text("select organization_id, id from ragecho_all_workspaces()")
